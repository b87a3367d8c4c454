/** Ranges of bytes, and bytes that are put together from pieces. Pure. */

import type { ByteRange } from "../base/bytes.ts";
import { EXTENT_BLOCK_BYTES } from "../base/limits.ts";

/** Bytes of a read that is being put together: those of the file from `offset` on. */
export interface Target {
  readonly offset: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** The part of `range` that lies in the target; of length 0 if there is none. */
export function overlap(target: Target, range: ByteRange): ByteRange {
  const offset = Math.max(target.offset, range.offset);
  const end = Math.min(target.offset + target.bytes.length, range.offset + range.length);
  return { offset, length: Math.max(0, end - offset) };
}

/** The target's bytes of `range`, which lies in it. */
export function within(target: Target, { offset, length }: ByteRange): Uint8Array<ArrayBuffer> {
  return target.bytes.subarray(offset - target.offset, offset - target.offset + length);
}

/** Copies what lies in the target; returns how much that was. */
export function copyInto(target: Target, { offset, bytes }: Target): number {
  const part = overlap(target, { offset, length: bytes.length });
  const from = part.offset - offset;
  if (part.length > 0) within(target, part).set(bytes.subarray(from, from + part.length));
  return part.length;
}

/** What of `range` lies outside of `gaps`, which are in order. */
export function between(gaps: readonly ByteRange[], range: ByteRange): ByteRange[] {
  const found: ByteRange[] = [];
  const end = range.offset + range.length;
  let at = range.offset;
  for (const gap of gaps) {
    if (gap.offset > at) found.push({ offset: at, length: Math.min(gap.offset, end) - at });
    at = Math.max(at, gap.offset + gap.length);
    if (at >= end) return found;
  }
  found.push({ offset: at, length: end - at });
  return found;
}

/** The blocks of a file of `size` bytes that hold bytes of `range`. */
export function wholeBlocks({ offset, length }: ByteRange, size: number): ByteRange {
  const start = Math.floor(offset / EXTENT_BLOCK_BYTES) * EXTENT_BLOCK_BYTES;
  const end = Math.ceil((offset + length) / EXTENT_BLOCK_BYTES) * EXTENT_BLOCK_BYTES;
  return { offset: start, length: Math.min(end, size) - start };
}
