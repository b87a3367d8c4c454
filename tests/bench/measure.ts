/** Programs that measure: fio, reread.c and the clock. Each returns one figure for one round. */

import { output, type RunOptions } from "../support/process.ts";
import { median, type Row, type Subject } from "./report.ts";

/** Places on the disk of a subject's copy of one file. */
export type Places = Partial<Record<Subject, string>>;

export interface FioJob {
  /** fio's own words: "read", "randread". */
  pattern: "read" | "randread";
  blockBytes: number;
  jobs?: number;
  /** O_DIRECT: past the page cache of what is mounted. */
  direct: boolean;
  seconds: number;
}

export interface FioResult {
  mebibytesPerSecond: number;
  operationsPerSecond: number;
  /** Microseconds within which 99 % of them were answered. */
  p99Us: number;
}

/** Reads a file with fio, from its start again and again. A file that is not direct is dropped first. */
export async function fio(file: string, job: FioJob): Promise<FioResult> {
  const { size } = await Deno.stat(file);
  const text = await output("fio", [
    "--name=bench",
    "--readonly",
    "--output-format=json",
    "--ioengine=psync",
    "--thread",
    "--group_reporting",
    "--norandommap",
    // A file descriptor each pass, as players and scanners do.
    `--filename=${file}`,
    `--size=${size}`,
    `--rw=${job.pattern}`,
    `--bs=${job.blockBytes}`,
    `--numjobs=${job.jobs ?? 1}`,
    `--direct=${job.direct ? 1 : 0}`,
    "--invalidate=1",
    // Through the page cache only the first pass says anything.
    ...(job.direct ? ["--time_based", `--runtime=${job.seconds}`] : []),
  ]);
  const [result] = JSON.parse(text.slice(text.indexOf("{"))).jobs;
  return {
    mebibytesPerSecond: result.read.bw_bytes / 2 ** 20,
    operationsPerSecond: result.read.iops,
    p99Us: (result.read.clat_ns?.percentile?.["99.000000"] ?? NaN) / 1_000,
  };
}

/** Opens, reads and closes a file `rounds` times; MiB/s of the median round but the first. */
export async function reread(program: string, file: string, rounds: number): Promise<number> {
  const { size } = await Deno.stat(file);
  const text = await output(program, [file, String(rounds + 1)]);
  const seconds = text.trim().split("\n").slice(1).map(Number);
  return size / 2 ** 20 / median(seconds);
}

/** Seconds that a command takes to its end, its start included; its output is thrown away. */
export async function secondsOf(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<number> {
  const start = performance.now();
  await output(program, args, options);
  return (performance.now() - start) / 1000;
}

/**
 * Measures every subject once a round, in turn, so that a noisy minute is everybody's; the medians.
 */
export async function inTurn(
  places: Places,
  rounds: number,
  measure: (place: string) => Promise<number>,
): Promise<Figures> {
  const subjects = Object.entries(places) as [Subject, string][];
  const figures = new Map<Subject, number[]>();
  for (let round = 0; round < rounds; round += 1) {
    for (const [subject, place] of subjects) {
      const values = figures.get(subject) ?? [];
      figures.set(subject, values);
      values.push(await measure(place));
    }
  }
  return Object.fromEntries([...figures].map(([subject, values]) => [subject, median(values)]));
}

type Figures = Row["figures"];

/** Resident memory of a process in MiB, and how much of it no file backs. */
export async function residentMemory(pid: number): Promise<{ all: number; anonymous: number }> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const mebibytes = (key: string): number =>
    Number(new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(status)?.[1]) / 1024;
  return { all: mebibytes("VmRSS"), anonymous: mebibytes("RssAnon") };
}

/** Makes the kernel forget names and attributes (not contents); false where that is not allowed. */
export async function dropNames(): Promise<boolean> {
  if (Deno.uid() !== 0) return false;
  await Deno.writeTextFile("/proc/sys/vm/drop_caches", "2\n");
  return true;
}

const CREATE_FILES = 300;

/**
 * Microseconds that a new file takes in `dir`: 15 to 40 on a quiet ext4.
 *
 * After a big `rm -rf` on the same filesystem it is 1,500 for up to five minutes, because ext4 looks
 * at every inode that was deleted lately before it takes one (fs/ext4/ialloc.c, recently_deleted).
 * Then whatever creates files is slow, and it is nobody's fault.
 */
export async function createMicroseconds(dir: string): Promise<number> {
  const folder = await Deno.makeTempDir({ dir });
  const start = performance.now();
  for (let i = 0; i < CREATE_FILES; i += 1) {
    (await Deno.open(`${folder}/${i}`, { write: true, createNew: true })).close();
  }
  return Math.round((performance.now() - start) * 1000 / CREATE_FILES);
}
