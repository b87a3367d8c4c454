import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { cString, libc, O_CREAT, O_TRUNC, O_WRONLY, openFile, pwriteFully } from "../base/posix.ts";
import { makeFolder } from "./layout.ts";

/** Ms between two attempts to write to a disk that refused. */
const PROBE_INTERVAL_MS = 60_000;

/** Bytes of a probe: as many as the longest chunk. */
const PROBE_BYTES = 256 * 1024;

/** Linux errno values, x86-64 and arm64, that say something about the disk or about us. */
const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  ENOMEM: 12,
  EACCES: 13,
  EEXIST: 17,
  ENOTDIR: 20,
  ENFILE: 23,
  EMFILE: 24,
  ENOSPC: 28,
  EROFS: 30,
  EDQUOT: 122,
} as const;

const NAMES = new Map<number, string>(Object.entries(ERRNO).map(([name, value]) => [value, name]));

/** Whether writes to the cache are tried. */
export type DiskState = "writable" | "degraded";

/**
 * The disk that the cache lies on, and whether it takes writes.
 *
 * A disk that is full, read-only or broken turns the cache into pass-through: what is cached is
 * served, everything else goes from the origin to the reader and is not kept, until a probe
 * succeeds. Whoever writes to the cache asks `probe()` first and reports here what failed.
 */
export class CacheDisk {
  readonly #probePath: string;
  readonly #cacheDir: string;
  readonly #clock: Clock;
  readonly #log: Log;
  #state: DiskState = "writable";
  #triedAt = -Infinity;
  #degradedSinceMs: number | null = null;
  /** Whether it was for want of room that it refused last. */
  #lacksRoom = false;
  /** Whether it is so full that nothing is to be kept (`Space.level`), though it takes writes. */
  isFull: () => boolean = () => false;

  constructor({ cacheDir, clock, log }: { cacheDir: string; clock: Clock; log: Log }) {
    this.#cacheDir = cacheDir;
    this.#probePath = `${cacheDir}/tmp/probe`;
    this.#clock = clock;
    this.#log = log;
  }

  get state(): DiskState {
    return this.#state;
  }

  /** When it first refused a write, in ms since 1970; null while it takes them. */
  get degradedSinceMs(): number | null {
    return this.#degradedSinceMs;
  }

  /** Whether anything can be kept now. */
  get writable(): boolean {
    return this.#state === "writable" && !this.isFull();
  }

  /**
   * The error for a write that failed with `errno` (positive), to be thrown by the caller.
   *
   * `full` for ENOSPC and EDQUOT, `unavailable` for all others. Turns the disk degraded, unless it
   * is this process that lacks something: descriptors or memory.
   */
  failed(op: string, subject: string, errno: number): MusicfsError {
    const error = diskError({ op, subject, errno });
    if (!isOurs(errno)) this.#degrade(error, errno);
    return error;
  }

  /** The error for a write that is not tried, because the disk is degraded. */
  refused(op: string, subject: string): MusicfsError {
    return new MusicfsError(
      "unavailable",
      `Cannot write ${subject}: the cache disk refused a write less than a minute ago`,
      { op, subject },
    );
  }

  /**
   * Whether writes are worth trying. A degraded disk is tried with a file of 256 KiB in `tmp/`, at
   * most once a minute; if that works it is writable again.
   */
  probe(): boolean {
    if (this.#state === "writable") return true;
    const now = this.#clock.monotonic();
    if (now - this.#triedAt < PROBE_INTERVAL_MS) return false;
    this.#triedAt = now;
    const errno = this.#tryWriting();
    if (errno !== 0) {
      this.#lacksRoom = isFull(errno);
      this.#log.debug("The cache disk still refuses writes", { cacheDir: this.#cacheDir, errno });
      return false;
    }
    this.#state = "writable";
    this.#degradedSinceMs = null;
    this.#log.info("The cache disk takes writes again", { cacheDir: this.#cacheDir });
    return true;
  }

  /** Has the next `probe` try at once: somebody says that the disk is well again. */
  probeSoon(): void {
    this.#triedAt = -Infinity;
  }

  /**
   * Probes what is due. To be called every few seconds while nothing is written, so that the state
   * is what it says. Where room was all that lacked, and there is some, it is tried before its time.
   */
  keepWatch({ hasRoom }: { hasRoom: boolean }): void {
    if (this.#lacksRoom && hasRoom) this.probeSoon();
    this.probe();
  }

  #degrade(error: MusicfsError, errno: number): void {
    this.#triedAt = this.#clock.monotonic();
    this.#lacksRoom = isFull(errno);
    if (this.#state === "degraded") return;
    this.#state = "degraded";
    this.#degradedSinceMs = this.#clock.now();
    this.#log.warning("Nothing more is cached for now: reads go to the origin", { error });
  }

  /** Writes the probe and removes it; 0 or the errno of what failed. */
  #tryWriting(): number {
    // If that fails, so does what comes next, and tells why.
    makeFolder(`${this.#cacheDir}/tmp`);
    const descriptor = openFile(this.#probePath, O_WRONLY | O_CREAT | O_TRUNC);
    if (descriptor < 0) return -descriptor;
    const written = pwriteFully(descriptor, new Uint8Array(PROBE_BYTES), 0);
    libc.close(descriptor);
    libc.unlink(cString(this.#probePath));
    return written < 0 ? -written : 0;
  }
}

/** What a failed system call on the cache disk means; `errno` is positive. */
export function diskError(
  { op, subject, errno }: { op: string; subject: string; errno: number },
): MusicfsError {
  const reason = NAMES.get(errno) ?? `errno ${errno}`;
  if (isFull(errno)) {
    return new MusicfsError(
      "full",
      `Cannot write ${subject}: the cache disk is full (${reason}). Free space on it or lower ` +
        "--max-size",
      { op, subject },
    );
  }
  const remedy = isOurs(errno)
    ? "Raise the limit of this process"
    : "Check the disk and the permissions of --cache-dir";
  return new MusicfsError(
    "unavailable",
    `Cannot use ${subject}: the system refused with ${reason}. ${remedy}`,
    { op, subject },
  );
}

/** Whether making room helps. */
export function isFull(errno: number): boolean {
  return errno === ERRNO.ENOSPC || errno === ERRNO.EDQUOT;
}

/** Whether it is this process that lacks something, not the disk. */
function isOurs(errno: number): boolean {
  return errno === ERRNO.EMFILE || errno === ERRNO.ENFILE || errno === ERRNO.ENOMEM;
}
