import { cString } from "../base/posix.ts";
import type { ChunkList } from "../chunking/chunk_list.ts";
import { type FileVersion, versionFilePath, type VersionKey } from "../store/file_version.ts";
import { STAMP_LENGTH } from "./chunk_stamp.ts";
import { encodeExtentHeader, type ExtentLayout, extentLayout } from "./extent_file.ts";

/** Runs of an extent's bytes that are told apart between two drains; more of them are not told. */
const EXTENT_RUNS_MAX = 16;

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
  /** Whether the list may yet prove wrong, and be another then. */
  readonly #isDerived: boolean;
  /** `Index.generation()` before this was loaded. */
  generation: number;
  /** One stamp a chunk; see `ChunkStamp`. */
  readonly stamps: Uint32Array<ArrayBuffer>;
  /** One number a chunk, for `OpenChunks`. */
  readonly slots: Int32Array<ArrayBuffer>;
  /** One byte a chunk: whether it was read since the uses were last drained. */
  readonly #used: Uint8Array<ArrayBuffer>;
  #isUsed = false;
  /** What was read of the extent, `start, end` of each run in order of time. */
  readonly #extentRuns: number[] = [];
  #place: ExtentPlace | undefined;

  constructor(
    readonly version: FileVersion,
    { list, generation, isDerived }: {
      list: ChunkList;
      generation: number;
      isDerived: boolean;
    },
  ) {
    this.id = version.id;
    this.size = version.size;
    this.list = list;
    this.frontier = list.frontier;
    this.#isDerived = isDerived;
    this.generation = generation;
    this.stamps = new Uint32Array(list.count * STAMP_LENGTH);
    this.slots = new Int32Array(list.count);
    this.#used = new Uint8Array(list.count);
  }

  /** Whether every byte is in chunks. */
  get whole(): boolean {
    return this.frontier === this.size;
  }

  /** Whether nothing about it changes any more. */
  get isFinal(): boolean {
    return this.whole && !this.#isDerived;
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

  /**
   * Notes a use of `[start, end)` of the extent; as `useChunk`. Runs are kept apart: a head and a
   * tail are no sequence.
   */
  useExtent(start: number, end: number): boolean {
    const runs = this.#extentRuns;
    let i = 0;
    while (i < runs.length && !(start >= (runs[i] ?? 0) && start <= (runs[i + 1] ?? 0))) i += 2;
    if (i < runs.length) runs[i + 1] = Math.max(runs[i + 1] ?? 0, end);
    else if (i < 2 * EXTENT_RUNS_MAX) runs.push(start, end);
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
    const runs = this.#extentRuns;
    for (let at = 0; at < runs.length; at += 2) {
      into.push(this.id, runs[at] ?? 0, runs[at + 1] ?? 0);
    }
    runs.length = 0;
    this.#isUsed = false;
  }
}
