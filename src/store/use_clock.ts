import type { Clock } from "../base/clock.ts";
import { decodeLruKey } from "./cache_item.ts";
import type { Table } from "./index.ts";
import { SEGMENT } from "./lru_eviction.ts";

/** Bytes that may come in with the same last use; see {@linkcode UseClock}. */
const BYTES_PER_TICK = 4 * 1024 * 1024;

/** Largest time that a u32 holds. */
const SECONDS_MAX = 0xffff_ffff;

/**
 * The time that last uses are kept in: s since 1970, but it never goes back, not over a restart
 * either, and within one second it goes on by one for every 4 MiB that come in. So the order of
 * eviction is that of arrival in a fast download too, where the whole cache may be a second old; and
 * should the clock be set back, by an hour or to 1970, uses are still told apart by those bytes.
 */
export class UseClock {
  readonly #clock: Clock;
  #last: number;
  #bytes = 0;

  /** Goes on from the newest record of `lru`. */
  constructor(clock: Clock, lru: Table) {
    this.#clock = clock;
    this.#last = Math.max(this.#seconds(), newest(lru));
  }

  /** The time of a use by which `bytes` came in. */
  next(bytes: number): number {
    const seconds = this.#seconds();
    this.#bytes += bytes;
    if (seconds <= this.#last && this.#bytes <= BYTES_PER_TICK) return this.#last;
    this.#last = Math.min(Math.max(seconds, this.#last + 1), SECONDS_MAX);
    this.#bytes = bytes;
    return this.#last;
  }

  #seconds(): number {
    return Math.min(Math.max(Math.floor(this.#clock.now() / 1000), 0), SECONDS_MAX);
  }
}

/** The latest last use in `lru`; 0 if there is none. */
function newest(lru: Table): number {
  let found = 0;
  for (const segment of Object.values(SEGMENT)) {
    const start = Uint8Array.of(segment);
    const end = Uint8Array.of(segment + 1);
    for (const { key } of lru.range({ start, end, reverse: true })) {
      found = Math.max(found, decodeLruKey(key).lastUse);
      break;
    }
  }
  return found;
}
