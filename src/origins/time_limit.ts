import type { ByteRange } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { WatchedOptions } from "./call_watcher.ts";
import { letGo, LinkedAbort } from "./linked_abort.ts";
import type { Origin, OriginEntry, OriginFile, TreePage } from "./origin.ts";

/** How long a call may go without progress. */
export interface TimeLimits {
  clock: Clock;
  /** In ms, for the first byte or name and between any two. */
  stallMs: number;
  /**
   * Slower than this many bytes a second is hanging, for an origin that does not tell of bytes as
   * they come: its reads get as much more time. Left out where it does.
   */
  bytesPerSecondMin?: number;
}

/**
 * Ends a call that makes no progress for `stallMs` with `timed_out`, never one whose bytes or names
 * flow. It ends in time whatever the origin does: a call that does not heed its signal is left
 * behind, and `onLeftBehind` is told.
 *
 * While a listing's consumer is busy with a name, no time counts.
 */
export function timeLimited(origin: Origin, limits: TimeLimits): Origin {
  return new TimeLimited(origin, limits);
}

class TimeLimited implements Origin {
  readonly listTree?: NonNullable<Origin["listTree"]>;

  constructor(readonly inner: Origin, readonly limits: TimeLimits) {
    const { listTree } = inner;
    if (listTree) {
      this.listTree = (cursor, options) =>
        this.#page((limited) => listTree.call(inner, cursor, limited), options);
    }
  }

  get name(): string {
    return this.inner.name;
  }

  async *list(folder: string, options: WatchedOptions): AsyncIterable<OriginEntry> {
    options.signal.throwIfAborted();
    const stallMs = this.limits.stallMs;
    using call = new LimitedCall<IteratorResult<OriginEntry>>(this.limits, {
      stallMs,
      options,
      onStall: () => stalled("list", `"${folder}" of ${this.name}`, stallMs),
    });
    const entries = this.inner.list(folder, call.options)[Symbol.asyncIterator]();
    let isOver = false;
    try {
      for (;;) {
        const { value, done } = await call.wait(entries.next());
        isOver = done === true;
        if (isOver) return;
        yield value;
      }
    } catch (error) {
      isOver = true;
      throw error;
    } finally {
      // Nobody waits for how an origin ends what its consumer has had enough of.
      if (!isOver) leaveBehind(entries.return?.(), options);
    }
  }

  async stat(path: string, options: WatchedOptions): Promise<OriginEntry> {
    options.signal.throwIfAborted();
    const { stallMs } = this.limits;
    using call = new LimitedCall<OriginEntry>(this.limits, {
      stallMs,
      options,
      onStall: () => stalled("describe", `"${path}" of ${this.name}`, stallMs),
    });
    return await call.wait(this.inner.stat(path, call.options));
  }

  async #page(
    call: (options: WatchedOptions) => Promise<TreePage>,
    options: WatchedOptions,
  ): Promise<TreePage> {
    options.signal.throwIfAborted();
    const { stallMs } = this.limits;
    using limited = new LimitedCall<TreePage>(this.limits, {
      stallMs,
      options,
      onStall: () => stalled("list", `everything of ${this.name}`, stallMs),
    });
    return await limited.wait(call(limited.options));
  }

  async read(
    file: OriginFile,
    range: ByteRange,
    options: WatchedOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    options.signal.throwIfAborted();
    const { bytesPerSecondMin } = this.limits;
    const transferMs = bytesPerSecondMin ? range.length / bytesPerSecondMin * 1_000 : 0;
    const stallMs = this.limits.stallMs + transferMs;
    using call = new LimitedCall<Uint8Array<ArrayBuffer>>(this.limits, {
      stallMs,
      options,
      onStall: () => stalled("read", `"${file.path}" from ${this.name}`, stallMs),
    });
    return await call.wait(this.inner.read(file, range, call.options));
  }
}

/** One call: its waits end with the promise waited for, the caller's signal, or the time limit. */
class LimitedCall<T> implements Disposable {
  /** What the origin is to be called with. */
  readonly options: WatchedOptions;
  readonly #abort: LinkedAbort;
  readonly #timer = new AbortController();
  readonly #clock: Clock;
  readonly #parts: { stallMs: number; options: WatchedOptions; onStall: () => MusicfsError };
  /** When something last came, or the wait began. */
  #progressAt: number;
  #waiting: { promise: Promise<T>; reject: (error: unknown) => void } | undefined;

  constructor(
    { clock }: TimeLimits,
    parts: { stallMs: number; options: WatchedOptions; onStall: () => MusicfsError },
  ) {
    const { options } = parts;
    this.#parts = parts;
    this.#clock = clock;
    this.#progressAt = clock.monotonic();
    this.#abort = new LinkedAbort(options.signal);
    const { signal } = this.#abort;
    const onProgress = (): void => {
      this.#progressAt = clock.monotonic();
      options.onProgress?.();
    };
    this.options = { ...options, signal, onProgress };
    signal.addEventListener("abort", () => this.#leave(signal.reason), { once: true });
    this.#watch().catch(() => undefined);
  }

  /** `promise`, unless its time is over first; one at a time. */
  wait(promise: Promise<T>): Promise<T> {
    const { signal } = this.#abort;
    this.#progressAt = this.#clock.monotonic();
    return new Promise((resolve, reject) => {
      this.#waiting = { promise, reject };
      if (signal.aborted) this.#leave(signal.reason);
      promise.then((value) => {
        this.#waiting = undefined;
        resolve(value);
      }, (error) => {
        this.#waiting = undefined;
        reject(error);
      });
    });
  }

  [Symbol.dispose](): void {
    letGo(this.#timer);
    this.#abort[Symbol.dispose]();
  }

  #leave(reason: unknown): void {
    const left = this.#waiting;
    this.#waiting = undefined;
    if (!left) return;
    leaveBehind(left.promise, this.#parts.options);
    left.reject(reason);
  }

  /** One timer for the whole call: it looks at the time of the last progress when it fires. */
  async #watch(): Promise<void> {
    const { stallMs, onStall } = this.#parts;
    let waitMs = stallMs;
    for (;;) {
      await this.#clock.sleep(waitMs, this.#timer.signal);
      const idleMs = this.#waiting ? this.#clock.monotonic() - this.#progressAt : 0;
      if (idleMs >= stallMs) return this.#abort.abort(onStall());
      waitMs = stallMs - idleMs;
    }
  }
}

function leaveBehind(call: Promise<unknown> | undefined, options: WatchedOptions): void {
  if (!call) return;
  call.catch(() => undefined);
  options.onLeftBehind?.(call);
}

function stalled(verb: string, subject: string, stallMs: number): MusicfsError {
  const message = `Cannot ${verb} ${subject}: nothing came for ${Math.round(stallMs / 1_000)} s. ` +
    "It is tried again.";
  return new MusicfsError("timed_out", message, { op: `origin.${verb}`, subject });
}
