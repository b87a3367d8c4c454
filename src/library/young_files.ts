import type { Clock } from "../base/clock.ts";
import { orAborted } from "../base/concurrency.ts";
import type { OriginEntry } from "../origins/origin.ts";
import { sizeTimeVersion } from "../origins/size_time_version.ts";

/** What a time in whole seconds leaves open: FAT has even ones, in ms. */
const COARSE_MS = 2_000;

/**
 * How far an origin's clock may be behind ours so that its files still count, in ms. More would have
 * whatever was written in the last minute read twice by who reads it as soon as it is listed.
 */
const BEHIND_MS_MAX = 1_000;

/** Time after which an edit shows in a file's time, whatever the origin's clock says, in ms. */
const SETTLED_MS = COARSE_MS + 1_000;

/** Files that are remembered; the oldest are forgotten. */
const FILES_MAX = 50_000;

const SECOND_NS = 1_000_000_000n;

/** A file that was new or changed when it was listed, a moment after it had been written. */
export interface YoungFile {
  /** Number of the origin. */
  origin: number;
  path: string;
  version: string;
}

/**
 * Files that may have been edited once more without a sign of it: their version is size and time,
 * the time has whole seconds, and those had not passed when they were listed.
 *
 * What was read of such a file before the seconds were over is confirmed by its bytes. Nothing is
 * kept over a restart.
 */
export class YoungFiles {
  readonly #clock: Clock;
  /** By origin and path, in the order of `listedMs`, which is monotonic. */
  readonly #files = new Map<string, YoungFile & { listedMs: number }>();
  #more = Promise.withResolvers<void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Remembers what an origin says of a file that is new or changed, if it is young. */
  note(origin: number, { kind, path, size, mtimeNs, version }: OriginEntry): void {
    if (kind !== "file" || mtimeNs % SECOND_NS !== 0n) return;
    const oldestNs = BigInt(Math.trunc(this.#clock.now() - COARSE_MS - BEHIND_MS_MAX)) * 1_000_000n;
    if (mtimeNs < oldestNs || version !== sizeTimeVersion(size, mtimeNs)) return;
    this.again({ origin, path, version });
  }

  /** Remembers a file that could not be confirmed. */
  again({ origin, path, version }: YoungFile): void {
    const key = `${origin}:${path}`;
    this.#files.delete(key);
    this.#files.set(key, { origin, path, version, listedMs: this.#clock.monotonic() });
    if (this.#files.size > FILES_MAX) {
      const [oldest] = this.#files.keys();
      if (oldest !== undefined) this.#files.delete(oldest);
    }
    this.#more.resolve();
  }

  /** Waits until files have come of age, and forgets them. Throws the signal's reason. */
  async next(signal: AbortSignal): Promise<YoungFile[]> {
    for (;;) {
      signal.throwIfAborted();
      const [first] = this.#files.values();
      if (first === undefined) {
        this.#more = Promise.withResolvers();
        await orAborted(this.#more.promise, signal);
        continue;
      }
      const leftMs = first.listedMs + SETTLED_MS - this.#clock.monotonic();
      if (leftMs > 0) {
        await this.#clock.sleep(leftMs, signal);
        continue;
      }
      return this.#takeSettled();
    }
  }

  #takeSettled(): YoungFile[] {
    const settledMs = this.#clock.monotonic() - SETTLED_MS;
    const settled: YoungFile[] = [];
    for (const [key, { listedMs, ...file }] of this.#files) {
      if (listedMs > settledMs) break;
      this.#files.delete(key);
      settled.push(file);
    }
    return settled;
  }
}
