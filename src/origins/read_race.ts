import type { ByteRange } from "../base/bytes.ts";
import { MusicfsError } from "../base/errors.ts";
import type { CallWatcher, WatchedOptions } from "./call_watcher.ts";
import { exactly } from "./exact.ts";
import type { FailoverMember, FailoverOptions } from "./failover.ts";
import { Failures } from "./failures.ts";
import { letGo } from "./linked_abort.ts";
import type { OriginFile } from "./origin.ts";
import { PartialRead } from "./partial_read.ts";

/** How long a member may send nothing until the next one is asked beside it, in ms. */
const HEDGE_MS = 1_500;

/** Why a member is not waited for any more; only the member sees it. */
const OVERTAKEN = new MusicfsError("timed_out", "Another origin answered first", {
  op: "failover.read",
  subject: "read",
});

/** One member's part in a read. */
interface Attempt {
  readonly member: FailoverMember;
  readonly abort: AbortController;
  /** Bytes of the range that were there already when it was asked. */
  readonly from: number;
  /** When the origin itself was asked; undefined while the attempt is queued. */
  startedMs: number | undefined;
  progressMs: number;
  isPaused: boolean;
}

/** What is read, how, and for whom. */
export interface RaceParts extends FailoverOptions {
  file: OriginFile;
  range: ByteRange;
  options: WatchedOptions;
}

/** One read that several members are asked for, one after the other or side by side. */
export class ReadRace {
  readonly #order: readonly FailoverMember[];
  readonly #parts: RaceParts;
  readonly #hedgeMs: number;
  readonly #result = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
  readonly #running = new Set<Attempt>();
  readonly #failures = new Failures();
  readonly #timer = new AbortController();
  #next = 0;
  /** When a member last gave a sign of life, or was asked. */
  #signMs = 0;
  #isOver = false;
  /** The first `#done` bytes came before somebody broke off. */
  #whole: Uint8Array<ArrayBuffer> | undefined;
  #done = 0;

  constructor(order: readonly FailoverMember[], parts: RaceParts) {
    this.#order = order;
    this.#parts = parts;
    this.#hedgeMs = parts.hedgeMs ?? HEDGE_MS;
  }

  async run(): Promise<Uint8Array<ArrayBuffer>> {
    const { signal } = this.#parts.options;
    signal.throwIfAborted();
    const giveUp = (): void => this.#result.reject(signal.reason);
    signal.addEventListener("abort", giveUp);
    this.#ask();
    this.#hedge().catch(() => undefined);
    try {
      return await this.#result.promise;
    } finally {
      this.#isOver = true;
      letGo(this.#timer);
      signal.removeEventListener("abort", giveUp);
      for (const { abort } of this.#running) {
        abort.abort(signal.aborted ? signal.reason : OVERTAKEN);
      }
    }
  }

  /** Asks the next member for what is not there yet. */
  #ask(): void {
    const { file, range, options, clock } = this.#parts;
    const member = this.#order[this.#next++];
    if (!member) return;
    const now = clock.monotonic();
    this.#signMs = now;
    const attempt: Attempt = {
      member,
      abort: new AbortController(),
      from: this.#done,
      startedMs: undefined,
      progressMs: now,
      isPaused: false,
    };
    this.#running.add(attempt);
    const rest = { offset: range.offset + this.#done, length: range.length - this.#done };
    const { origin } = member;
    const watched: WatchedOptions = {
      ...options,
      signal: attempt.abort.signal,
      onProgress: () => {
        attempt.progressMs = this.#signMs = clock.monotonic();
        options.onProgress?.();
      },
      watcher: this.#watched(attempt),
    };
    Promise.try(() => origin.read(member.locate(file), rest, watched))
      .then((bytes) => this.#answered(attempt, bytes)).catch((error) =>
        this.#threw(attempt, error)
      );
  }

  #watched(attempt: Attempt): CallWatcher {
    const { options: { watcher, isBackground }, clock } = this.#parts;
    return {
      started: () => {
        attempt.startedMs = attempt.progressMs = clock.monotonic();
        // A reader's patience is one, in the queue and after it.
        if (isBackground) this.#signMs = attempt.startedMs;
        watcher?.started();
      },
      ended: () => watcher?.ended(),
      paused: (isPaused) => {
        attempt.isPaused = isPaused;
        attempt.progressMs = this.#signMs = clock.monotonic();
        watcher?.paused(isPaused);
      },
    };
  }

  #answered(attempt: Attempt, bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#isOver) return;
    const { file, range, health, clock } = this.#parts;
    const { name } = attempt.member.origin;
    const length = range.length - attempt.from;
    exactly(bytes, { origin: name, path: file.path, length });
    this.#running.delete(attempt);
    this.#isOver = true;
    if (attempt.from === 0) this.#result.resolve(bytes);
    else {
      const whole = this.#whole ?? new Uint8Array(range.length);
      whole.set(bytes, attempt.from);
      this.#result.resolve(whole);
    }
    for (const { member, startedMs, progressMs, isPaused } of this.#running) {
      const isSilent = !isPaused && clock.monotonic() - progressMs >= this.#hedgeMs;
      if (startedMs !== undefined && isSilent) health.overtaken(member.origin.name, startedMs);
    }
  }

  #threw(attempt: Attempt, error: unknown): void {
    this.#running.delete(attempt);
    if (this.#isOver) return;
    if (error instanceof PartialRead) this.#keep(attempt.from, error.received);
    this.#failures.add(error);
    const now = this.#parts.clock.monotonic();
    const isCarriedOn = this.#running.values().some((other) =>
      this.#isHeldUp(other) || now - other.progressMs < this.#hedgeMs
    );
    if (isCarriedOn) return;
    if (this.#next < this.#order.length) return this.#ask();
    if (this.#running.size > 0) return;
    this.#isOver = true;
    this.#result.reject(this.#verdict());
  }

  #keep(from: number, received: Uint8Array<ArrayBuffer>): void {
    const { length } = this.#parts.range;
    const end = from + received.length;
    if (end <= this.#done || end >= length) return;
    this.#whole ??= new Uint8Array(length);
    this.#whole.set(received, from);
    this.#done = end;
  }

  #verdict(): unknown {
    const { verdict } = this.#failures;
    if (!this.#whole || !(verdict instanceof MusicfsError) || !verdict.retryable) return verdict;
    const { message, op, subject } = verdict;
    const received = this.#whole.slice(0, this.#done);
    return new PartialRead(message, { received, op, subject, cause: verdict });
  }

  /** Whether it waits for what no other member has more of; in the background a queue is no harm. */
  #isHeldUp({ isPaused, startedMs }: Attempt): boolean {
    return isPaused || this.#parts.options.isBackground === true && startedMs === undefined;
  }

  /** Asks one more member whenever nothing has come from any of them for too long. */
  async #hedge(): Promise<void> {
    const { clock } = this.#parts;
    let waitMs = this.#hedgeMs;
    while (this.#next < this.#order.length) {
      await clock.sleep(waitMs, this.#timer.signal);
      if (this.#isOver) return;
      const isHeldUp = this.#running.values().some((attempt) => this.#isHeldUp(attempt));
      const silentMs = isHeldUp ? 0 : clock.monotonic() - this.#signMs;
      if (silentMs >= this.#hedgeMs) this.#ask();
      waitMs = silentMs >= this.#hedgeMs ? this.#hedgeMs : this.#hedgeMs - silentMs;
    }
  }
}
