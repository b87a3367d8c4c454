import type { ByteRange } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { orAborted } from "../base/concurrency.ts";
import { EXTENT_BLOCK_BYTES } from "../base/limits.ts";
import { HeadHabit } from "./head_habit.ts";

/** How long a reader that got a file's head may take to go elsewhere, in ms; 5 are few when busy. */
const GRACE_MS = 20;

/** Handles whose heads are watched. */
const HEADS_MAX = 1024;

/** One handle that has just begun to read at the start of a file that is not here. */
interface Head {
  /** End of the first READ. */
  readonly end: number;
  readonly answered: PromiseWithResolvers<void>;
  /** End of the READ after it, which nobody need have asked for; 0 while there is none. */
  aheadEnd: number;
  /** Whether what the kernel read ahead was of use. */
  readonly used: PromiseWithResolvers<boolean>;
}

/**
 * Keeps what the kernel reads ahead at the heads of files that are not here yet from being fetched
 * for nobody.
 *
 * The first touch of a file's pages has the kernel send a READ for as many again. A tag reader never
 * comes to use them, and fetching them costs as much as what was asked for. A READ does not say whose
 * it is; so where the latest readers had no use for it, such a READ is held until the head was
 * answered and its reader had a moment to go elsewhere. If it did, the READ is refused: the kernel
 * drops those pages without a word, and asks again should anybody come to need them.
 */
export class KernelReadAhead {
  readonly #clock: Clock;
  readonly #habit = new HeadHabit();
  /** By handle, the oldest first. */
  readonly #heads = new Map<number, Head>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * To be called with each READ that needs an origin, in the order they come in. `isHere` tells of
   * other bytes of the same file.
   *
   * @returns whether it is to be answered; at once for all but the kernel's own. Throws the signal's
   *   reason
   */
  isWanted(
    handle: number,
    { offset, length }: ByteRange,
    { isHere, signal }: { isHere: (range: ByteRange) => boolean; signal: AbortSignal },
  ): boolean | Promise<boolean> {
    const head = this.#heads.get(handle);
    if (!head) {
      if (offset === 0) {
        this.#begin(handle, { end: length, aheadEnd: 0 });
        return true;
      }
      // Where an earlier reader's head ends: what comes before it was answered without us.
      const before = { offset: offset - EXTENT_BLOCK_BYTES, length: EXTENT_BLOCK_BYTES };
      if (!(this.#habit.goesElsewhere || this.#habit.isUnknown) || !isHere(before)) return true;
      const begun = this.#begin(handle, { end: offset, aheadEnd: offset + length });
      begun.answered.resolve();
      return this.#isUsed(begun, signal);
    }
    if (offset === head.end && head.aheadEnd === 0) {
      head.aheadEnd = offset + length;
      return !this.#habit.goesElsewhere || this.#isUsed(head, signal);
    }
    const goesOn = offset >= head.end && offset <= Math.max(head.end, head.aheadEnd);
    this.#decide(handle, goesOn);
    return true;
  }

  /** The READ at `offset` was answered. */
  answered(handle: number, offset: number): void {
    const head = this.#heads.get(handle);
    if (head && offset === 0) head.answered.resolve();
  }

  /** The handle was read elsewhere, from what is here. */
  wentElsewhere(handle: number): void {
    this.#decide(handle, false);
  }

  /** The handle was closed. */
  released(handle: number): void {
    this.#decide(handle, false);
  }

  #begin(handle: number, ends: Pick<Head, "end" | "aheadEnd">): Head {
    const answered = Promise.withResolvers<void>();
    const used = Promise.withResolvers<boolean>();
    const head = { ...ends, answered, used };
    this.#heads.set(handle, head);
    const [oldest] = this.#heads.keys();
    if (this.#heads.size > HEADS_MAX && oldest !== undefined) this.#decide(oldest, true);
    return head;
  }

  /** Waits for the head's answer, and then a moment for what its reader does next. */
  async #isUsed(head: Head, signal: AbortSignal): Promise<boolean> {
    const left = new AbortController();
    const grace = head.answered.promise
      .then(() => this.#clock.sleep(GRACE_MS, left.signal))
      .then(() => true, () => true);
    try {
      return await orAborted(Promise.race([head.used.promise, grace]), signal);
    } finally {
      left.abort();
    }
  }

  #decide(handle: number, isUsed: boolean): void {
    const head = this.#heads.get(handle);
    if (!head) return;
    this.#heads.delete(handle);
    if (head.aheadEnd > 0) this.#habit.note(isUsed);
    head.used.resolve(isUsed);
    head.answered.resolve();
  }
}
