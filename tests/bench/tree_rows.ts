/** Rows about names: `find`, the first `ls` after a mount, memory at rest. */

import { join } from "node:path";
import { musicfs } from "../support/daemon.ts";
import { output } from "../support/process.ts";
import { type Bench, cacheDirOf, keep, Musicfs, startMusicfs } from "./bench.ts";
import { TREE_ALBUM, writeTree } from "./files.ts";
import { dropNames, inTurn, type Places, residentMemory, secondsOf } from "./measure.ts";
import { startRclone } from "./peers.ts";
import { median, type Row } from "./report.ts";

const FIND_FILES = 10_000;

/** Rest after a start before memory is looked at, in ms. */
const IDLE_MS = 5_000;

/** What counts as flat: a hundred times the files for a quarter more. */
const FLAT_MAX = 1.25;

interface Tree {
  files: number;
  origin: string;
}

/** Longest scan of a tree, in ms. */
const SCAN_MS_MAX = 1_800_000;

/** `find -ls` of 10,000 files, memory at rest, and the first `ls` by number of files known. */
export async function addTreeRows(bench: Bench): Promise<void> {
  const trees: Tree[] = [];
  for (const files of bench.options.knownFiles) {
    const tree = { files, origin: await scannedTree(bench, files) };
    trees.push(tree);
    if (files === FIND_FILES) await addFindRows(bench, tree.origin);
    await addMemoryRow(bench, tree);
  }
  await addFirstListingRows(bench, trees);
}

function nameOf(files: number): string {
  return `tree-${files}`;
}

/** Makes the tree and has musicfs learn it; the tree's path. */
async function scannedTree(bench: Bench, files: number): Promise<string> {
  const origin = join(bench.dir, nameOf(files));
  bench.tell(`making and scanning ${files} files`);
  writeTree(origin, files);
  const start = performance.now();
  const args = ["scan", "--origin", origin, "--cache-dir", cacheDirOf(bench, nameOf(files))];
  const scan = await musicfs(args, { home: bench.dir, limitMs: SCAN_MS_MAX });
  if (scan.code !== 0) throw new Error(`musicfs scan ended with ${scan.code}: ${scan.stderr}`);
  const seconds = (performance.now() - start) / 1000;
  bench.add({
    title: `First scan, ${files.toLocaleString("en-US")} files`,
    unit: "files/s",
    figures: { musicfs: files / seconds },
    targets: [],
  });
  return origin;
}

async function addFindRows(bench: Bench, origin: string): Promise<void> {
  const { rclone, dir, options } = bench;
  bench.tell("find -ls");
  const find = (folder: string): Promise<number> => secondsOf("find", [folder, "-ls"]);
  const cold: Row["figures"] = {};
  if (await dropNames()) cold.disk = await find(origin);
  const places: Places = { disk: origin };
  const daemon = await startMusicfs(bench, nameOf(FIND_FILES), { origin });
  places.musicfs = daemon.mountpoint;
  cold.musicfs = await find(daemon.mountpoint);
  if (rclone) {
    const served = await keep(
      bench,
      await startRclone({ program: rclone, origin, dir, name: "tree" }),
    );
    places.rclone = served.mountpoint;
    cold.rclone = await find(served.mountpoint);
  }
  bench.add({
    title: "find -ls, 10,000 files, cold",
    unit: "s",
    figures: cold,
    targets: [],
    note: "right after the mount of a known library; disk: without names in memory",
  });
  bench.add({
    title: "find -ls, 10,000 files, repeated",
    unit: "s",
    figures: await inTurn(places, Math.max(3, options.rounds), find),
    targets: [{ bound: "at most", value: 0.3 }],
  });
  await daemon[Symbol.asyncDispose]();
}

/** The first `ls` of each tree, in turn: what is flat is flat in the same minute. */
async function addFirstListingRows(bench: Bench, trees: readonly Tree[]): Promise<void> {
  const measured = trees.map((tree) => ({
    ...tree,
    ready: [] as number[],
    listed: [] as number[],
  }));
  for (let round = 0; round < bench.options.rounds; round += 1) {
    for (const tree of measured) {
      bench.tell(`mount to first ls, ${tree.files} files`);
      const { ready, listed } = await firstListing(bench, tree);
      tree.ready.push(ready);
      tree.listed.push(listed);
    }
  }
  for (const { files, ready, listed } of measured) {
    bench.add({
      title: `Mount to first ls, ${files.toLocaleString("en-US")} files known`,
      unit: "s",
      figures: { musicfs: median(listed) },
      targets: [{ bound: "at most", value: 0.5 }],
      note: `from the start of the process; READY=1 after ${median(ready).toFixed(2)} s. The ` +
        "files are a real tree that musicfs scan walked; ls -l of the root and of an album",
    });
  }
  const [first, last] = [measured[0], measured.at(-1)];
  if (!first || !last || first === last) return;
  bench.add({
    title: "Mount to first ls, most files against fewest",
    unit: "times",
    figures: { musicfs: median(last.listed) / median(first.listed) },
    targets: [{ bound: "at most", value: FLAT_MAX }],
    note: `${last.files.toLocaleString("en-US")} files against ` +
      `${first.files.toLocaleString("en-US")}; flat is 1, and the rest is noise`,
  });
}

/** Seconds from the start of the process to READY=1, and to the end of an `ls` of two folders. */
async function firstListing(
  bench: Bench,
  { files, origin }: Tree,
): Promise<{ ready: number; listed: number }> {
  const start = performance.now();
  await using daemon = await Musicfs.spawn(bench, nameOf(files), { origin });
  await daemon.ready();
  const ready = (performance.now() - start) / 1000;
  const { mountpoint } = daemon;
  const listing = await output("ls", ["-l", mountpoint, join(mountpoint, TREE_ALBUM)]);
  const listed = (performance.now() - start) / 1000;
  const tracks = listing.match(/ Track\.flac$/gm)?.length;
  if (tracks !== 20) throw new Error(`ls shows ${tracks} of 20 tracks:\n${listing}`);
  return { ready, listed };
}

async function addMemoryRow(bench: Bench, { files, origin }: Tree): Promise<void> {
  bench.tell("memory at rest");
  await using daemon = await startMusicfs(bench, nameOf(files), { origin });
  await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  const { all, anonymous } = await residentMemory(await daemon.pid());
  bench.add({
    title: `RSS of the daemon at rest, ${files.toLocaleString("en-US")} files`,
    unit: "MiB",
    figures: { musicfs: all },
    targets: [{ bound: "at most", value: 130 }],
    note: `${anonymous.toFixed(0)} MiB of it anonymous; ${IDLE_MS / 1000} s after the start`,
  });
}
