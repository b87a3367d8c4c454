import { ERRNO } from "./errno.ts";

/** Attempts before a thread goes to sleep: about 70 us, what it takes to wake a reader and back. */
const ATTEMPTS_MAX = 160;

/** Requests in a row that came one by one, each after the reply to the last, before it is tried. */
const ALTERNATING_MIN = 8;

/** Rounds of trying that may fail in a row before it is no longer tried. */
const FAILURES_MAX = 4;

/** Requests after which it is tried once more. */
const RETRY_REQUESTS = 256;

/**
 * Reads that find nothing, tried again for some microseconds before the thread sleeps.
 *
 * A single reader who takes one block after another has the next request on its way before a
 * sleeping thread would be awake again: 4 KiB reads one by one go at 28,000 a second instead of
 * 15,000. It costs a core while it lasts, so it is left alone as soon as it does not pay, and where
 * several read at once, who need the core themselves.
 */
export class SpinningRead {
  #alternating = 0;
  #failures = FAILURES_MAX;
  #requests = 0;

  /** `cores`: with one there is nobody to wait for. */
  constructor(readonly cores: number) {}

  /** What `read` gives: bytes, or `-EAGAIN` if there was nothing for all that time. */
  read(read: () => number): number {
    const first = read();
    if (first !== -ERRNO.EAGAIN) {
      this.#alternating = 0;
      return first;
    }
    this.#alternating += 1;
    if (!this.#mayPay()) return first;
    for (let attempt = 1; attempt < ATTEMPTS_MAX; attempt += 1) {
      const length = read();
      if (length === -ERRNO.EAGAIN) continue;
      this.#failures = 0;
      return length;
    }
    this.#failures += 1;
    return -ERRNO.EAGAIN;
  }

  #mayPay(): boolean {
    if (this.cores < 2 || this.#alternating < ALTERNATING_MIN) return false;
    this.#requests += 1;
    return this.#failures < FAILURES_MAX || this.#requests % RETRY_REQUESTS === 0;
  }
}
