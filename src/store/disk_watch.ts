import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { type FilesystemStatus, statFilesystem } from "../base/posix.ts";
import { type DiskLevel, freeBytesAt, levelAfter, usedRatio, WATERMARKS } from "./watermarks.ts";

/** The disk is looked at this often while nothing is written, in ms; writing, each MiB at least. */
const LOOK_MS = 1_000;

/** A disk that was full is told to have room once it has had it for so long, in ms. */
const ROOM_MS = 10_000;

/** What `DiskWatch` looks at. */
export interface DiskWatchOptions {
  cacheDir: string;
  clock: Clock;
  log: Log;
  /** The disk that the cache lies on, or `-errno`; default: asks `statfs`. */
  disk: (() => FilesystemStatus | number) | undefined;
}

/**
 * How full the disk is that the cache lies on, by whomever. A look takes 2 us.
 *
 * Says once that the disk fills, once that nothing more is kept, and once that each is over.
 */
export class DiskWatch {
  readonly #options: DiskWatchOptions;
  /** As of the last look; undefined where the disk does not tell. */
  #status: FilesystemStatus | undefined;
  #lookedAt = -Infinity;
  /** Written since then. */
  #written = 0;
  #level: DiskLevel = "ok";
  #fullSinceMs: number | null = null;
  #saidNearlyFull = false;
  #saidFull = false;
  /** When it was seen to have room again. */
  #roomSince: number | undefined;

  constructor(options: DiskWatchOptions) {
    this.#options = options;
    this.ask();
  }

  get level(): DiskLevel {
    return this.#level;
  }

  /** When it was seen to be full, in ms since 1970; null while it is not. */
  get fullSinceMs(): number | null {
    return this.#fullSinceMs;
  }

  /** The part of the disk that is in use; undefined where the disk does not tell. */
  get usedRatio(): number | undefined {
    return this.#status && usedRatio(this.#status);
  }

  /** Free bytes below the watermark from which the cache is made smaller. */
  get keepFreeBytes(): number {
    return this.#status ? freeBytesAt(WATERMARKS.evicting, this.#status) : 0;
  }

  /** How many bytes too few are free for that once `needBytes` more are written. */
  lacking(needBytes: number): number {
    if (!this.#status) return 0;
    return needBytes + this.keepFreeBytes - (this.#status.freeBytes - this.#written);
  }

  /** Counts what is about to be written, until the next look. */
  wrote(bytes: number): void {
    this.#written += bytes;
  }

  /** Looks at the disk, unless it did within the last second. */
  look(): DiskLevel {
    if (this.#options.clock.monotonic() - this.#lookedAt >= LOOK_MS) this.ask();
    return this.#level;
  }

  /** Looks at the disk now. */
  ask(): void {
    const { disk, cacheDir, clock } = this.#options;
    const status = disk ? disk() : statFilesystem(cacheDir);
    this.#status = typeof status === "number" ? undefined : status;
    this.#written = 0;
    this.#lookedAt = clock.monotonic();
    this.#level = this.#status ? levelAfter(this.#level, this.#status) : "ok";
    if (this.#level === "full") this.#fullSinceMs ??= clock.now();
    else this.#fullSinceMs = null;
    if (this.#level === "full") this.#tellFull();
    else if (this.#saidFull) this.#tellRoom();
    else this.#tellNearlyFull();
  }

  #tellFull(): void {
    this.#roomSince = undefined;
    if (this.#saidFull) return;
    this.#saidFull = true;
    const what = "The cache disk is full; nothing more is cached for now";
    this.#options.log.warning(what, this.#fields());
  }

  /** Another program may take what was freed at once: that is no news each time. */
  #tellRoom(): void {
    const now = this.#options.clock.monotonic();
    this.#roomSince ??= now;
    if (this.#level !== "ok" && now - this.#roomSince < ROOM_MS) return;
    this.#saidFull = false;
    this.#saidNearlyFull = this.#level !== "ok";
    this.#options.log.info("The cache disk has room again; caching goes on", this.#fields());
  }

  #tellNearlyFull(): void {
    const isNearlyFull = this.#level !== "ok";
    if (isNearlyFull === this.#saidNearlyFull) return;
    this.#saidNearlyFull = isNearlyFull;
    if (isNearlyFull) {
      this.#options.log.warning(
        "The cache disk is nearly full; from 95 % on the cache is made smaller",
        this.#fields(),
      );
    } else this.#options.log.info("The cache disk is not nearly full any more", this.#fields());
  }

  #fields(): { cacheDir: string; usedPercent: number } {
    const { cacheDir } = this.#options;
    return { cacheDir, usedPercent: Math.floor((this.usedRatio ?? 0) * 1000) / 10 };
  }
}
