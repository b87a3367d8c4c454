import { RECENT_BYTES_MAX } from "./recent_ranges.ts";
import { WINDOW_BYTES_MAX } from "./read_ahead.ts";

/** The window that is worth having, however little room there is. */
const WINDOW_BYTES_MIN = 2 * 1024 * 1024;

/**
 * Bytes to keep ahead of each of so many readers: no more than stays until it is read.
 *
 * Of the cache's room a quarter for one reader and half for all; of memory, where nothing can be
 * written, a third for one and two thirds for all.
 */
export function windowBytesMax({ readers, inMemory, roomBytes }: {
  readers: number;
  inMemory: boolean;
  /** What the size limit leaves to what is not pinned. */
  roomBytes: number;
}): number {
  const room = inMemory ? RECENT_BYTES_MAX : roomBytes;
  const [one, all] = inMemory ? [room / 3, 2 * room / 3] : [room / 4, room / 2];
  const share = Math.min(one, all / Math.max(1, readers));
  return Math.min(WINDOW_BYTES_MAX, Math.max(WINDOW_BYTES_MIN, Math.floor(share)));
}
