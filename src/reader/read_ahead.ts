/**
 * What is fetched before it is asked for. Pure: each read of a handle gives the next state.
 *
 * A tag reader touches the head and the tail of a file and must not drag in the rest, so nothing is
 * fetched ahead until a handle has read `SEQUENTIAL_BYTES_MIN` in sequence. From then on a window
 * that doubles is kept ahead of the reader.
 */

import type { ByteRange } from "../base/bytes.ts";
import {
  EXTENT_BLOCK_BYTES,
  FETCH_BYTES_MAX,
  SEQUENTIAL_BYTES_MIN,
  SMALL_FETCH_BYTES_MAX,
} from "../base/limits.ts";

/** Bytes kept ahead of a reader at most: 6.7 s of 10 Mbit/s audio. */
export const WINDOW_BYTES_MAX = 8 * 1024 * 1024;

const WINDOW_BYTES_MIN = 1024 * 1024;

/**
 * How far from where it is expected a read still counts as in sequence, in bytes. The kernel sends
 * the requests of its own read-ahead in parallel, and they arrive in any order.
 */
const SLACK_BYTES = 1024 * 1024;

/** What is remembered of a handle's reads. */
export interface ReadAheadState {
  /** End of the furthest byte read in this run. */
  readonly next: number;
  /** Bytes read in sequence. */
  readonly run: number;
  /** Bytes to keep ahead of `next`; 0 until the handle streams. */
  readonly window: number;
  /** End of what was asked for ahead; 0 for nothing. */
  readonly ahead: number;
}

/** What one read makes of the state, and what to fetch ahead: whole blocks, in order. */
export interface ReadAheadPlan {
  readonly state: ReadAheadState;
  readonly prefetch: readonly ByteRange[];
  /** Whether the handle went elsewhere: what was fetched ahead for it is not wanted any more. */
  readonly jumped: boolean;
}

/** A handle that has read nothing. */
export const READ_AHEAD_START: ReadAheadState = { next: 0, run: 0, window: 0, ahead: 0 };

/** The plan for a read of `range` (which lies in the file) by a handle in `state`. */
export function planReadAhead(
  state: ReadAheadState,
  range: ByteRange,
  size: number,
): ReadAheadPlan {
  const end = range.offset + range.length;
  // Reads that were answered from the cache are not always seen here, so a streaming handle may
  // turn up anywhere in what was fetched ahead for it.
  const furthest = Math.max(state.next, state.ahead) + SLACK_BYTES;
  const inSequence = range.offset >= state.next - SLACK_BYTES && range.offset <= furthest;
  if (!inSequence) {
    const state = { next: end, run: range.length, window: 0, ahead: 0 };
    return { state, prefetch: [], jumped: true };
  }
  const fresh = Math.max(0, end - Math.max(state.next, range.offset));
  const next = Math.max(state.next, end);
  return extended({ ...state, next, run: state.run + fresh }, size);
}

function extended(state: ReadAheadState, size: number): ReadAheadPlan {
  const jumped = false;
  const { next, run } = state;
  const ahead = Math.max(state.ahead, alignedUp(next, size));
  const enough = state.window > 0 && ahead - next >= state.window / 2;
  if (run < SEQUENTIAL_BYTES_MIN || enough || ahead >= size) return { state, prefetch: [], jumped };
  const window = Math.min(Math.max(2 * state.window, WINDOW_BYTES_MIN), WINDOW_BYTES_MAX);
  const until = alignedUp(next + window, size);
  const pieceMax = Math.min(FETCH_BYTES_MAX, Math.max(SMALL_FETCH_BYTES_MAX, window / 2));
  const prefetch = pieces(ahead, until, pieceMax);
  return { state: { next, run, window, ahead: Math.max(ahead, until) }, prefetch, jumped };
}

/** `[start, end)` in pieces of at most `max` bytes. */
export function pieces(start: number, end: number, max: number): ByteRange[] {
  const found: ByteRange[] = [];
  for (let at = start; at < end; at += max) {
    found.push({ offset: at, length: Math.min(max, end - at) });
  }
  return found;
}

function alignedUp(offset: number, size: number): number {
  return Math.min(size, Math.ceil(offset / EXTENT_BLOCK_BYTES) * EXTENT_BLOCK_BYTES);
}
