/** The cache's folder, disk, daemon and index, for `musicfs doctor`. */

import { failed, type Finding, ok, skipped, warning } from "./doctor.ts";
import type { StatusResult } from "./cache_commands.ts";

const EACCES = 13;
const EROFS = 30;
const ENOSPC = 28;
const EPERM = 1;

/** Filesystems in memory. Source: linux/magic.h. */
const MEMORY_TYPES: ReadonlySet<number> = new Set([0x01021994, 0x858458f6]);

/** Parts of a disk in use from which it is told of; from the second on nothing new is cached. */
const HIGH_RATIO = 0.9;
const FULL_RATIO = 0.99;

/** What is known of the disk that holds the cache, or will. */
export interface CacheDiskFacts {
  cacheDir: string;
  /** Whether the folder is there; else `errno` is about the one it will be made in. */
  exists: boolean;
  /** Of making and removing a file; 0 if that worked. */
  errno: number;
  /** The magic number of the filesystem, and its name if it is one on a network. */
  type: number;
  remote: string | undefined;
  totalBytes: number;
  freeBytes: number;
  /** What the cache takes now, and may take; undefined: half of what is free, 20 GiB at most. */
  usedBytes: number;
  limitBytes: number | undefined;
}

export function judgeCacheDisk(facts: CacheDiskFacts): Finding {
  const { cacheDir, exists, errno, remote, type, totalBytes, freeBytes } = facts;
  if (errno !== 0) return cannotWrite(facts);
  const elsewhere = "name a folder on a disk of this machine with --cache-dir";
  const where = exists ? cacheDir : `${cacheDir} (made with the first mount)`;
  if (remote !== undefined) {
    return warning(`${where} is on a network's disk (${remote}): slow, and it may hang`, elsewhere);
  }
  if (MEMORY_TYPES.has(type)) {
    return warning(`${where} is in memory, and gone after a restart`, elsewhere);
  }
  const usedRatio = totalBytes > 0 ? 1 - freeBytes / totalBytes : 0;
  const percent = `${Math.floor(usedRatio * 100)} % of its disk in use`;
  const remedy = "free space on it, or --cache-dir on another disk";
  if (usedRatio >= FULL_RATIO) return failed(`${where}: ${percent}: nothing new is cached`, remedy);
  if (usedRatio >= HIGH_RATIO) return warning(`${where}: ${percent}`, remedy);
  const missing = (facts.limitBytes ?? 0) - facts.usedBytes - freeBytes;
  if (missing > 0) {
    return warning(
      `${where}: max_size is ${gibibytes(missing)} more than there is room for`,
      "lower --max-size, or free space",
    );
  }
  return ok(`${where}: ${gibibytes(freeBytes)} free, ${percent}`);
}

function cannotWrite({ cacheDir, errno }: CacheDiskFacts): Finding {
  switch (errno) {
    case EACCES:
    case EPERM:
      return failed(
        `${cacheDir} may not be written by this user`,
        `chown -R "$USER" ${cacheDir}, or --cache-dir`,
      );
    case EROFS:
      return failed(
        `${cacheDir} is read-only`,
        "mount its disk read-write, or --cache-dir on another",
      );
    case ENOSPC:
      return failed(`${cacheDir}: its disk is full`, "free space on it, or --cache-dir on another");
    default:
      return failed(
        `${cacheDir} cannot be written: errno ${errno}`,
        "check its disk (dmesg), or --cache-dir",
      );
  }
}

/** The folder for temporary files, where the executable unpacks LMDB's native part. */
export interface TemporaryFacts {
  dir: string;
  /** Whether programs may be run from there; undefined where that is not known. */
  isExecutable: boolean | undefined;
  canWrite: boolean;
}

export function judgeTemporary(
  { dir, isExecutable, canWrite }: TemporaryFacts,
): Finding {
  const remedy = "TMPDIR=/var/cache/musicfs, or another folder of a disk mounted without noexec";
  if (!canWrite) return failed(`${dir} cannot be written`, remedy);
  if (isExecutable === false) {
    return failed(`${dir} is mounted noexec: LMDB cannot be loaded from it`, remedy);
  }
  return ok(dir);
}

/** What asking the cache's daemon came to. */
export type DaemonAnswer =
  | { kind: "none" }
  /** The cache's disk hangs, so that nobody can be asked. */
  | { kind: "hangs" }
  /** It holds the lock, and says nothing. */
  | { kind: "silent"; pid: number; isMounting: boolean }
  | { kind: "answers"; status: StatusResult };

export function judgeDaemon(answer: DaemonAnswer): Finding {
  if (answer.kind === "none") return ok("no daemon runs on this cache");
  if (answer.kind === "hangs") return skipped("the cache's disk hangs");
  if (answer.kind === "silent") {
    const { pid, isMounting } = answer;
    if (!isMounting) return ok(`musicfs process ${pid} works on the cache`);
    return failed(
      `daemon ${pid} does not answer`,
      `systemctl restart its unit, or: kill ${pid}; its log says what it waits for`,
    );
  }
  const { pid, mountpoint, tasks = [], cache } = answer.status;
  const found = `daemon ${pid} serves ${mountpoint}`;
  const given = tasks.filter(({ state }) => state === "failed").map(({ name }) => name);
  if (given.length > 0) {
    return failed(`${found}; given up: ${given.join(", ")}`, "see its log, then restart it");
  }
  if (cache.degraded) {
    return failed(
      `${found}; its disk refuses writes or is full`,
      "free space; it goes on by itself",
    );
  }
  const restarted = tasks.filter(({ restarts }) => restarts > 0).map(({ name }) => name);
  if (restarted.length > 0) {
    return warning(`${found}; had to be started again: ${restarted.join(", ")}`, "see its log");
  }
  return ok(found);
}

/** What was found of the index, by whoever could look. */
export type IndexAnswer =
  | { kind: "none" }
  /** Nobody may look: another process has the cache. */
  | { kind: "busy" }
  | { kind: "state"; state: StatusResult["index"]["state"] }
  | { kind: "fault"; fault: string | undefined };

export function judgeIndex(answer: IndexAnswer): Finding {
  const remedy = "nothing: it is made again at the next start, and what is cached stays";
  switch (answer.kind) {
    case "none":
      return ok("none yet; the first mount makes it");
    case "busy":
      return skipped("another musicfs process has it open");
    case "state":
      return answer.state === "damaged"
        ? warning("found damaged while it was in use", remedy)
        : ok(answer.state === "rebuilt" ? "made again at the daemon's start" : "in use, and sound");
    case "fault":
      return answer.fault === undefined ? ok("sound") : warning(`damaged: ${answer.fault}`, remedy);
  }
}

function gibibytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}
