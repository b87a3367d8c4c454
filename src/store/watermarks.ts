/**
 * How full the disk may get that the cache lies on, as pure functions.
 *
 * It is shared: with the system, other programs, perhaps the music itself. So the cache warns, then
 * makes itself smaller, then keeps out of the way, before the disk is full for everybody.
 */

/** Parts of the disk in use from which something is done. */
export const WATERMARKS = {
  /** Somebody should know. */
  high: 0.9,
  /** The cache frees more than it writes. */
  evicting: 0.95,
  /** Nothing new is kept, until `evicting` is no longer reached. */
  full: 0.99,
} as const;

/** Below this part all is well again, so that a warning is not repeated at each change. */
const CALM = 0.85;

/**
 * Of larger disks this much counts, in bytes: at 95 % of 4 TB there are 200 GB left, and no reason
 * to throw away a cache of 20. So 10, 5 and 1 GiB free are the watermarks there.
 */
const COUNTED_BYTES_MAX = 100 * 1024 ** 3;

/** Where the disk is between the watermarks. */
export type DiskLevel = "ok" | "high" | "evicting" | "full";

/** The disk that holds the cache, in bytes. */
export interface DiskBytes {
  /** In use by anybody. */
  usedBytes: number;
  /** Free for this user: what is reserved for root counts neither here nor there, as in `df`. */
  freeBytes: number;
}

/** The part of the disk that is in use, in [0, 1]; 0 for a disk without a size. */
export function usedRatio({ usedBytes, freeBytes }: DiskBytes): number {
  return usedBytes === 0 ? 0 : usedBytes / (usedBytes + freeBytes);
}

/** Bytes that are free as long as less than the part `mark` of the disk is in use. */
export function freeBytesAt(mark: number, { usedBytes, freeBytes }: DiskBytes): number {
  return Math.ceil((1 - mark) * Math.min(usedBytes + freeBytes, COUNTED_BYTES_MAX));
}

/** The level of a disk that was at `before`. Who is full stays so until room for more was made. */
export function levelAfter(before: DiskLevel, disk: DiskBytes): DiskLevel {
  const isBelow = (mark: number): boolean => disk.freeBytes >= freeBytesAt(mark, disk);
  if (!isBelow(WATERMARKS.full)) return "full";
  if (!isBelow(WATERMARKS.evicting)) return before === "full" ? "full" : "evicting";
  if (!isBelow(WATERMARKS.high)) return "high";
  return before === "ok" || isBelow(CALM) ? "ok" : "high";
}
