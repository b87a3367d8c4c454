/** Rows about bytes: from chunks, from the page cache, by kernel passthrough. */

import { join } from "node:path";
import { output } from "../support/process.ts";
import { allInChunks, type Bench, keep, startMusicfs } from "./bench.ts";
import { writeRandom } from "./files.ts";
import { fio, type FioJob, inTurn, type Places, reread, residentMemory } from "./measure.ts";
import { compiled, startLimit, startRclone } from "./peers.ts";
import type { Row } from "./report.ts";

const KIB = 1024;
const MIB = 1024 * 1024;

/** One file that is read over and over, and one as long as a track. */
const FILES = { long: "long.flac", track: "track.flac" };
const TRACK_MEBIBYTES = 32;

/** Passes over a file that is in the page cache. */
const REREADS = 15;

/** Reads through the chunk cache beside the limit, rclone and the disk, everything cached before. */
export async function addReadRows(bench: Bench): Promise<void> {
  const origin = join(bench.dir, "music");
  await Deno.mkdir(origin);
  bench.tell(`writing ${bench.options.fileMebibytes} MiB of music`);
  await writeRandom(join(origin, FILES.long), bench.options.fileMebibytes);
  await writeRandom(join(origin, FILES.track), TRACK_MEBIBYTES);
  const program = await compiled("reread", bench.dir);

  const daemon = await startMusicfs(bench, "read", { origin });
  const places = await mountPeers(bench, origin);
  places.musicfs = daemon.mountpoint;
  await addFirstRead(bench, { origin, places, cacheDir: daemon.cacheDir });
  await addDirectRows(bench, filesIn(places, FILES.long));
  await addCachedRows(bench, { places, program });
  const { all, anonymous } = await residentMemory(await daemon.pid());
  bench.add({
    title: "RSS of the daemon after all these reads",
    unit: "MiB",
    figures: { musicfs: all },
    targets: [],
    note: `${anonymous.toFixed(0)} MiB of it anonymous`,
  });
  await daemon[Symbol.asyncDispose]();
  await addPassthroughRow(bench, { origin, program });
}

/** Folders in which each peer shows the files; the limit shows only the long one, as `f`. */
async function mountPeers(bench: Bench, origin: string): Promise<Places> {
  const { dir, rclone } = bench;
  const places: Places = { disk: origin };
  // A copy: measuring the disk drops the original from the page cache.
  const data = join(dir, "limit.flac");
  await output("cp", [join(origin, FILES.long), data]);
  const limit = await startLimit({ dir, data });
  if (limit) places.limit = (await keep(bench, limit)).mountpoint;
  if (rclone) {
    const served = await startRclone({ program: rclone, origin, dir, name: "read" });
    places.rclone = (await keep(bench, served)).mountpoint;
  }
  return places;
}

/** Reads everything once, which fills the caches, and compares it: a wrong byte ends the run. */
async function addFirstRead(
  bench: Bench,
  { origin, places, cacheDir }: { origin: string; places: Places; cacheDir: string },
): Promise<void> {
  bench.tell("first read of everything");
  const bytes = bench.options.fileMebibytes * MIB;
  const figures: Row["figures"] = {};
  for (const subject of ["musicfs", "rclone"] as const) {
    const folder = places[subject];
    if (folder === undefined) continue;
    const start = performance.now();
    await output("cmp", [join(origin, FILES.long), join(folder, FILES.long)]);
    figures[subject] = bytes / 1e6 / ((performance.now() - start) / 1000);
    await output("cmp", [join(origin, FILES.track), join(folder, FILES.track)]);
  }
  const start = performance.now();
  await allInChunks(cacheDir);
  const settled = performance.now() - start;
  bench.add({
    title: "First read of a file, through the mount",
    unit: "MB/s",
    figures,
    targets: [],
    note: `with cmp beside it; the last chunk was stored ${settled.toFixed(0)} ms later`,
  });
}

async function addDirectRows(bench: Bench, places: Places): Promise<void> {
  const { rounds, seconds } = bench.options;
  const random: FioJob = { pattern: "randread", blockBytes: 4 * KIB, direct: true, seconds };
  bench.tell("1 MiB direct");
  bench.add({
    title: "1 MiB direct, sequential",
    unit: "MiB/s",
    figures: await inTurn(places, rounds, async (file) => {
      const job: FioJob = { pattern: "read", blockBytes: MIB, direct: true, seconds };
      return (await fio(file, job)).mebibytesPerSecond;
    }),
    targets: [
      { beside: "limit", bound: "at least", value: 0.7 },
      { beside: "rclone", bound: "at least", value: 2.5 },
    ],
  });
  for (const [jobs, value] of [[1, 0.9], [4, 0.6]] as const) {
    bench.tell(`4 KiB random, ${jobs}`);
    bench.add({
      title: `4 KiB random direct, ${jobs} job${jobs === 1 ? "" : "s"}`,
      unit: "IOPS",
      figures: await inTurn(
        places,
        rounds,
        async (file) => (await fio(file, { ...random, jobs })).operationsPerSecond,
      ),
      targets: [{ beside: "limit", bound: "at least", value }],
    });
  }
}

async function addCachedRows(
  bench: Bench,
  { places, program }: { places: Places; program: string },
): Promise<void> {
  const { rounds, seconds } = bench.options;
  bench.tell("through the page cache");
  bench.add({
    title: "Sequential through the page cache, not in it",
    unit: "MiB/s",
    figures: await inTurn(filesIn(places, FILES.long), rounds, async (file) => {
      const job: FioJob = { pattern: "read", blockBytes: 128 * KIB, direct: false, seconds };
      return (await fio(file, job)).mebibytesPerSecond;
    }),
    targets: [],
    note: "read-ahead of 1024 KiB for limit and musicfs; disk: from the disk itself",
  });
  const { limit: _, ...withTrack } = places;
  bench.tell("open and read again");
  bench.add({
    title: "Open and read a cached file again",
    unit: "MiB/s",
    figures: await inTurn(
      filesIn(withTrack, FILES.track),
      rounds,
      (file) => reread(program, file, REREADS),
    ),
    targets: [{ beside: "rclone", bound: "at least", value: 10 }],
  });
}

async function addPassthroughRow(
  bench: Bench,
  { origin, program }: { origin: string; program: string },
): Promise<void> {
  bench.tell("local passthrough");
  await using daemon = await startMusicfs(bench, "passthrough", { origin, cache: "auto" });
  const places = filesIn({ musicfs: daemon.mountpoint, disk: origin }, FILES.long);
  bench.add({
    title: "Local disk, --cache auto, in the page cache",
    unit: "MiB/s",
    figures: await inTurn(places, bench.options.rounds, (file) => reread(program, file, 5)),
    targets: [{ beside: "disk", bound: "at least", value: 0.9 }],
  });
}

function filesIn(places: Places, name: string): Places {
  return Object.fromEntries(
    Object.entries(places).map(([subject, folder]) => [
      subject,
      join(folder, subject === "limit" ? "f" : name),
    ]),
  );
}
