/**
 * How far to read ahead. Pure: each read of a handle gives the next state.
 *
 * A tag reader touches the head and the tail of a file and must not drag in the rest, so nothing is
 * fetched ahead until a handle has read on for a while, and little until it has read
 * `SEQUENTIAL_BYTES_MIN` in sequence. From then on a window that grows with what was read is kept
 * ahead of the reader.
 */

import type { ByteRange } from "../base/bytes.ts";
import {
  EXTENT_BLOCK_BYTES,
  FETCH_BYTES_MAX,
  SEQUENTIAL_BYTES_MIN,
  SMALL_FETCH_BYTES_MAX,
} from "../base/limits.ts";

/**
 * Bytes kept ahead of a reader at most: 33 s of 10 Mbit/s audio. An outage of 20 s takes that long, with
 * what has come of pieces that are not whole (4 s) and a new SSH session 300 ms away (4 s).
 */
export const WINDOW_BYTES_MAX = 40 * 1024 * 1024;

/**
 * The window is this many times what was read in sequence: 4 MiB after 1 MiB, which keeps a link of
 * 100 Mbit/s with 300 ms to and fro (3.75 MB) busy; all of it after 10 MiB.
 */
const WINDOW_PER_RUN = 4;

/** Bytes read in sequence after which a small fetch is kept ahead. */
const SMALL_AHEAD_RUN_BYTES = 384 * 1024;

/** Bytes read in sequence after which what is asked for is rounded up to a small fetch. */
const ROUND_UP_RUN_BYTES = 128 * 1024;

/**
 * Pieces on their way for one reader at once: 5 MiB, which keep a link of 100 Mbit/s with 300 ms to
 * and fro (3.75 MB) busy. What has come of a piece is of use when all of it has.
 */
const PIECES_MAX = 5;
const PIECES_AT_FIRST = 2;

/** Bytes read in sequence for each piece more than at first. */
const RUN_PER_PIECE = 1024 * 1024;

/** A piece is this part of what was read in sequence: the first ones are small, and come soon. */
const PIECES_PER_RUN = 4;

/** Pieces that a window is fetched in at least, however small it is. */
const PIECES_PER_WINDOW = 4;

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
  /** Bytes before `next` that were passed over: the kernel's requests for them may yet come. */
  readonly skipped: number;
  /** End of what was asked for ahead; 0 for nothing. */
  readonly ahead: number;
}

/** A handle that has read nothing. */
export const READ_AHEAD_START: ReadAheadState = { next: 0, run: 0, skipped: 0, ahead: 0 };

/** Whether a read at `offset` goes on where the handle is, or in what was fetched ahead for it. */
export function isInSequence({ next, ahead }: ReadAheadState, offset: number): boolean {
  // Reads that were answered from the cache are not always seen, so a handle may turn up anywhere in
  // what was fetched ahead for it.
  return offset >= next - SLACK_BYTES && offset <= Math.max(next, ahead) + SLACK_BYTES;
}

/**
 * The state after a read of `range` (which lies in the file). One that is not in sequence starts a
 * run, and what was fetched ahead is not wanted any more.
 */
export function afterRead(state: ReadAheadState, range: ByteRange): ReadAheadState {
  const end = range.offset + range.length;
  if (!isInSequence(state, range.offset)) {
    return { next: end, run: range.length, skipped: 0, ahead: 0 };
  }
  const beyond = Math.max(0, end - Math.max(state.next, range.offset));
  const late = Math.min(range.length - beyond, state.skipped);
  const passedOver = Math.max(0, range.offset - state.next);
  return {
    ...state,
    next: Math.max(state.next, end),
    run: state.run + beyond + late,
    skipped: Math.min(SLACK_BYTES, state.skipped - late + passedOver),
  };
}

/** Whether the handle reads on, so that what comes next is fetched before it is asked for. */
export function isStreaming({ run }: ReadAheadState): boolean {
  return run >= SEQUENTIAL_BYTES_MIN;
}

/** Whether what is asked for after `run` bytes in sequence is rounded up to a small fetch. */
export function roundsUp(run: number): boolean {
  return run > ROUND_UP_RUN_BYTES && run < SMALL_AHEAD_RUN_BYTES;
}

/** Bytes to keep ahead of the reader, at most `max`. */
export function windowOf({ run }: ReadAheadState, max: number): number {
  if (run < SMALL_AHEAD_RUN_BYTES) return 0;
  const small = Math.min(SMALL_FETCH_BYTES_MAX, max);
  return run < SEQUENTIAL_BYTES_MIN ? small : Math.min(WINDOW_PER_RUN * run, max);
}

/** Where the next piece to fetch ahead begins; never behind the reader. */
export function aheadOf({ next, ahead }: ReadAheadState): number {
  return Math.max(ahead, alignedUp(next));
}

/**
 * The next piece to fetch ahead in a file of `size` bytes: whole blocks, at most `FETCH_BYTES_MAX`.
 * Undefined while there is no room for a whole one in the window: it is refilled in steps.
 */
export function nextPiece(
  state: ReadAheadState,
  { size, windowMax }: { size: number; windowMax: number },
): ByteRange | undefined {
  const window = windowOf(state, windowMax);
  const piece = pieceOf(state, window);
  const offset = aheadOf(state);
  const until = Math.min(size, alignedUp(state.next + window));
  if (window === 0 || offset >= until) return undefined;
  const length = Math.min(piece, until - offset);
  return length < piece && until < size ? undefined : { offset, length };
}

/** Bytes that are fetched at once for a window. */
function pieceOf({ run }: ReadAheadState, window: number): number {
  const wanted = alignedUp(Math.min(run / PIECES_PER_RUN, window / PIECES_PER_WINDOW));
  return Math.min(FETCH_BYTES_MAX, Math.max(SMALL_FETCH_BYTES_MAX / 2, wanted));
}

/**
 * Pieces to fetch side by side: few at first, because all share the link, and the first of many
 * would come hardly sooner than the last, while the reader is about to need it.
 */
export function piecesAtOnce({ run }: ReadAheadState): number {
  return Math.min(PIECES_MAX, PIECES_AT_FIRST + Math.floor(run / RUN_PER_PIECE));
}

/** Bytes of the window that lie beyond the end of a file of `size` bytes; 0 for one just begun. */
export function windowBeyond(
  state: ReadAheadState,
  { size, windowMax }: { size: number; windowMax: number },
): number {
  // Whoever plays has read most of what lies before.
  if (!isStreaming(state) || state.run < state.next / 2) return 0;
  return Math.max(0, state.next + windowOf(state, windowMax) - size);
}

/** `[start, end)` in pieces of at most `max` bytes. */
export function pieces(start: number, end: number, max: number): ByteRange[] {
  const found: ByteRange[] = [];
  for (let at = start; at < end; at += max) {
    found.push({ offset: at, length: Math.min(max, end - at) });
  }
  return found;
}

function alignedUp(offset: number): number {
  return Math.ceil(offset / EXTENT_BLOCK_BYTES) * EXTENT_BLOCK_BYTES;
}
