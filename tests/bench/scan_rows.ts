/** Scans of a local folder in which nothing changed, by a running daemon, and reads beside them. */

import { join } from "node:path";
import { musicfs } from "../support/daemon.ts";
import { type Bench, cacheDirOf, type Musicfs, startMusicfs } from "./bench.ts";
import { writeRandom, writeTree } from "./files.ts";
import { fio, residentMemory, secondsOf } from "./measure.ts";
import { median, type Row } from "./report.ts";

const SCAN_FILES = 100_000;

/** The file that is read beside scans, in MiB. */
const READ_MEBIBYTES = 8;

const READ_SECONDS = 4;

const SCAN_MS_MAX = 600_000;

const NAME = "scan";

/** Files a second, beside `find -ls` and `rclone lsf -R`; what readers of cached bytes notice. */
export async function addScanRows(bench: Bench): Promise<void> {
  const origin = join(bench.dir, NAME);
  bench.tell(`making ${SCAN_FILES} files`);
  writeTree(origin, SCAN_FILES);
  const file = "read.flac";
  await writeRandom(join(origin, file), READ_MEBIBYTES);
  await using daemon = await startMusicfs(bench, NAME, { origin });
  const read = join(daemon.mountpoint, file);
  await secondsOf("cat", [read]);
  bench.tell("the first scan");
  // It waits for the one that a daemon begins with.
  await scanSeconds(bench);
  await addSpeedRow(bench, origin, daemon);
  await addReadRow(bench, read);
}

async function addSpeedRow(bench: Bench, origin: string, daemon: Musicfs): Promise<void> {
  const { rclone, options } = bench;
  const seconds = { musicfs: [] as number[], disk: [] as number[], rclone: [] as number[] };
  for (let round = 0; round < Math.max(3, options.rounds); round += 1) {
    bench.tell(`scan of ${SCAN_FILES} known files`);
    seconds.musicfs.push(await scanSeconds(bench));
    seconds.disk.push(await secondsOf("find", [origin, "-ls"]));
    if (rclone) seconds.rclone.push(await secondsOf(rclone, ["lsf", "-R", origin]));
  }
  const rate = (all: readonly number[]): number => SCAN_FILES / median(all);
  const figures: Row["figures"] = { musicfs: rate(seconds.musicfs), disk: rate(seconds.disk) };
  if (rclone) figures.rclone = rate(seconds.rclone);
  const { all, anonymous } = await residentMemory(await daemon.pid());
  bench.add({
    title: `Scan, ${SCAN_FILES.toLocaleString("en-US")} local files, nothing changed`,
    unit: "files/s",
    figures,
    targets: [{ bound: "at least", value: 20_000 }],
    note: "by the running daemon, names compared with the index and the scan journaled; disk: " +
      `find -ls, rclone: lsf -R, which keep nothing. RSS afterwards ${all.toFixed(0)} MiB, ` +
      `${anonymous.toFixed(0)} of it anonymous`,
  });
}

async function addReadRow(bench: Bench, file: string): Promise<void> {
  bench.tell("reads beside scans");
  const job = {
    pattern: "randread",
    blockBytes: 4096,
    direct: true,
    seconds: READ_SECONDS,
  } as const;
  const alone = await fio(file, job);
  let isOver = false;
  const scans = (async (): Promise<number> => {
    let count = 0;
    for (; !isOver; count += 1) await scanSeconds(bench);
    return count;
  })();
  const beside = await fio(file, job).finally(() => isOver = true);
  const count = await scans;
  bench.add({
    title: "… 99 % of cached 4 KiB reads beside scans within",
    unit: "us",
    figures: { musicfs: beside.p99Us },
    targets: [],
    note: `${alone.p99Us.toFixed(0)} us without; ${count} scans in ${READ_SECONDS} s`,
  });
}

/** What the daemon says that a scan took, without the command's start. */
async function scanSeconds(bench: Bench): Promise<number> {
  const args = ["scan", "--json", "--cache-dir", cacheDirOf(bench, NAME)];
  const { code, stdout, stderr } = await musicfs(args, { home: bench.dir, limitMs: SCAN_MS_MAX });
  if (code !== 0) throw new Error(`musicfs scan ended with ${code}: ${stderr}`);
  const [{ files, seconds }] = JSON.parse(stdout).origins;
  if (files !== SCAN_FILES + 1) throw new Error(`musicfs scan saw ${files} files`);
  return seconds;
}
