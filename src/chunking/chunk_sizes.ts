/** How long chunks are, in bytes. All even; `average` decides the masks and is a power of two. */
export interface ChunkSizes {
  /** Every chunk but a region's last is longer than or as long as this. */
  readonly min: number;
  readonly average: number;
  /** No chunk is longer. */
  readonly max: number;
}

/** The sizes of format 1 (docs/architecture.md); the mean on random data is 78 KiB. */
export const DEFAULT_CHUNK_SIZES: ChunkSizes = {
  min: 16 * 1024,
  average: 64 * 1024,
  max: 256 * 1024,
};

/** Longest chunk that is ever stored, in bytes: what is read from disk is held to it. */
export const CHUNK_BYTES_MAX = 256 * 1024;
