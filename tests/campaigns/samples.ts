/** What a daemon takes of a machine, looked at from outside. */

import { join } from "node:path";
import { ask, type Host, servedBy } from "./host.ts";
import { descriptorsOf, readOrNothing } from "./leaks.ts";

/** One look. Memory and files in MiB; undefined for what cannot be seen here. */
export interface Sample {
  /** Since the campaign's start. */
  seconds: number;
  pid: number;
  rss: number;
  /** Memory that no file backs. */
  anonymous: number;
  descriptors: number;
  /** Of these, chunks and files of the origin: kept open for speed, up to a bound. */
  keptDescriptors: number;
  sockets: number;
  threads: number;
  /** Folders that inotify watches. */
  watches: number;
  /** The parent's; 0 without one. */
  parentAnonymous: number;
  parentDescriptors: number;
  /** Mounts at the mountpoint. */
  mounts: number;
  /** Requests that the kernel waits for. */
  waiting: number;
  /** Of all FUSE mounts of this machine: objects in use. */
  fuseInodes: number | undefined;
  fuseRequests: number | undefined;
  index: number;
  cache: number;
  openHandles: number;
}

/** The columns of a table of samples, in order. */
export const SAMPLE_COLUMNS = [
  "seconds",
  "pid",
  "rss",
  "anonymous",
  "descriptors",
  "keptDescriptors",
  "sockets",
  "threads",
  "watches",
  "parentAnonymous",
  "parentDescriptors",
  "mounts",
  "waiting",
  "fuseInodes",
  "fuseRequests",
  "index",
  "cache",
  "openHandles",
] as const satisfies readonly (keyof Sample)[];

/** Looks at who serves the files of `origin`, a folder; undefined while it changes. */
export async function sampleOf(
  host: Host,
  { seconds, origin }: { seconds: number; origin: string },
): Promise<Sample | undefined> {
  const served = servedBy(host.cacheDir);
  const status = await ask(host.cacheDir, "status") as
    | { pid: number; open_handles: number; cache: { used_bytes: number } }
    | undefined;
  if (!served || status?.pid !== served.pid) return undefined;
  const kept = [join(host.cacheDir, "chunks"), origin];
  const daemon = processSample(served.pid, kept);
  const parent = served.supervisorPid === undefined
    ? undefined
    : processSample(served.supervisorPid, kept);
  if (!daemon) return undefined;
  const mounts = host.mounts();
  const minor = mounts[0]?.device.split(":")[1];
  const size = readOrNothing(() => Deno.statSync(join(host.cacheDir, "index/data.mdb")).size);
  return {
    seconds: Math.round(seconds),
    pid: served.pid,
    ...daemon,
    parentAnonymous: parent?.anonymous ?? 0,
    parentDescriptors: parent?.descriptors ?? 0,
    mounts: mounts.length,
    waiting: Number(readText(`/sys/fs/fuse/connections/${minor}/waiting`) ?? 0),
    fuseInodes: slabObjects("fuse_inode"),
    fuseRequests: slabObjects("fuse_request"),
    index: mebibytes(size ?? 0),
    cache: mebibytes(status.cache.used_bytes),
    openHandles: status.open_handles,
  };
}

/** A table with a heading, tabs between columns. */
export function tableOf(samples: readonly Sample[]): string {
  const lines = samples.map((sample) =>
    SAMPLE_COLUMNS.map((name) => sample[name] ?? "").join("\t")
  );
  return [SAMPLE_COLUMNS.join("\t"), ...lines, ""].join("\n");
}

type ProcessSample = Pick<
  Sample,
  "rss" | "anonymous" | "descriptors" | "keptDescriptors" | "sockets" | "threads" | "watches"
>;

function processSample(pid: number, kept: readonly string[]): ProcessSample | undefined {
  const status = readText(`/proc/${pid}/status`);
  const descriptors = descriptorsOf(pid);
  if (status === undefined || descriptors === undefined) return undefined;
  const number = (key: string): number =>
    Number(new RegExp(`^${key}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? NaN);
  return {
    rss: round(number("VmRSS") / 1024),
    anonymous: round(number("RssAnon") / 1024),
    descriptors: descriptors.length,
    keptDescriptors:
      descriptors.filter((target) => kept.some((folder) => target.startsWith(`${folder}/`))).length,
    sockets: descriptors.filter((target) => target.startsWith("socket:")).length,
    threads: number("Threads"),
    watches: watchesOf(pid),
  };
}

/** Source: proc(5), `/proc/pid/fdinfo`: a line for each watch of an inotify descriptor. */
function watchesOf(pid: number): number {
  const names = readOrNothing(() => [...Deno.readDirSync(`/proc/${pid}/fdinfo`)]) ?? [];
  const texts = names.map(({ name }) => readText(`/proc/${pid}/fdinfo/${name}`) ?? "");
  return texts.reduce((sum, text) => sum + (text.match(/^inotify wd:/gm)?.length ?? 0), 0);
}

/** Source: slabinfo(5); only root reads it. */
function slabObjects(name: string): number | undefined {
  const found = new RegExp(`^${name}\\s+(\\d+)`, "m").exec(readText("/proc/slabinfo") ?? "");
  return found ? Number(found[1]) : undefined;
}

function readText(path: string): string | undefined {
  return readOrNothing(() => Deno.readTextFileSync(path));
}

function mebibytes(bytes: number): number {
  return round(bytes / 2 ** 20);
}

function round(value: number): number {
  return Number(value.toFixed(2));
}
