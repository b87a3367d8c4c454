import type { ByteRange } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { FileVersion, VersionSource } from "../store/file_version.ts";
import type { OriginAttempts } from "./attempt.ts";
import { retryWaitMs } from "./retry.ts";

/** What a flight needs from its fetcher. */
export interface FlightOptions {
  /** By the origin's name. */
  readonly origins: ReadonlyMap<string, OriginAttempts>;
  readonly clock: Clock;
  readonly random: () => number;
  /** Given the bytes before any waiter is, also when nobody waits any more. */
  readonly keep: ((offset: number, bytes: Uint8Array<ArrayBuffer>) => void) | undefined;
}

/**
 * One range of one version on its way from whichever source has it.
 *
 * It belongs to nobody: those who wait come and go. It goes on while somebody waits or a download is
 * under way; it ends when nobody waits and it is queued, or about to be tried again.
 */
export class Flight {
  readonly end: number;
  /** Settles with exactly `range.length` bytes, or the last error. */
  readonly done: Promise<Uint8Array<ArrayBuffer>>;
  /** Why the last round failed, while the next one is awaited. */
  lastError: unknown;
  #wanted = 0;
  #underWay = 0;
  readonly #stop = new AbortController();

  constructor(
    readonly version: FileVersion,
    readonly range: ByteRange,
    readonly options: FlightOptions,
  ) {
    this.end = range.offset + range.length;
    this.done = this.#run();
    // Whoever waits is told; a flight that fails with nobody waiting is nobody's error.
    this.done.catch(() => undefined);
  }

  /** Whether it has been given up, so that nobody may join it. */
  get abandoned(): boolean {
    return this.#stop.signal.aborted;
  }

  join(): void {
    this.#wanted += 1;
  }

  leave(): void {
    this.#wanted -= 1;
    if (this.#wanted === 0 && this.#underWay === 0) this.#abandon();
  }

  /** Ends it whatever it is doing; who waits gets `reason`. */
  abort(reason: unknown): void {
    this.#stop.abort(reason);
  }

  #abandon(): void {
    this.abort(
      new MusicfsError("timed_out", "Nobody waits for this range any more", {
        op: "fetch.flight",
        subject: this.version.sources[0].path,
      }),
    );
  }

  async #run(): Promise<Uint8Array<ArrayBuffer>> {
    let sources: readonly VersionSource[] = this.version.sources;
    let firstError: unknown;
    for (let round = 0;; round += 1) {
      const retry: VersionSource[] = [];
      for (const source of sources) {
        try {
          const bytes = await this.#attempt(source);
          this.options.keep?.(this.range.offset, bytes);
          return bytes;
        } catch (error) {
          if (this.abandoned) throw this.#stop.signal.reason;
          this.lastError = error;
          if (isRetryable(error)) retry.push(source);
          else firstError ??= error;
        }
        if (this.#wanted === 0) this.#abandon();
        this.#stop.signal.throwIfAborted();
      }
      if (retry.length === 0) throw firstError;
      sources = retry;
      const { clock, random } = this.options;
      await clock.sleep(retryWaitMs(round, random()), this.#stop.signal);
    }
  }

  async #attempt(source: VersionSource): Promise<Uint8Array<ArrayBuffer>> {
    const attempts = this.options.origins.get(source.origin);
    if (!attempts) {
      const message = `Cannot read "${source.path}": origin ${source.origin} is not configured ` +
        "any more. Add it again, or run `musicfs scan`.";
      throw new MusicfsError("not_found", message, { op: "fetch.read", subject: source.path });
    }
    const file = { path: source.path, size: this.version.size, version: source.version };
    let started = false;
    try {
      return await attempts.read(file, this.range, {
        signal: this.#stop.signal,
        onStart: () => {
          started = true;
          this.#underWay += 1;
        },
      });
    } finally {
      if (started) this.#underWay -= 1;
    }
  }
}

function isRetryable(error: unknown): boolean {
  return error instanceof MusicfsError && error.retryable;
}
