/** Which cuts are certain, by what is known of a file's layout. Pure. */

import type { LayoutRegion } from "./audio_layout.ts";
import type { Chunk, ChunkRegion, RegionKind } from "./chunk_manifest.ts";

/** How a file is to be cut, as far as that is known. */
export interface CutPlan {
  /** From the file's start on. */
  readonly regions: readonly LayoutRegion[];
  /** Whether the last region ends where it says; else it goes on, or the file does. */
  readonly isFinal: boolean;
}

/** What the next chunk may be cut from. */
export interface Cuttable {
  readonly kind: RegionKind;
  /** Bytes: the rest of the region, or enough that the cut does not depend on more. */
  readonly length: number;
}

/**
 * What the chunk that starts at `offset` may be cut from if the file's bytes are here up to `end`;
 * undefined if what is not here, or not known, may decide on the cut. `max`: longest chunk.
 */
export function cuttable(
  { regions, isFinal }: CutPlan,
  { offset, end, max }: { offset: number; end: number; max: number },
): Cuttable | undefined {
  const i = regions.findIndex((region) => region.end > offset);
  const region = regions[i];
  if (!region) return undefined;
  const length = Math.min(region.end, end) - offset;
  const isRest = region.end <= end && (isFinal || i < regions.length - 1);
  return length >= max || (isRest && length > 0) ? { kind: region.kind, length } : undefined;
}

/** Adds a chunk after those of `regions`, to the last one if it is of that kind. */
export function addChunk(regions: ChunkRegion[], kind: RegionKind, chunk: Chunk): void {
  const last = regions.at(-1);
  if (last?.kind === kind) last.chunks.push(chunk);
  else regions.push({ kind, chunks: [chunk] });
}
