import { libc } from "../base/posix.ts";

const AT_EMPTY_PATH = 0x1000;
const STATX_CTIME_INO_SIZE = 0x80 | 0x100 | 0x200;
const NO_PATH = new Uint8Array(1);

/** Numbers that one stamp takes in a `Uint32Array`. */
export const STAMP_LENGTH = 4;

/**
 * What tells whether a file is the one that was checked: its ctime and inode, and beside them its
 * size. Reused for every file, because a read that is answered from chunks takes four system calls
 * and should take no allocation.
 */
export class ChunkStamp {
  readonly #buffer = new Uint8Array(256);
  readonly #words = new Uint32Array(this.#buffer.buffer);

  /** Asks for an open descriptor's stamp; false if that failed. */
  take(descriptor: number): boolean {
    const { statx } = libc;
    return statx(descriptor, NO_PATH, AT_EMPTY_PATH, STATX_CTIME_INO_SIZE, this.#buffer) === 0;
  }

  /** Size of the file, in bytes; files of 4 GiB and more are none of ours. */
  get size(): number {
    // struct statx, include/uapi/linux/stat.h: u64 ino at 32, u64 size at 40, s64 ctime s at 96,
    // u32 ns at 104; both machines that musicfs runs on are little-endian.
    return this.#words[11] === 0 ? this.#words[10] ?? 0 : Infinity;
  }

  /** Time of the file's last change, in ms since 1970. */
  get changedMs(): number {
    const seconds = (this.#words[25] ?? 0) * 2 ** 32 + (this.#words[24] ?? 0);
    return seconds * 1_000 + (this.#words[26] ?? 0) / 1e6;
  }

  /** Whether this is the stamp that lies in `stamps` at `at`. */
  isAt(stamps: Uint32Array, at: number): boolean {
    const words = this.#words;
    return stamps[at] === words[24] && stamps[at + 1] === 1 + (words[26] ?? 0) &&
      stamps[at + 2] === words[8] && stamps[at + 3] === words[9];
  }

  /** Notes this stamp in `stamps` at `at`; never four zeros, which say that nothing is known. */
  putAt(stamps: Uint32Array, at: number): void {
    const words = this.#words;
    stamps[at] = words[24] ?? 0;
    stamps[at + 1] = 1 + (words[26] ?? 0);
    stamps[at + 2] = words[8] ?? 0;
    stamps[at + 3] = words[9] ?? 0;
  }
}

/** Whether `stamps` holds a stamp at `at`. */
export function hasStamp(stamps: Uint32Array, at: number): boolean {
  return stamps[at + 1] !== 0;
}
