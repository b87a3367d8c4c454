import type { ByteRange } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { Limiter, orAborted } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import { ORIGIN_READS_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Origin, OriginFile } from "../origins/origin.ts";

/** Longest wait for an origin's first byte, in ms; a disk that was spun down needs about 8 s. */
const FIRST_BYTE_MS_MAX = 15_000;

/** Slower than this many bytes a second counts as hanging: 1 Mbit/s. */
const BYTES_PER_SECOND_MIN = 125_000;

/** What one origin was asked for, and what came of it. */
export interface OriginCounters {
  calls: number;
  bytes: number;
  errors: number;
}

/** What an attempt needs besides the file and the range. */
export interface AttemptOptions {
  /** Ends the attempt while it is queued, and is passed on to the origin. */
  signal: AbortSignal;
  /** Told when the attempt has left the queue. */
  onStart: () => void;
}

/**
 * Single attempts at one origin: at most `ORIGIN_READS_MAX` at once, each within a time limit, and
 * a result of any other length than was asked for is an error.
 */
export class OriginAttempts {
  readonly counters: OriginCounters = { calls: 0, bytes: 0, errors: 0 };
  readonly #limiter = new Limiter(ORIGIN_READS_MAX);
  #failing = false;

  constructor(
    readonly origin: Origin,
    readonly options: { readonly clock: Clock; readonly log: Log },
  ) {}

  /**
   * Reads the range once. Throws what the origin threw, `timed_out` for a late answer and
   * `unavailable` for one of the wrong length.
   *
   * A call that neither answers nor heeds its signal keeps its place, so that an origin that hangs
   * never has more than `ORIGIN_READS_MAX` calls under way.
   */
  async read(
    file: OriginFile,
    range: ByteRange,
    { signal, onStart }: AttemptOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const answer = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
    const place = this.#limiter.run(async () => {
      onStart();
      this.counters.calls += 1;
      const limit = new AbortController();
      const timer = new AbortController();
      const limited = AbortSignal.any([signal, limit.signal]);
      const call = Promise.try(() => this.origin.read(file, range, { signal: limited }));
      orAborted(call, limited).then(answer.resolve, answer.reject);
      this.#limit(limit, { file, range, signal: AbortSignal.any([signal, timer.signal]) });
      await settled(call);
      timer.abort();
    }, signal);
    place.catch(answer.reject);
    try {
      const bytes = exactly(await answer.promise, { file, range, origin: this.origin.name });
      this.counters.bytes += bytes.length;
      this.#note(undefined);
      return bytes;
    } catch (error) {
      if (!signal.aborted) this.#note(error);
      throw error;
    }
  }

  #limit(
    limit: AbortController,
    { file, range, signal }: { file: OriginFile; range: ByteRange; signal: AbortSignal },
  ): void {
    const ms = FIRST_BYTE_MS_MAX + (range.length / BYTES_PER_SECOND_MIN) * 1_000;
    this.options.clock.sleep(ms, signal).then(() => {
      const message = `Cannot read "${file.path}" from ${this.origin.name}: no answer within ` +
        `${Math.round(ms / 1_000)} s. It is tried again.`;
      limit.abort(new MusicfsError("timed_out", message, { op: "fetch.read", subject: file.path }));
    }, () => undefined);
  }

  /** Counts, and logs only where an origin begins or ends to fail: an outage is not a line a read. */
  #note(error: unknown): void {
    const { log } = this.options;
    if (error === undefined) {
      if (this.#failing) log.info("Origin answers again", { origin: this.origin.name });
      this.#failing = false;
      return;
    }
    this.counters.errors += 1;
    if (!(error instanceof MusicfsError)) {
      log.error("Origin failed in a way nobody planned for", { origin: this.origin.name, error });
    } else if (error.retryable) {
      if (!this.#failing) log.warning("Origin fails", { origin: this.origin.name, error });
      this.#failing = true;
    }
  }
}

function exactly(
  bytes: Uint8Array<ArrayBuffer>,
  { file, range, origin }: { file: OriginFile; range: ByteRange; origin: string },
): Uint8Array<ArrayBuffer> {
  if (bytes.length === range.length) return bytes;
  const message = `Cannot use what ${origin} sent of "${file.path}": ${bytes.length} bytes ` +
    `where ${range.length} were asked for. It is tried again.`;
  throw new MusicfsError("unavailable", message, { op: "fetch.read", subject: file.path });
}

async function settled(promise: Promise<unknown>): Promise<void> {
  await promise.then(() => undefined, () => undefined);
}
