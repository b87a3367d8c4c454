import type { ByteRange } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import { exactly } from "./exact.ts";
import { LinkedAbort } from "./linked_abort.ts";
import type { CallOptions, Origin, OriginEntry, OriginFile } from "./origin.ts";
import { PartialRead } from "./partial_read.ts";

/** Waits between attempts, in ms (docs/semantics.md). */
const WAITS_MS = [100, 500, 2_000] as const;

/** Waits vary by up to this share in both directions, so that readers do not retry in step. */
const JITTER = 0.25;

/** How often progress starts the waits anew in one call: a body of single bytes must end too. */
const FRESH_STARTS_MAX = 16;

/** Why a wait ended early; nobody sees it. */
const WOKEN = "woken";

/** How an origin is asked again. */
export interface RetryOptions {
  clock: Clock;
  /** Chance in [0, 1). */
  random: () => number;
  /** One attempt more than there are waits. */
  waitsMs?: readonly number[];
  /** Whether the last wait is repeated until the signal, or `isWorthIt`, ends it. */
  repeatLast?: boolean;
  /** Asked after each failure: whether to wait and try again. */
  isWorthIt?: () => boolean;
  /** Told of each failure that may be retried. */
  onFailure?: (error: MusicfsError) => void;
  /** Takes what ends a wait early, where an origin has come back; returns what forgets it. */
  onReturn?: (wake: () => void) => () => void;
}

/**
 * Asks again after retryable errors, with waits between: other errors are answers.
 *
 * A read that broke off goes on after its last byte, and a listing that did begins anew and yields
 * what it has not yielded yet. Throws the last error, or the signal's reason.
 */
export function retrying(origin: Origin, options: RetryOptions): Origin {
  return new Retrying(origin, options);
}

/** How long to wait for a wait of `middleMs`: up to a quarter more or less; `chance` in [0, 1). */
export function retryWaitMs(middleMs: number, chance: number): number {
  return middleMs * (1 - JITTER + 2 * JITTER * chance);
}

class Retrying implements Origin {
  readonly #options: RetryOptions;

  readonly listTree?: NonNullable<Origin["listTree"]>;

  constructor(readonly inner: Origin, options: RetryOptions) {
    this.#options = options;
    const { listTree } = inner;
    if (listTree) {
      this.listTree = (cursor, call) =>
        this.#again(() => listTree.call(inner, cursor, call), call.signal);
    }
  }

  get name(): string {
    return this.inner.name;
  }

  async *list(folder: string, options: CallOptions): AsyncIterable<OriginEntry> {
    const retries = new Retries(this.#options, options.signal);
    const yielded = new Set<string>();
    for (;;) {
      const before = yielded.size;
      try {
        for await (const entry of this.inner.list(folder, options)) {
          if (yielded.has(entry.path)) continue;
          yielded.add(entry.path);
          yield entry;
        }
        return;
      } catch (error) {
        if (yielded.size > before) retries.progressed();
        await retries.wait(error);
      }
    }
  }

  stat(path: string, options: CallOptions): Promise<OriginEntry> {
    return this.#again(() => this.inner.stat(path, options), options.signal);
  }

  async read(
    file: OriginFile,
    range: ByteRange,
    options: CallOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    let retries: Retries | undefined;
    let whole: Uint8Array<ArrayBuffer> | undefined;
    let done = 0;
    for (;;) {
      const rest = { offset: range.offset + done, length: range.length - done };
      try {
        const bytes = await this.inner.read(file, rest, options);
        if (!whole) return bytes;
        exactly(bytes, { origin: this.name, path: file.path, length: rest.length });
        whole.set(bytes, done);
        return whole;
      } catch (error) {
        retries ??= new Retries(this.#options, options.signal);
        if (error instanceof PartialRead && isPart(error.received, rest.length)) {
          whole ??= new Uint8Array(range.length);
          whole.set(error.received, done);
          done += error.received.length;
          retries.progressed();
        }
        await retries.wait(error);
      }
    }
  }

  async #again<T>(call: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const retries = new Retries(this.#options, signal);
    for (;;) {
      try {
        return await call();
      } catch (error) {
        await retries.wait(error);
      }
    }
  }
}

/** The waits of one call. */
class Retries {
  #next = 0;
  #freshStarts = 0;

  constructor(readonly options: RetryOptions, readonly signal: AbortSignal) {}

  /** Something came before it failed: the waits begin anew. */
  progressed(): void {
    this.#freshStarts += 1;
    if (this.#freshStarts <= FRESH_STARTS_MAX) this.#next = 0;
  }

  /** Waits until the next attempt; throws `error` if there is to be none. */
  async wait(error: unknown): Promise<void> {
    this.signal.throwIfAborted();
    if (!(error instanceof MusicfsError) || !error.retryable) throw error;
    const { random, waitsMs = WAITS_MS, repeatLast, isWorthIt, onFailure } = this.options;
    onFailure?.(error);
    const middleMs = waitsMs[this.#next] ?? (repeatLast ? waitsMs.at(-1) : undefined);
    if (middleMs === undefined || isWorthIt?.() === false) throw error;
    this.#next += 1;
    await this.#sleep(retryWaitMs(middleMs, random()));
  }

  async #sleep(ms: number): Promise<void> {
    const { clock, onReturn } = this.options;
    using sleep = new LinkedAbort(this.signal);
    let isWoken = false;
    const forget = onReturn?.(() => {
      isWoken = true;
      sleep.abort(WOKEN);
    });
    try {
      await clock.sleep(ms, sleep.signal);
    } catch (error) {
      if (!isWoken || this.signal.aborted) throw error;
    } finally {
      forget?.();
    }
  }
}

function isPart(received: Uint8Array, length: number): boolean {
  return received.length > 0 && received.length < length;
}
