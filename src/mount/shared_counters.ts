import { Histogram, HISTOGRAM_NUMBERS } from "../base/histogram.ts";
import type { FileCounters } from "../fuse/open_files.ts";

const HANDLES = 0;
const PASSTHROUGH_OPENS = 1;
const CACHE_BYTES = 2;
const DIRECT_BYTES = 3;
const EVICTIONS = 4;
/** The request that the worker has in hand: two halves of its `unique`, 0 for none. */
const IN_HAND = 5;
/** Behind all counters: how long READs took. */
const READS = 6;
const SLOTS = READS + HISTOGRAM_NUMBERS;

/**
 * What one thread counts and the other looks at, in memory that both see: the main thread writes
 * `evictions`, the worker all others, so nothing needs to be atomic but a 64-bit store, which it is.
 */
export class SharedCounters implements FileCounters {
  /** READs that the worker answered itself, from when it had them until the kernel had the answer. */
  readonly reads: Histogram;
  readonly #values: Float64Array;
  /** Low and high half of the `unique` that the worker is answering; written by the worker alone. */
  readonly inHand: Uint32Array;

  constructor(readonly buffer = new SharedArrayBuffer(SLOTS * 8)) {
    this.#values = new Float64Array(buffer);
    this.reads = new Histogram(this.#values.subarray(READS));
    this.inHand = new Uint32Array(buffer, IN_HAND * 8, 2);
  }

  get handles(): number {
    return this.#values[HANDLES] ?? 0;
  }
  set handles(value: number) {
    this.#values[HANDLES] = value;
  }
  /** Opens so far whose reads never reach the daemon. */
  get passthroughOpens(): number {
    return this.#values[PASSTHROUGH_OPENS] ?? 0;
  }
  set passthroughOpens(value: number) {
    this.#values[PASSTHROUGH_OPENS] = value;
  }
  /** Files of the cache deleted so far: whoever holds one open should let go of it. */
  get evictions(): number {
    return this.#values[EVICTIONS] ?? 0;
  }
  set evictions(value: number) {
    this.#values[EVICTIONS] = value;
  }
  get cacheBytes(): number {
    return this.#values[CACHE_BYTES] ?? 0;
  }
  set cacheBytes(value: number) {
    this.#values[CACHE_BYTES] = value;
  }
  get directBytes(): number {
    return this.#values[DIRECT_BYTES] ?? 0;
  }
  set directBytes(value: number) {
    this.#values[DIRECT_BYTES] = value;
  }
}
