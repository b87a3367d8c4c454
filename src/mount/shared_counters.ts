import type { FileCounters } from "../fuse/open_files.ts";

const HANDLES = 0;
const PASSTHROUGH_OPENS = 1;
const CACHE_BYTES = 2;
const DIRECT_BYTES = 3;
const COUNTERS = 4;

/**
 * What the worker counts and the main thread shows, in memory that both see: the worker is the only
 * one that writes, so nothing needs to be atomic but a 64-bit store, which it is.
 */
export class SharedCounters implements FileCounters {
  readonly #values: Float64Array;

  constructor(readonly buffer = new SharedArrayBuffer(COUNTERS * 8)) {
    this.#values = new Float64Array(buffer);
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
