/**
 * Heads and tails of files: all that a tag reader asks for, and so the last that is evicted. Pure.
 */

import type { ByteRange } from "../base/bytes.ts";
import { EXTENT_BLOCK_BYTES } from "../base/limits.ts";

/** Bytes at the start of a file, and at its end, that count as head and tail. */
export const TAG_BYTES = 256 * 1024;

/** End of the head of a file of `size` bytes, and start of its tail, both in whole blocks. */
export function tagRegions(size: number): { headEnd: number; tailStart: number } {
  const blocksEnd = Math.floor(Math.max(0, size - TAG_BYTES) / EXTENT_BLOCK_BYTES);
  const tailStart = blocksEnd * EXTENT_BLOCK_BYTES;
  return { headEnd: Math.min(TAG_BYTES, size), tailStart: Math.max(0, tailStart) };
}

/** Whether all of `range` lies in the head and the tail. */
export function isTags({ offset, length }: ByteRange, size: number): boolean {
  const { headEnd, tailStart } = tagRegions(size);
  return tailStart <= headEnd || offset + length <= headEnd || offset >= tailStart;
}

/** Whether any of `range` lies in the head or the tail. */
export function touchesTags({ offset, length }: ByteRange, size: number): boolean {
  const { headEnd, tailStart } = tagRegions(size);
  return offset < headEnd || offset + length > tailStart;
}
