/** What `CasStore.put` did with the bytes. */
export type PutResult = "stored" | "duplicate";

/** What the store holds. */
export interface CasStats {
  /** Chunks on this disk, and the bytes in them. */
  chunks: number;
  chunkBytes: number;
  /** Bytes that manifests refer to: what the chunks would take without deduplication. */
  referencedBytes: number;
  /** Bytes on disk of the parts of tracks that are not yet whole. */
  extentBytes: number;
  /** Bytes on disk of all that `limitBytes` counts: chunks, extents, manifests and index. */
  usedBytes: number;
  limitBytes: number;
}

/**
 * Chunks by the hash of their content, on this machine's disk. All calls are synchronous: a chunk
 * is at most 256 KiB. Every method throws `MusicfsError`.
 *
 * `tests/contracts/cas_store_contract.ts` checks each rule written here, on every implementation.
 */
export interface CasStore {
  /**
   * Stores `bytes` under `hash`, which the caller computed from these very bytes.
   *
   * A chunk is taken for a duplicate only if the bytes on disk are the same, all of them: a
   * truncated or damaged file is replaced. Makes room first; throws `full` if that cannot be done
   * and `unavailable` if the disk refuses.
   */
  put(hash: Uint8Array, bytes: Uint8Array<ArrayBuffer>): PutResult;

  /**
   * The chunk's bytes, `length` of them, checked against the hash.
   *
   * Throws `not_found` if it is missing and `corrupt` if it is damaged (after deleting it).
   */
  get(hash: Uint8Array, length: number): Uint8Array<ArrayBuffer>;

  /** Whether a file of `length` bytes lies there; says nothing of what is in it. */
  has(hash: Uint8Array, length: number): boolean;

  /** Deletes the chunk; false if there was none. */
  delete(hash: Uint8Array): boolean;

  stats(): CasStats;
}
