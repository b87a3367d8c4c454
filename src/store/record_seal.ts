import type { Xxh64 } from "../chunking/xxh64.ts";

/** Bytes in front of every value in the index: the xxh64 of key and value, little-endian. */
export const SEAL_BYTES = 8;

/**
 * Puts records behind a checksum of their key and value, and checks it.
 *
 * The key is in it because damage to a branch page leads to another key's record, itself intact.
 * One for each thread: it works in a buffer of its own, so that a check allocates next to nothing.
 */
export class RecordSeal {
  readonly #hash: Xxh64;
  #scratch = new Uint8Array(4096);
  #view = new DataView(this.#scratch.buffer);

  constructor(hash: Xxh64) {
    this.#hash = hash;
  }

  /** Seal and value, as they are stored; good until the next call. */
  close(key: Uint8Array, value: Uint8Array): Uint8Array<ArrayBuffer> {
    // Key and value lie side by side to be hashed; then the seal goes where the key ended.
    const valueAt = this.#fill(key, value);
    const end = valueAt + value.length;
    const seal = this.#hash(this.#scratch.subarray(SEAL_BYTES, end));
    this.#view.setBigUint64(valueAt - SEAL_BYTES, seal, true);
    return this.#scratch.subarray(valueAt - SEAL_BYTES, end);
  }

  /** Whether `value`, with its seal in the 8 bytes before it in the same memory, belongs to `key`. */
  isIntact(key: Uint8Array, value: Uint8Array): boolean {
    const end = this.#fill(key, value) + value.length;
    const seal = this.#hash(this.#scratch.subarray(SEAL_BYTES, end));
    return seal === new DataView(value.buffer, value.byteOffset - SEAL_BYTES).getBigUint64(0, true);
  }

  #fill(key: Uint8Array, value: Uint8Array): number {
    const valueAt = SEAL_BYTES + key.length;
    if (valueAt + value.length > this.#scratch.length) this.#grow(valueAt + value.length);
    this.#scratch.set(key, SEAL_BYTES);
    this.#scratch.set(value, valueAt);
    return valueAt;
  }

  #grow(bytes: number): void {
    this.#scratch = new Uint8Array(2 ** Math.ceil(Math.log2(bytes)));
    this.#view = new DataView(this.#scratch.buffer);
  }
}
