import { descriptorsFor } from "../base/descriptor_limit.ts";
import { libc } from "../base/posix.ts";

/** Descriptors kept, at most. */
const SLOTS_MAX = 8192;

/**
 * Descriptors of chunk files that were read lately, found without hashing anything: whoever has
 * chunks keeps one number for each in a `slots` array, 0 for a chunk that is not open.
 *
 * Full, it closes any one of them. To close the one that was used least recently would find none
 * open at all for who reads a long file from end to end again and again.
 */
export class OpenChunks {
  readonly #descriptors: Int32Array;
  /** Where the number of each slot is kept. */
  readonly #owners: (Int32Array | undefined)[];
  readonly #ownerAt: Int32Array;
  #filled = 0;
  /** State of a xorshift generator; any number but 0. */
  #chance = 0x9e3779b9;

  constructor(readonly size = slotsAllowed()) {
    this.#descriptors = new Int32Array(size).fill(-1);
    this.#owners = new Array(size).fill(undefined);
    this.#ownerAt = new Int32Array(size);
  }

  /** The descriptor of chunk `at`, or -1; it stays the cache's. */
  find(slots: Int32Array, at: number): number {
    const slot = (slots[at] ?? 0) - 1;
    return slot < 0 ? -1 : this.#descriptors[slot] ?? -1;
  }

  /** Takes a descriptor over for chunk `at`, which has none. */
  hold(descriptor: number, slots: Int32Array, at: number): void {
    const slot = this.#free();
    this.#descriptors[slot] = descriptor;
    this.#owners[slot] = slots;
    this.#ownerAt[slot] = at;
    slots[at] = slot + 1;
  }

  /** Closes the descriptor of chunk `at`, if it has one. */
  close(slots: Int32Array, at: number): void {
    const slot = (slots[at] ?? 0) - 1;
    if (slot >= 0) this.#close(slot);
  }

  closeAll(): void {
    for (let slot = 0; slot < this.#filled; slot += 1) this.#close(slot);
    this.#filled = 0;
  }

  #close(slot: number): void {
    const descriptor = this.#descriptors[slot] ?? -1;
    if (descriptor < 0) return;
    libc.close(descriptor);
    this.#descriptors[slot] = -1;
    const owner = this.#owners[slot];
    if (owner) owner[this.#ownerAt[slot] ?? 0] = 0;
    this.#owners[slot] = undefined;
  }

  #free(): number {
    if (this.#filled < this.size) return this.#filled++;
    let chance = this.#chance;
    chance ^= chance << 13;
    chance ^= chance >>> 17;
    chance ^= chance << 5;
    this.#chance = chance;
    const slot = (chance >>> 0) % this.size;
    this.#close(slot);
    return slot;
  }
}

/** As many as the process's limit on descriptors leaves room for. */
function slotsAllowed(): number {
  return Math.min(SLOTS_MAX, descriptorsFor("chunks"));
}
