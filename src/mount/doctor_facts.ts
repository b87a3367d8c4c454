/** What `musicfs doctor` asks this machine; what the answers mean is judged elsewhere. */

import type { Clock } from "../base/clock.ts";
import { within } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import { silentLog } from "../base/log.ts";
import {
  agreed,
  cString,
  libc,
  O_CREAT,
  O_EXCL,
  O_NOFOLLOW,
  O_RDWR,
  O_WRONLY,
  openFile,
  pwriteFully,
  statFilesystem,
  statPath,
} from "../base/posix.ts";
import { remoteTypeName } from "../origins/local_disk.ts";
import { localFolder, openOrigin } from "../origins/open.ts";
import { IndexFiles, isIndexSuspect } from "../store/index_files.ts";
import { childProbe } from "../store/probe_child.ts";
import type { StatusResult } from "./cache_commands.ts";
import { statfsInChild } from "./check_mount.ts";
import type { Config, OriginConfig } from "./config.ts";
import { callDaemon, NoDaemonError } from "./control_client.ts";
import { CONTROL_SOCKET } from "./control_protocol.ts";
import type { CacheDiskFacts, DaemonAnswer, IndexAnswer, TemporaryFacts } from "./doctor_cache.ts";
import type { OriginAnswer } from "./doctor_origin.ts";
import { UNIT_PROPERTIES, type UnitName } from "./doctor_systemd.ts";
import { acquireLock, LockHeldError, readLockInfo } from "./lock.ts";
import { selfCommand } from "./self_command.ts";

const ENOENT = 2;
const ST_NOEXEC = 8n;

/** `struct statfs`: 120 bytes on 64-bit Linux, the flags at 80. Source: statfs(2). */
const STATFS_BYTES = 120;
const STATFS_FLAGS_AT = 80;

/** `struct timex`: 208 bytes on 64-bit Linux, the status at 40. Source: adjtimex(2). */
const TIMEX_BYTES = 208;
const TIMEX_STATUS_AT = 40;
const STA_UNSYNC = 0x40;

/** A file that is made to see whether one can be. */
const PROBE_BYTES = 4096;

/**
 * A disk that does not answer a child within `answerMs` hangs. The child starts in 0.1 s; where ten
 * do so at once on two cores that thirty others want it took 15 s (measured), and that says nothing
 * of the disk.
 */
export const DISK_LIMITS = { startMs: 30_000, answerMs: 5_000 };

/** Longest wait for a daemon's status, in ms. */
const DAEMON_MS_MAX = 5_000;

/** Names at an origin's root that are counted. */
const NAMES_MAX = 1_000;

/** 0, or why a device cannot be opened for reading and writing. */
export function openErrno(path: string): number {
  const descriptor = agreed(() => openFile(path, O_RDWR));
  if (descriptor < 0) return -descriptor;
  libc.close(descriptor);
  return 0;
}

/** undefined for what is missing or may not be read. */
export function readText(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}

/** A program in `PATH`, and its mode. */
export function findProgram(
  name: string,
  path: string,
): { path: string | undefined; mode: number | undefined } {
  for (const folder of path.split(":").filter(Boolean)) {
    const status = statPath(`${folder}/${name}`);
    if (typeof status !== "number") return { path: `${folder}/${name}`, mode: status.mode };
  }
  return { path: undefined, mode: undefined };
}

export function inotifyLimits(): { watches: number; instances: number } {
  const of = (name: string): number =>
    Number(readText(`/proc/sys/fs/inotify/max_user_${name}`) ?? Infinity);
  return { watches: of("watches"), instances: of("instances") };
}

export function clockFacts(clock: Clock): {
  nowMs: number;
  isSynchronised: boolean | undefined;
  isMonotonic: boolean;
} {
  let isMonotonic = true;
  for (let last = clock.monotonic(), i = 0; i < 1_000; i += 1) {
    const now = clock.monotonic();
    if (now < last) isMonotonic = false;
    last = now;
  }
  return { nowMs: clock.now(), isSynchronised: isSynchronised(), isMonotonic };
}

/** Asks the kernel whether something keeps its clock right; undefined if it does not say. */
function isSynchronised(): boolean | undefined {
  const library = Deno.dlopen("libc.so.6", {
    adjtimex: { parameters: ["buffer"], result: "i32" },
  });
  const timex = new Uint8Array(TIMEX_BYTES);
  const result = library.symbols.adjtimex(timex);
  library.close();
  if (result < 0) return undefined;
  return (new DataView(timex.buffer).getInt32(TIMEX_STATUS_AT, true) & STA_UNSYNC) === 0;
}

/** Whether a disk answers; asked by a child, for a call on one that hangs never ends. */
export async function answers(path: string, clock: Clock): Promise<boolean> {
  const options = { clock, limits: DISK_LIMITS, owner: undefined };
  return await statfsInChild(path, options) !== undefined;
}

/** What is known of the cache's disk, which answers. */
export function diskFacts(
  { cacheDir, maxSizeBytes }: Config,
  usedBytes: number,
): CacheDiskFacts {
  const folder = existingFolder(cacheDir);
  const filesystem = statFilesystem(folder);
  const known = typeof filesystem === "number"
    ? { type: 0, totalBytes: 0, freeBytes: 0 }
    : filesystem;
  return {
    cacheDir,
    exists: folder === cacheDir,
    errno: typeof filesystem === "number" ? -filesystem : tryWriting(folder),
    type: known.type,
    remote: remoteTypeName(known.type),
    totalBytes: known.totalBytes,
    freeBytes: known.freeBytes,
    usedBytes,
    limitBytes: maxSizeBytes,
  };
}

/** The folder, or the nearest above it that is there. */
function existingFolder(path: string): string {
  let folder = path;
  while (folder !== "/" && statPath(folder) === -ENOENT) {
    folder = folder.slice(0, folder.lastIndexOf("/")) || "/";
  }
  return folder;
}

/** Makes, fills and removes a file; 0 or the errno. */
function tryWriting(folder: string): number {
  const path = `${folder}/.musicfs-doctor-${Deno.pid}`;
  const descriptor = agreed(() => openFile(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW));
  if (descriptor < 0) return -descriptor;
  const written = pwriteFully(descriptor, new Uint8Array(PROBE_BYTES), 0);
  libc.close(descriptor);
  libc.unlink(cString(path));
  return written < 0 ? -written : 0;
}

export function temporaryFacts(dir: string): TemporaryFacts {
  const buffer = new Uint8Array(STATFS_BYTES);
  const result = libc.statfs(cString(dir), buffer);
  const flags = new DataView(buffer.buffer).getBigInt64(STATFS_FLAGS_AT, true);
  return {
    dir,
    isExecutable: result < 0 ? undefined : (flags & ST_NOEXEC) === 0n,
    canWrite: tryWriting(dir) === 0,
  };
}

/** Asks whoever has the cache. */
export async function askDaemon(cacheDir: string, clock: Clock): Promise<DaemonAnswer> {
  // Whatever else is done there would hang with it, and this process, too.
  if (!await answers(cacheDir, clock)) return { kind: "hangs" };
  const stop = new AbortController();
  try {
    const asked = callDaemon(`${cacheDir}/${CONTROL_SOCKET}`, "status", { signal: stop.signal });
    const status = await within(asked, { ms: DAEMON_MS_MAX, clock });
    if (status !== undefined) return { kind: "answers", status: status as StatusResult };
  } catch (error) {
    if (!(error instanceof MusicfsError)) throw error;
    if (error instanceof NoDaemonError && !isLocked(cacheDir)) return { kind: "none" };
  } finally {
    stop.abort();
  }
  const holder = readLockInfo(cacheDir);
  return {
    kind: "silent",
    pid: holder?.pid ?? 0,
    isMounting: typeof holder?.mountpoint === "string",
  };
}

/** Whether a living process has written its name into the lock. It is not tried: a daemon may start. */
function isLocked(cacheDir: string): boolean {
  const holder = readLockInfo(cacheDir);
  return holder !== undefined && typeof statPath(`/proc/${holder.pid}`) !== "number";
}

/** Looks at the index as a start would; nobody may start meanwhile. */
export async function lookAtIndex(cacheDir: string, clock: Clock): Promise<IndexAnswer> {
  const dir = `${cacheDir}/index`;
  const files = new IndexFiles(dir);
  if (!files.exists()) return { kind: "none" };
  if (isIndexSuspect(dir)) return { kind: "fault", fault: "it was found damaged while in use" };
  let lock: Disposable;
  try {
    lock = acquireLock(cacheDir, { pid: Deno.pid, supervisor_pid: null, mountpoint: null });
  } catch (error) {
    if (error instanceof LockHeldError) return { kind: "busy" };
    throw error;
  }
  using _lock = lock;
  const fault = await files.fault();
  if (fault !== undefined) return { kind: "fault", fault };
  const result = await childProbe(selfCommand(), clock)(dir);
  return { kind: "fault", fault: result === "ok" ? undefined : result.bad };
}

/** Asks an origin what its root is, and for the first names in it. */
export async function askOrigin(
  { name, url }: OriginConfig,
  { clock, env, signal }: {
    clock: Clock;
    env: (name: string) => string | undefined;
    signal: AbortSignal;
  },
): Promise<OriginAnswer> {
  const folder = localFolder(url);
  try {
    if (folder !== undefined && !await answers(folder, clock)) {
      const message = `${folder} does not answer: its disk or server hangs`;
      return { code: "timed_out", message, isLocal: true };
    }
    await using origin = await openOrigin({ name, url }, { log: silentLog, clock, env });
    const startedMs = clock.monotonic();
    await origin.stat("", { signal });
    const answeredMs = clock.monotonic();
    let names = 0;
    for await (const _ of origin.list("", { signal })) {
      names += 1;
      if (names > NAMES_MAX) break;
    }
    return {
      latencyMs: answeredMs - startedMs,
      listMs: clock.monotonic() - answeredMs,
      names: Math.min(names, NAMES_MAX),
      hasMore: names > NAMES_MAX,
    };
  } catch (error) {
    if (!(error instanceof MusicfsError)) throw error;
    return { code: error.code, message: error.message, isLocal: folder !== undefined };
  }
}

/** What systemd says of a unit; undefined where it cannot be asked. */
export async function unitText({ unit, isUsers }: UnitName): Promise<string | undefined> {
  const words = ["show", unit, "--no-pager", `--property=${UNIT_PROPERTIES.join(",")}`];
  try {
    const { success, stdout } = await new Deno.Command("systemctl", {
      args: isUsers ? ["--user", ...words] : words,
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).output();
    return success ? new TextDecoder().decode(stdout) : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
