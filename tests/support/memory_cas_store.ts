import { CHUNK_BYTES_MAX } from "../../src/chunking/chunk_sizes.ts";
import { type ChunkHash, hex, sameHash } from "../../src/chunking/chunk_hash.ts";
import { type ErrorCode, MusicfsError } from "../../src/base/errors.ts";
import type { CasStats, CasStore, PutResult } from "../../src/store/cas_store.ts";

/** Chunks in memory, evicted in the order they came in. */
export class MemoryCasStore implements CasStore {
  readonly #chunks = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly #hash: ChunkHash;

  constructor(hash: ChunkHash, public limitBytes = Infinity) {
    this.#hash = hash;
  }

  put(hash: Uint8Array, bytes: Uint8Array<ArrayBuffer>): PutResult {
    this.#check(hash, bytes.length);
    const name = hex(hash);
    const known = this.#chunks.get(name);
    if (known && sameHash(known, bytes)) return "duplicate";
    this.#chunks.delete(name);
    for (const oldest of this.#chunks.keys()) {
      if (this.#bytes() + bytes.length <= this.limitBytes) break;
      this.#chunks.delete(oldest);
    }
    if (bytes.length > this.limitBytes) throw failure("full", name);
    this.#chunks.set(name, bytes.slice());
    return "stored";
  }

  get(hash: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
    this.#check(hash, length);
    const bytes = this.#chunks.get(hex(hash));
    if (!bytes) throw failure("not_found", hex(hash));
    if (bytes.length === length && sameHash(this.#hash.digest(bytes), hash)) return bytes.slice();
    this.delete(hash);
    throw failure("corrupt", hex(hash));
  }

  has(hash: Uint8Array, length: number): boolean {
    return this.#chunks.get(hex(hash))?.length === length;
  }

  delete(hash: Uint8Array): boolean {
    return this.#chunks.delete(hex(hash));
  }

  stats(): CasStats {
    const bytes = this.#bytes();
    return {
      chunks: this.#chunks.size,
      chunkBytes: bytes,
      referencedBytes: bytes,
      extentBytes: 0,
      usedBytes: bytes,
      limitBytes: this.limitBytes,
    };
  }

  /** Puts other bytes behind a chunk's name, as a broken disk does. */
  damage(hash: Uint8Array, bytes: Uint8Array<ArrayBuffer>): void {
    this.#chunks.set(hex(hash), bytes);
  }

  #bytes(): number {
    return this.#chunks.values().reduce((sum, bytes) => sum + bytes.length, 0);
  }

  #check(hash: Uint8Array, length: number): void {
    if (hash.length === this.#hash.bytes && length >= 1 && length <= CHUNK_BYTES_MAX) return;
    throw failure("invalid", hex(hash));
  }
}

function failure(code: ErrorCode, subject: string): MusicfsError {
  return new MusicfsError(code, `Chunk ${subject}: ${code}`, { op: "memory_store", subject });
}
