import { cString } from "../base/posix.ts";
import type { ChunkList } from "../chunking/chunk_list.ts";
import { type FileVersion, versionFilePath, type VersionKey } from "../store/file_version.ts";
import { STAMP_LENGTH } from "./chunk_stamp.ts";
import { encodeExtentHeader, type ExtentLayout, extentLayout } from "./extent_file.ts";

/** What a thread needs to find a version's extent file. */
export interface ExtentPlace {
  readonly path: Uint8Array<ArrayBuffer>;
  readonly header: Uint8Array<ArrayBuffer>;
  readonly layout: ExtentLayout;
}

/** One version as the FUSE worker sees it: its chunk list, and what of it was checked and used. */
export class CachedView {
  readonly id: number;
  readonly size: number;
  readonly list: ChunkList;
  readonly frontier: number;
  /** `Index.generation()` before this was loaded. */
  generation: number;
  /** One stamp a chunk; see `ChunkStamp`. */
  readonly stamps: Uint32Array<ArrayBuffer>;
  /** One number a chunk, for `OpenChunks`. */
  readonly slots: Int32Array<ArrayBuffer>;
  /** One byte a chunk: whether it was read since the uses were last drained. */
  readonly #used: Uint8Array<ArrayBuffer>;
  #isUsed = false;
  /** What was read of the extent, `[first, end)`; empty when first >= end. */
  #extentFirst = Infinity;
  #extentEnd = 0;
  #place: ExtentPlace | undefined;

  constructor(
    readonly version: FileVersion,
    { list, generation }: { list: ChunkList; generation: number },
  ) {
    this.id = version.id;
    this.size = version.size;
    this.list = list;
    this.frontier = list.frontier;
    this.generation = generation;
    this.stamps = new Uint32Array(list.count * STAMP_LENGTH);
    this.slots = new Int32Array(list.count);
    this.#used = new Uint8Array(list.count);
  }

  /** Whether every byte is in chunks: then nothing about it changes any more. */
  get whole(): boolean {
    return this.frontier === this.size;
  }

  /** Takes over which chunks were checked; the chunks that both lists begin with. */
  inherit(older: CachedView): void {
    const { hashes } = this.list;
    const known = older.list.hashes;
    const most = Math.min(hashes.length, known.length);
    let same = 0;
    while (same < most && hashes[same] === known[same]) same += 1;
    const chunks = Math.floor(same / this.list.hashBytes);
    this.stamps.set(older.stamps.subarray(0, chunks * STAMP_LENGTH));
  }

  place(cacheDir: string, keyOf: (version: FileVersion) => VersionKey): ExtentPlace {
    if (this.#place) return this.#place;
    const key = keyOf(this.version);
    this.#place = {
      path: cString(versionFilePath(`${cacheDir}/extents`, key)),
      header: encodeExtentHeader(this.version, key),
      layout: extentLayout(this.size),
    };
    return this.#place;
  }

  /** Notes a use of chunk `i`; true if it is the first use of anything since the last drain. */
  useChunk(i: number): boolean {
    this.#used[i] = 1;
    const first = !this.#isUsed;
    this.#isUsed = true;
    return first;
  }

  /** Notes a use of `[start, end)` of the extent; as `useChunk`. */
  useExtent(start: number, end: number): boolean {
    this.#extentFirst = Math.min(this.#extentFirst, start);
    this.#extentEnd = Math.max(this.#extentEnd, end);
    const first = !this.#isUsed;
    this.#isUsed = true;
    return first;
  }

  /** Appends `id, start, end` of each run of bytes used, and forgets them. */
  drainUses(into: number[]): void {
    const { starts } = this.list;
    const used = this.#used;
    let i = used.indexOf(1);
    while (i >= 0) {
      let end = i;
      while (used[end] === 1) {
        used[end] = 0;
        end += 1;
      }
      into.push(this.id, starts[i] ?? 0, starts[end] ?? 0);
      i = used.indexOf(1, end);
    }
    if (this.#extentFirst < this.#extentEnd) {
      into.push(this.id, this.#extentFirst, this.#extentEnd);
    }
    this.#extentFirst = Infinity;
    this.#extentEnd = 0;
    this.#isUsed = false;
  }
}
