import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import { WORKER_VIEWS_MAX } from "../base/limits.ts";
import { libc, O_CLOEXEC, O_RDONLY } from "../base/posix.ts";
import type { ChunkHash } from "../chunking/chunk_hash.ts";
import { ChunkList } from "../chunking/chunk_list.ts";
import type { Xxh64 } from "../chunking/xxh64.ts";
import type { FileVersion, VersionKey } from "../store/file_version.ts";
import { isDerived } from "../store/donors.ts";
import type { Index } from "../store/index.ts";
import { decodeManifestRecord, manifestKey } from "../store/manifests.ts";
import { CachedView } from "./cached_view.ts";
import { ChunkFiles, type ChunkSlice } from "./chunk_files.ts";
import { STAMP_LENGTH } from "./chunk_stamp.ts";
import { ExtentReader } from "./extent_file.ts";
import { TAG_BYTES } from "./tag_regions.ts";

/** What the FUSE worker's reader is made of. */
export interface CachedReaderOptions {
  index: Index;
  cacheDir: string;
  /** What chunks are named by. */
  hash: ChunkHash;
  /** For extent blocks. */
  xxh64: Xxh64;
  clock: Clock;
  keyOf: (version: FileVersion) => VersionKey;
  /** The version that an id names; undefined if there is none (any more). */
  describe: (id: number) => FileVersion | undefined;
}

/** What was read here, and what was not. */
export interface CachedReaderStats {
  reads: number;
  bytes: number;
  /** Reads that were left to the main thread. */
  misses: number;
  /** Chunks checked in full. */
  checked: number;
}

/**
 * Reads what lies on this disk, for the FUSE worker: synchronous, without a wait for anything but
 * the disk, and without an allocation on the usual path.
 *
 * It gives all of a read, every byte checked, or nothing: what is missing, damaged or strange in
 * any way is left to the main thread, which mends it.
 */
export class CachedReader {
  readonly #options: CachedReaderOptions;
  readonly #chunks: ChunkFiles;
  readonly #extents: ExtentReader;
  /** In order of use, the latest last. */
  readonly #views = new Map<number, CachedView>();
  #last: CachedView | undefined;
  #generation = -1;
  readonly #used: CachedView[] = [];
  readonly #slice: ChunkSlice = {
    hashes: new Uint8Array(),
    hashAt: 0,
    length: 0,
    from: 0,
    stamps: new Uint32Array(),
    stampAt: 0,
    slots: new Int32Array(),
    slotAt: 0,
  };
  #reads = 0;
  #bytes = 0;
  #misses = 0;
  /**
   * Bytes read since `uses()` of files that are not whole: what is read ahead hangs on them. A tail
   * counts for more, because whether tails are fetched with heads hangs on its being told of soon.
   */
  partialBytes = 0;

  constructor(options: CachedReaderOptions) {
    this.#options = options;
    this.#chunks = new ChunkFiles(options.cacheDir, options);
    this.#extents = new ExtentReader(options.xxh64);
  }

  /**
   * Fills `into` with the bytes of version `id` from `offset` on.
   *
   * @returns bytes placed, fewer than `into.length` only at the end of the file; -1 if not all of
   * them are here and sound, and then `into` holds anything
   */
  read(id: number, offset: number, into: Uint8Array<ArrayBuffer>): number {
    let view = this.#view(id);
    if (view && offset >= view.size) return 0;
    const length = view ? Math.min(into.length, view.size - offset) : 0;
    const wanted = length === into.length ? into : into.subarray(0, length);
    let sound = view !== undefined && this.#fill(view, offset, wanted);
    if (!sound && view && view.generation !== this.#options.index.generation()) {
      // A whole file's view is not loaded anew for every commit; its chunks may have been evicted.
      this.#forget(view);
      view = this.#view(id);
      sound = view !== undefined && this.#fill(view, offset, wanted);
    }
    if (!sound) {
      this.#misses += 1;
      return -1;
    }
    this.#reads += 1;
    this.#bytes += length;
    if (view?.whole === false) {
      const isTail = offset > TAG_BYTES && offset >= view.size - TAG_BYTES;
      this.partialBytes += isTail ? Math.max(length, TAG_BYTES) : length;
    }
    return length;
  }

  /** Whether all of a version is known to lie in chunks; false also if it was not read lately. */
  isWhole(id: number): boolean {
    return this.#views.get(id)?.whole === true;
  }

  /**
   * Lets go of the files that are held open. To be called after evictions, and when nobody reads: a
   * deleted file keeps its room on the disk while it is open.
   */
  closeFiles(): void {
    this.#chunks.closeAll();
  }

  /**
   * What was read since the last call: `id, start, end` for each run of bytes, for
   * `FileReader.noteUses`. Chunks count whole.
   */
  uses(): Float64Array<ArrayBuffer> {
    const runs: number[] = [];
    for (const view of this.#used) view.drainUses(runs);
    this.#used.length = 0;
    this.partialBytes = 0;
    return Float64Array.from(runs);
  }

  stats(): CachedReaderStats {
    const { checked } = this.#chunks.counters;
    return { reads: this.#reads, bytes: this.#bytes, misses: this.#misses, checked };
  }

  #fill(view: CachedView, offset: number, into: Uint8Array<ArrayBuffer>): boolean {
    const end = offset + into.length;
    const chunksEnd = Math.min(end, view.frontier);
    let at = offset;
    for (let i = view.list.indexAt(at); at < chunksEnd; i += 1) {
      const next = Math.min(chunksEnd, view.list.starts[i + 1] ?? 0);
      const piece = next - at === into.length ? into : into.subarray(at - offset, next - offset);
      if (!this.#readChunk(view, i, { at, piece })) return false;
      at = next;
    }
    if (at === end) return true;
    const rest = at === offset ? into : into.subarray(at - offset);
    return this.#readExtent(view, at, rest);
  }

  #readChunk(
    view: CachedView,
    i: number,
    { at, piece }: { at: number; piece: Uint8Array<ArrayBuffer> },
  ): boolean {
    const { list } = view;
    const slice = this.#slice;
    const start = list.starts[i] ?? 0;
    slice.hashes = list.hashes;
    slice.hashAt = i * list.hashBytes;
    slice.length = (list.starts[i + 1] ?? 0) - start;
    slice.from = at - start;
    slice.stamps = view.stamps;
    slice.stampAt = i * STAMP_LENGTH;
    slice.slots = view.slots;
    slice.slotAt = i;
    if (!this.#chunks.read(slice, piece)) return false;
    if (view.useChunk(i)) this.#used.push(view);
    return true;
  }

  #readExtent(view: CachedView, offset: number, into: Uint8Array<ArrayBuffer>): boolean {
    const { path, header, layout } = view.place(this.#options.cacheDir, this.#options.keyOf);
    const descriptor = libc.open(path, O_RDONLY | O_CLOEXEC, 0);
    if (descriptor < 0) return false;
    const sound = this.#extents.isOwn(descriptor, header, layout) &&
      this.#extents.read(descriptor, { layout, offset, into });
    libc.close(descriptor);
    if (sound && view.useExtent(offset, offset + into.length)) this.#used.push(view);
    return sound;
  }

  /** The version's view, loaded anew if the index changed since and the file was not whole. */
  #view(id: number): CachedView | undefined {
    const generation = this.#options.index.generation();
    const last = this.#last;
    if (last && last.id === id && (last.isFinal || last.generation === generation)) return last;
    let view = this.#views.get(id);
    if (!view || (!view.isFinal && view.generation !== generation)) {
      view = this.#load(id, { generation, older: view });
    }
    this.#views.delete(id);
    this.#last = view;
    if (!view) return undefined;
    this.#views.set(id, view);
    if (this.#views.size > WORKER_VIEWS_MAX) {
      for (const oldest of this.#views.keys()) {
        this.#views.delete(oldest);
        break;
      }
    }
    return view;
  }

  #forget(view: CachedView): void {
    this.#views.delete(view.id);
    this.#last = undefined;
  }

  #load(
    id: number,
    { generation, older }: { generation: number; older: CachedView | undefined },
  ): CachedView | undefined {
    const { index } = this.#options;
    if (generation !== this.#generation) index.releaseSnapshot();
    this.#generation = generation;
    const found = find(this.#options, id, older?.version);
    if (!found) return undefined;
    const view = new CachedView(found.version, { ...found, generation });
    if (older) view.inherit(older);
    return view;
  }
}

/** The version and its chunks, none if none are known; undefined if anything is wrong with them. */
function find(
  { index, hash, describe }: CachedReaderOptions,
  id: number,
  known: FileVersion | undefined,
): { version: FileVersion; list: ChunkList; isDerived: boolean } | undefined {
  try {
    // What is preferred of its sources, and with it its extent's key, may be another by now.
    const version = describe(id) ?? known;
    if (!version) return undefined;
    const record = index.table("manifests").get(manifestKey(id));
    if (!record) {
      return { version, list: ChunkList.empty(version.size, hash.bytes), isDerived: false };
    }
    const { list } = decodeManifestRecord(record);
    const fits = list.size === version.size && list.hashBytes === hash.bytes;
    return fits ? { version, list, isDerived: isDerived(index, id) } : undefined;
  } catch (error) {
    // A damaged record: the main thread reads it too, reports it and goes on without it.
    if (error instanceof MusicfsError) return undefined;
    throw error;
  }
}
