import { MusicfsError } from "../base/errors.ts";
import {
  agreed,
  checked,
  libc,
  O_CREAT,
  O_NOFOLLOW,
  O_RDONLY,
  O_RDWR,
  openFile,
  preadFully,
  pwriteFully,
} from "../base/posix.ts";

/** Who holds a cache, as `musicfs.lock` says. */
export interface LockInfo {
  pid: number;
  /** The parent that holds the mount for the daemon; null without one. */
  supervisor_pid: number | null;
  /** null for a command that holds the cache only while it runs. */
  mountpoint: string | null;
}

/** Name of the lock file in the cache folder. */
export const LOCK_FILE = "musicfs.lock";

const LOCK_EX = 2;
const LOCK_NB = 4;
const EWOULDBLOCK = 11;
const INFO_BYTES_MAX = 16 * 1024;

/** The cache belongs to another process. */
export class LockHeldError extends MusicfsError {
  /** undefined while the holder has not written its name yet. */
  readonly holder: LockInfo | undefined;

  constructor(dir: string, holder: LockInfo | undefined) {
    super("unavailable", `Cannot use the cache ${dir}: ${describeHolder(holder)}`, {
      op: "lock.acquire",
      subject: dir,
    });
    this.holder = holder;
  }
}

/** A lock that is held until it is disposed of, or until the process ends in whatever way. */
export interface CacheLock extends Disposable {
  /** Says who holds it now: a supervisor that came or went. */
  update(info: LockInfo): void;
}

/**
 * Takes `<dir>/musicfs.lock`, and only then writes into it who has it.
 *
 * `dir` must exist. What a dead holder left in the file is overwritten: the lock died with it.
 * Throws {@linkcode LockHeldError} at once if another process has it, and `denied` or
 * `unavailable` if the file cannot be opened.
 */
export function acquireLock(dir: string, info: LockInfo): CacheLock {
  const path = `${dir}/${LOCK_FILE}`;
  const descriptor = openFile(path, O_RDWR | O_CREAT | O_NOFOLLOW);
  if (descriptor < 0) throw cannotOpen(path, -descriptor);
  const locked = agreed(() => checked(libc.flock(descriptor, LOCK_EX | LOCK_NB)));
  if (locked < 0) {
    const holder = parseInfo(descriptor);
    libc.close(descriptor);
    if (locked === -EWOULDBLOCK) throw new LockHeldError(dir, holder);
    throw cannotOpen(path, -locked);
  }
  writeInfo(descriptor, info);
  let held = true;
  return {
    update: (next) => writeInfo(descriptor, next),
    [Symbol.dispose]: () => {
      if (!held) return;
      held = false;
      libc.ftruncate(descriptor, 0n);
      libc.close(descriptor);
    },
  };
}

/** What the lock file says, whether or not somebody holds it; undefined if it says nothing. */
export function readLockInfo(dir: string): LockInfo | undefined {
  const descriptor = openFile(`${dir}/${LOCK_FILE}`, O_RDONLY | O_NOFOLLOW);
  if (descriptor < 0) return undefined;
  const info = parseInfo(descriptor);
  libc.close(descriptor);
  return info;
}

/** Not checked: a full disk costs the name in the error message, never the lock. */
function writeInfo(descriptor: number, info: LockInfo): void {
  libc.ftruncate(descriptor, 0n);
  pwriteFully(descriptor, new TextEncoder().encode(JSON.stringify(info) + "\n"), 0);
}

function parseInfo(descriptor: number): LockInfo | undefined {
  const bytes = new Uint8Array(INFO_BYTES_MAX);
  const length = preadFully(descriptor, bytes, 0);
  if (length <= 0) return undefined;
  try {
    const read: Partial<LockInfo> = JSON.parse(new TextDecoder().decode(bytes.subarray(0, length)));
    if (typeof read.pid !== "number") return undefined;
    return {
      pid: read.pid,
      supervisor_pid: typeof read.supervisor_pid === "number" ? read.supervisor_pid : null,
      mountpoint: typeof read.mountpoint === "string" ? read.mountpoint : null,
    };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function describeHolder(holder: LockInfo | undefined): string {
  const other = "choose another folder with --cache-dir";
  if (holder === undefined) return `another musicfs process holds it; ${other}`;
  if (holder.mountpoint === null) {
    return `musicfs process ${holder.pid} is working on it; wait until it is done, or ${other}`;
  }
  return `musicfs daemon ${holder.pid} uses it for ${holder.mountpoint}; ` +
    `stop it with "musicfs unmount ${holder.mountpoint}", or ${other}`;
}

function cannotOpen(path: string, errno: number): MusicfsError {
  const denied = errno === 13 || errno === 1 || errno === 30;
  return new MusicfsError(
    denied ? "denied" : "unavailable",
    denied
      ? `Cannot write ${path}: permission denied; choose another folder with --cache-dir`
      : `Cannot lock ${path}: error ${errno}; choose another folder with --cache-dir`,
    { op: "lock.open", subject: path },
  );
}
