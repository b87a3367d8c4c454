import type { Clock } from "../base/clock.ts";
import { decodeLruKey, lruKey } from "./cache_item.ts";
import type { Table } from "./index.ts";
import { SEGMENT } from "./lru_eviction.ts";

/** Bytes that may come in with the same last use; see {@linkcode UseClock}. */
const BYTES_PER_TICK = 4 * 1024 * 1024;

/** A last use further in the future than this, in s, was written by a clock that was wrong. */
const AHEAD_S_MAX = 24 * 3600;

/**
 * The time that last uses are kept in: s since 1970, but it never goes back, not over a restart
 * either, and within one second it goes on by one for every 4 MiB that come in. So the order of
 * eviction is that of arrival in a fast download too, where the whole cache may be a second old.
 */
export class UseClock {
  readonly #clock: Clock;
  #last: number;
  #bytes = 0;

  /** Goes on from the newest record of `lru`. */
  constructor(clock: Clock, lru: Table) {
    this.#clock = clock;
    const now = this.#seconds();
    this.#last = Math.max(now, newest(lru, now + AHEAD_S_MAX));
  }

  /** The time of a use by which `bytes` came in. */
  next(bytes: number): number {
    const seconds = this.#seconds();
    this.#bytes += bytes;
    if (seconds <= this.#last && this.#bytes <= BYTES_PER_TICK) return this.#last;
    this.#last = Math.max(seconds, this.#last + 1);
    this.#bytes = bytes;
    return this.#last;
  }

  /** Fits a u32 with room to run ahead. */
  #seconds(): number {
    return Math.min(Math.max(Math.floor(this.#clock.now() / 1000), 0), 0xffff_0000);
  }
}

/** The latest last use in `lru` that is not later than `limit`; 0 if there is none. */
function newest(lru: Table, limit: number): number {
  let found = 0;
  for (const segment of Object.values(SEGMENT)) {
    const start = Uint8Array.of(segment);
    const end = lruKey("chunk", new Uint8Array(), { segment, lastUse: limit, owner: 0 });
    for (const { key } of lru.range({ start, end, reverse: true })) {
      found = Math.max(found, decodeLruKey(key).lastUse);
      break;
    }
  }
  return found;
}
