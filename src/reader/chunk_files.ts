import type { Clock } from "../base/clock.ts";
import { descriptorLimit } from "../base/descriptor_limit.ts";
import {
  errno,
  libc,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  openFile,
  preadFully,
} from "../base/posix.ts";
import { type ChunkHash, writeHex } from "../chunking/chunk_hash.ts";
import { CHUNK_BYTES_MAX } from "../chunking/chunk_sizes.ts";
import { ChunkStamp, hasStamp } from "./chunk_stamp.ts";
import { OpenChunks } from "./open_chunks.ts";

/**
 * A file that changed this recently, in ms, is not remembered as checked: before Linux 6.13 two
 * changes within one tick (up to 10 ms) leave the same ctime, and the second would go unseen.
 */
const SETTLED_MS = 50;

/** Below this limit on descriptors, the 256 folders of chunks are not held open. */
const FOLDERS_LIMIT_MIN = 2048;

const EMFILE = 24;
const ENFILE = 23;

/** Which chunk, and which part of it. */
export interface ChunkSlice {
  /** The list's hashes, one after another, and where this chunk's begins. */
  hashes: Uint8Array<ArrayBuffer>;
  hashAt: number;
  /** Bytes of the whole chunk. */
  length: number;
  /** Where in the chunk to begin. */
  from: number;
  /** Stamps of chunks that were checked, and where this chunk's lies. */
  stamps: Uint32Array;
  stampAt: number;
  /** Slots of chunks that are held open (`OpenChunks`), and which is this chunk's. */
  slots: Int32Array;
  slotAt: number;
}

/**
 * Reads slices of chunk files, checked. Synchronous, for the FUSE worker: two system calls for a
 * slice of a chunk that was checked before and is held open (pread, statx).
 */
export class ChunkFiles {
  readonly #hash: ChunkHash;
  readonly #clock: Clock;
  readonly #cacheDir: string;
  /** A chunk's name in its folder, and a NUL. */
  readonly #name: Uint8Array<ArrayBuffer>;
  /** Descriptors of the folders `chunks/00` to `chunks/ff`; -1 where there is none yet. */
  readonly #folders = new Int32Array(256).fill(-1);
  readonly #holdsFolders = descriptorLimit() >= FOLDERS_LIMIT_MIN;
  readonly #scratch = new Uint8Array(CHUNK_BYTES_MAX);
  readonly #stamp = new ChunkStamp();
  readonly #before = new Uint32Array(4);
  readonly #open = new OpenChunks();
  /** Chunks checked in full, and chunks that failed the check or were not to be read. */
  readonly counters = { checked: 0, failed: 0 };

  constructor(
    cacheDir: string,
    { hash, clock }: { hash: ChunkHash; clock: Clock },
  ) {
    this.#hash = hash;
    this.#clock = clock;
    this.#cacheDir = cacheDir;
    this.#name = new Uint8Array(2 * hash.bytes + 1);
  }

  /** Fills `into` with the slice; false if the chunk is missing or not what its hash says. */
  read(slice: ChunkSlice, into: Uint8Array<ArrayBuffer>): boolean {
    const { slots, slotAt } = slice;
    const held = this.#open.find(slots, slotAt);
    if (held >= 0) {
      if (this.#readChecked(held, slice, into)) return true;
      // Evicted, replaced or damaged: what lies there now is looked at anew.
      this.#open.close(slots, slotAt);
    }
    const descriptor = this.#openChunk(slice.hashes, slice.hashAt) ??
      this.#openWithFewer(slice);
    const sound = descriptor >= 0 &&
      (this.#readChecked(descriptor, slice, into) || this.#readAndCheck(descriptor, slice, into));
    if (sound && hasStamp(slice.stamps, slice.stampAt)) this.#open.hold(descriptor, slots, slotAt);
    else if (descriptor >= 0) libc.close(descriptor);
    if (!sound) this.counters.failed += 1;
    return sound;
  }

  /** Lets go of every descriptor: files that were deleted meanwhile give their room back. */
  closeAll(): void {
    this.#open.closeAll();
  }

  /** The slice alone, if the file is the very one that was checked. */
  #readChecked(
    descriptor: number,
    { from, stamps, stampAt }: ChunkSlice,
    into: Uint8Array<ArrayBuffer>,
  ): boolean {
    if (!hasStamp(stamps, stampAt)) return false;
    const n = libc.pread(descriptor, into, BigInt(into.length), BigInt(from));
    if (n !== into.length && preadFully(descriptor, into, from) !== into.length) return false;
    // After the read: had the file changed before or during it, its ctime would be another now.
    return this.#stamp.take(descriptor) && this.#stamp.isAt(stamps, stampAt);
  }

  /** The whole chunk against its hash; then the slice of those very bytes. */
  #readAndCheck(descriptor: number, slice: ChunkSlice, into: Uint8Array<ArrayBuffer>): boolean {
    const { hashes, hashAt, length, from, stamps, stampAt } = slice;
    const stamp = this.#stamp;
    if (length > CHUNK_BYTES_MAX || !stamp.take(descriptor) || stamp.size !== length) return false;
    stamp.putAt(this.#before, 0);
    const whole = into.length === length ? into : this.#scratch.subarray(0, length);
    if (preadFully(descriptor, whole, 0) !== length) return false;
    this.counters.checked += 1;
    const digest = this.#hash.digest(whole);
    for (let i = 0; i < digest.length; i += 1) if (digest[i] !== hashes[hashAt + i]) return false;
    // The stamp vouches for these bytes only if nothing changed while they were read.
    const settled = stamp.take(descriptor) && stamp.isAt(this.#before, 0) &&
      this.#clock.now() - stamp.changedMs >= SETTLED_MS;
    if (settled) stamp.putAt(stamps, stampAt);
    if (whole !== into) into.set(whole.subarray(from, from + into.length));
    return true;
  }

  /** Once more, after all that is held open was let go. */
  #openWithFewer({ hashes, hashAt }: ChunkSlice): number {
    this.#open.closeAll();
    return this.#openChunk(hashes, hashAt) ?? -1;
  }

  /**
   * A descriptor, or less than 0; undefined if this process has no descriptor left. Names of folders
   * are looked up once, not for each chunk.
   */
  #openChunk(hashes: Uint8Array, hashAt: number): number | undefined {
    const shard = hashes[hashAt] ?? 0;
    writeHex(hashes.subarray(hashAt, hashAt + this.#hash.bytes), this.#name, 0);
    const folder = this.#folders[shard] ?? -1;
    const flags = O_RDONLY | O_CLOEXEC;
    if (folder >= 0) {
      const descriptor = libc.openat(folder, this.#name, flags, 0);
      if (descriptor >= 0) return descriptor;
      // Not there, or the folder itself is another by now.
      libc.close(folder);
    }
    const path = `${this.#cacheDir}/chunks/${shard.toString(16).padStart(2, "0")}`;
    const opened = openFile(path, O_PATH | O_DIRECTORY);
    this.#folders[shard] = this.#holdsFolders ? opened : -1;
    if (opened < 0) return isOutOfDescriptors(-opened) ? undefined : -1;
    const descriptor = libc.openat(opened, this.#name, flags, 0);
    const isOut = descriptor < 0 && isOutOfDescriptors(errno());
    if (!this.#holdsFolders) libc.close(opened);
    return isOut ? undefined : descriptor;
  }
}

function isOutOfDescriptors(reason: number): boolean {
  return reason === EMFILE || reason === ENFILE;
}
