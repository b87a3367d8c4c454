import { ERRNO } from "./errno.ts";

/** Attempts before a thread goes to sleep: about 20 us, a little more than a wake-up costs. */
const ATTEMPTS_MAX = 40;

/** Rounds of trying that may fail in a row before it is no longer tried. */
const CREDIT_MAX = 4;

/** Reads after which it is tried once more. */
const RETRY_READS = 256;

/**
 * Reads that find nothing, tried again for some microseconds before the thread sleeps.
 *
 * Somebody who reads one block after another has the next request on its way before a sleeping
 * thread would be awake again. Trying costs the readers' own time where they do something else in
 * between, so it is given up as soon as it does not pay.
 */
export class SpinningRead {
  #credit = 0;
  #reads = 0;

  constructor(readonly cores: number) {}

  /** What `read` gives: bytes, or `-EAGAIN` if there was nothing for all that time. */
  read(read: () => number): number {
    const first = read();
    if (first !== -ERRNO.EAGAIN || this.cores < 2) return first;
    this.#reads += 1;
    if (this.#credit <= 0 && this.#reads % RETRY_READS !== 0) return first;
    for (let attempt = 1; attempt < ATTEMPTS_MAX; attempt += 1) {
      const length = read();
      if (length === -ERRNO.EAGAIN) continue;
      this.#credit = CREDIT_MAX;
      return length;
    }
    this.#credit -= 1;
    return -ERRNO.EAGAIN;
  }
}
