/** In which order the track after the one that is played is fetched. Pure. */

import type { ByteRange } from "../base/bytes.ts";
import { EXTENT_BLOCK_BYTES, FETCH_BYTES_MAX } from "../base/limits.ts";

const HEAD_BYTES = 256 * 1024;
const TAIL_BYTES = 128 * 1024;

/** How far the fetching of a track has come. */
export interface NextTrackState {
  /** Pieces handed out. */
  readonly pieces: number;
  /** End of what was handed out in sequence from the start. */
  readonly ahead: number;
}

export const NEXT_TRACK_START: NextTrackState = { pieces: 0, ahead: 0 };

/**
 * The next piece of a track of `size` bytes of which `budget` bytes may be fetched: its head, which
 * players look at first, its tail, then the rest in order. Undefined if there is none for now.
 */
export function nextTrackPiece(
  { pieces, ahead }: NextTrackState,
  { size, budget }: { size: number; budget: number },
): { state: NextTrackState; piece: ByteRange } | undefined {
  const head = Math.min(HEAD_BYTES, size);
  if (pieces === 0) {
    if (budget < head || size === 0) return undefined;
    return { state: { pieces: 1, ahead: head }, piece: { offset: 0, length: head } };
  }
  const blocks = Math.floor(Math.max(0, size - TAIL_BYTES) / EXTENT_BLOCK_BYTES);
  const tail = Math.max(head, blocks * EXTENT_BLOCK_BYTES);
  if (pieces === 1 && tail < size) {
    return { state: { pieces: 2, ahead }, piece: { offset: tail, length: size - tail } };
  }
  const length = Math.min(FETCH_BYTES_MAX, tail - ahead);
  if (length <= 0 || ahead + length > budget) return undefined;
  return {
    state: { pieces: pieces + 1, ahead: ahead + length },
    piece: { offset: ahead, length },
  };
}

/** Whether all of the track was handed out. */
export function isHandedOut({ pieces, ahead }: NextTrackState, size: number): boolean {
  const blocks = Math.floor(Math.max(0, size - TAIL_BYTES) / EXTENT_BLOCK_BYTES);
  return pieces > 0 && (ahead >= size || (pieces > 1 && ahead >= blocks * EXTENT_BLOCK_BYTES));
}
