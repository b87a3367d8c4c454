import type { ByteRange } from "../base/bytes.ts";
import { MusicfsError } from "../base/errors.ts";
import { EXTENT_BLOCK_BYTES, FETCH_BYTES_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { ContentFetcher } from "../fetch/content_fetcher.ts";
import type { CacheIndex } from "../store/cache_index.ts";
import type { CasStore } from "../store/cas_store.ts";
import type { FileVersion } from "../store/file_version.ts";
import type { Manifests } from "../store/manifests.ts";
import type { CacheDisk } from "../store/passthrough.ts";
import { ChunkReader, type ChunkRun } from "./chunk_reader.ts";
import type { Extents } from "./extents.ts";
import type { Ingest } from "./ingest.ts";
import { Prefetch } from "./prefetch.ts";
import { pieces } from "./read_ahead.ts";
import { type Task, together } from "./together.ts";

/** What `FileReader` is made of. It closes `ingest`, and nothing else. */
export interface FileReaderOptions {
  fetcher: ContentFetcher;
  manifests: Manifests;
  cacheIndex: CacheIndex;
  store: CasStore;
  extents: Extents;
  ingest: Ingest;
  disk: CacheDisk;
  /** The digest that names chunks. */
  digest: (bytes: Uint8Array) => Uint8Array<ArrayBuffer>;
  /** The version that an id names; undefined if there is none (any more). */
  describe: (id: number) => FileVersion | undefined;
  log: Log;
}

/** Who reads. */
export interface ReadOptions {
  /** Ends the wait; what is being fetched is kept all the same. */
  signal: AbortSignal;
  /** Whose read it is, for read-ahead; 0 for nobody's. */
  handle: number;
}

/** What was read through here so far. */
export interface FileReaderStats {
  reads: number;
  failures: number;
  /** Bytes of reads that came from this disk, and from origins; read-ahead is not in here. */
  cacheBytes: number;
  originBytes: number;
  /** Chunks that a list names and that were not there, and those that were damaged. */
  chunkMisses: number;
  corruptChunks: number;
}

/**
 * The bytes of files, from chunks and extents where they are here and sound, and from the origins
 * where not. On the main thread; the FUSE worker's `CachedReader` has looked already.
 *
 * A version's bytes never change, and whatever comes from this disk is checked, so each piece of a
 * read may come from wherever it is found: what is here is copied first and in one go, the gaps are
 * then fetched. Nothing about the cache makes a read fail; only origins can.
 */
export class FileReader implements AsyncDisposable {
  readonly #options: FileReaderOptions;
  readonly #chunks: ChunkReader;
  readonly #prefetch: Prefetch;
  #closed = false;
  #reads = 0;
  #failures = 0;
  #cacheBytes = 0;
  #originBytes = 0;

  constructor(options: FileReaderOptions) {
    this.#options = options;
    this.#chunks = new ChunkReader(options);
    this.#prefetch = new Prefetch(
      (version, range, signal) => this.#bring(version, range, signal),
      options,
    );
  }

  /**
   * The bytes of `range`, fewer only at the end of the file. Throws what no origin could help
   * (`not_found`, `denied`, `unavailable`, `timed_out`), `changed` if the origin has other bytes
   * now than were chunked, or the signal's reason.
   */
  async read(
    version: FileVersion,
    range: ByteRange,
    { signal, handle }: ReadOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    signal.throwIfAborted();
    if (this.#closed) throw closed(version);
    const length = Math.min(range.length, version.size - range.offset);
    if (length <= 0) return new Uint8Array(0);
    const wanted = { offset: range.offset, length };
    const into = new Uint8Array(length);
    this.#reads += 1;
    try {
      const gaps = this.#fillFromCache(version, wanted, into);
      this.#prefetch.read(handle, version, wanted);
      if (gaps.length > 0) await together(gaps, signal);
    } catch (error) {
      if (!signal.aborted) this.#failures += 1;
      throw error;
    }
    return into;
  }

  /**
   * Applies what `CachedReader.uses()` gave: last uses, and read-ahead of handles whose reads the
   * worker answered.
   */
  noteUses(uses: Float64Array): void {
    if (this.#closed) return;
    for (let i = 0; i + 2 < uses.length; i += 3) {
      const [id = 0, start = 0, end = 0] = uses.subarray(i, i + 3);
      this.#noteUse(id, { offset: start, length: end - start });
    }
  }

  /** A handle was closed: nothing more is fetched ahead of it. */
  release(handle: number): void {
    this.#prefetch.release(handle);
  }

  stats(): FileReaderStats {
    return {
      reads: this.#reads,
      failures: this.#failures,
      cacheBytes: this.#cacheBytes,
      originBytes: this.#originBytes,
      ...this.#chunks.counters,
    };
  }

  /** Resolves when nothing is being fetched ahead or turned into chunks. */
  async idle(): Promise<void> {
    await this.#prefetch.idle();
    await this.#options.ingest.idle();
  }

  /** Ends read-ahead and ingest; reads under way are their callers' to end. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#prefetch[Symbol.asyncDispose]();
    await this.#options.ingest[Symbol.asyncDispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Copies what is here, without a pause, and gives the ways to fill the gaps. */
  #fillFromCache(
    version: FileVersion,
    wanted: ByteRange,
    into: Uint8Array<ArrayBuffer>,
  ): Task[] {
    const list = this.#options.manifests.listOf(version);
    const end = wanted.offset + wanted.length;
    const gaps: Task[] = [];
    const target = { offset: wanted.offset, bytes: into };
    let missing = 0;
    for (const run of this.#chunks.fill(list, target)) {
      missing += overlap(target, run).length;
      gaps.push((signal) => this.#fetchChunks(version, run, { target, signal }));
    }
    const from = Math.max(wanted.offset, list.frontier);
    if (from < end) {
      const rest = { offset: from, length: end - from };
      for (const gap of this.#fillFromExtent(version, rest, target)) {
        missing += overlap(target, gap).length;
        gaps.push((signal) => this.#fetchGap(version, gap, { target, signal }));
      }
    }
    this.#cacheBytes += wanted.length - missing;
    return gaps;
  }

  /** Copies what the extent holds of `range`; the rest, in whole blocks. */
  #fillFromExtent(version: FileVersion, range: ByteRange, target: Target): ByteRange[] {
    const { extents } = this.#options;
    const gaps = extents.missing(version, range);
    let present = false;
    for (const piece of between(gaps, range)) {
      const bytes = target.bytes.subarray(
        piece.offset - target.offset,
        piece.offset - target.offset + piece.length,
      );
      // A damaged block: all of the piece comes from the origin, and replaces it.
      if (extents.read(version, piece.offset, bytes)) present = true;
      else gaps.push(wholeBlocks(piece, version.size));
    }
    if (present) extents.use(version);
    return gaps;
  }

  async #fetchChunks(
    version: FileVersion,
    run: ChunkRun,
    { target, signal }: { target: Target; signal: AbortSignal },
  ): Promise<void> {
    const bytes = await this.#chunks.fetch(version, run, signal);
    this.#originBytes += copyInto(target, { offset: run.offset, bytes });
  }

  async #fetchGap(
    version: FileVersion,
    gap: ByteRange,
    { target, signal }: { target: Target; signal: AbortSignal },
  ): Promise<void> {
    const parts = pieces(gap.offset, gap.offset + gap.length, FETCH_BYTES_MAX);
    const tasks = parts.map((part) => async (either: AbortSignal): Promise<void> => {
      const bytes = await this.#fetch(version, part, either);
      this.#originBytes += copyInto(target, { offset: part.offset, bytes });
    });
    await together(tasks, signal);
  }

  /** For read-ahead: fetches what is missing of a range, into the extent. */
  async #bring(version: FileVersion, range: ByteRange, signal: AbortSignal): Promise<void> {
    const { disk, manifests, extents } = this.#options;
    if (!disk.writable) return;
    const from = Math.max(range.offset, manifests.listOf(version).frontier);
    const end = range.offset + range.length;
    if (from >= end) return;
    const gaps = extents.missing(version, { offset: from, length: end - from });
    const tasks = gaps.map((gap) => async (either: AbortSignal): Promise<void> => {
      await this.#fetch(version, gap, either);
    });
    await together(tasks, signal);
  }

  #fetch(
    version: FileVersion,
    range: ByteRange,
    signal: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const keep = (offset: number, bytes: Uint8Array<ArrayBuffer>): void => {
      this.#keep(version, offset, bytes);
    };
    return this.#options.fetcher.fetch(version, range, { signal, keep });
  }

  /** Writes fetched bytes to the extent, beyond the frontier, and sets the ingest going. */
  #keep(version: FileVersion, offset: number, bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#closed) return;
    const { manifests, extents, ingest, log } = this.#options;
    try {
      const { frontier } = manifests.listOf(version);
      const from = Math.max(offset, Math.floor(frontier / EXTENT_BLOCK_BYTES) * EXTENT_BLOCK_BYTES);
      if (from >= offset + bytes.length) return;
      if (extents.write(version, from, bytes.subarray(from - offset))) ingest.kick(version);
    } catch (error) {
      // Whoever waits for the bytes gets them all the same.
      log.error("Fetched bytes were not kept", { path: version.sources[0].path, error });
    }
  }

  #noteUse(id: number, range: ByteRange): void {
    const { manifests, cacheIndex, describe, extents, ingest } = this.#options;
    const list = manifests.list(id);
    const [first, end] = list?.covering(range) ?? [0, 0];
    for (let i = first; list && i < end; i += 1) cacheIndex.use("chunk", list.hash(i));
    if (range.offset + range.length > (list?.frontier ?? 0)) {
      const version = describe(id);
      if (version) {
        extents.use(version);
        // After a restart an extent may hold what was not yet turned into chunks.
        ingest.kick(version);
      }
    }
    this.#prefetch.passed(id, range);
  }
}

/** Bytes of a read that is being put together: those of the file from `offset` on. */
export interface Target {
  readonly offset: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** The part of `range` that lies in the target; of length 0 if there is none. */
function overlap(target: Target, range: ByteRange): ByteRange {
  const offset = Math.max(target.offset, range.offset);
  const end = Math.min(target.offset + target.bytes.length, range.offset + range.length);
  return { offset, length: Math.max(0, end - offset) };
}

/** Copies what lies in the target; returns how much that was. */
export function copyInto(target: Target, { offset, bytes }: Target): number {
  const part = overlap(target, { offset, length: bytes.length });
  const from = part.offset - offset;
  target.bytes.set(bytes.subarray(from, from + part.length), part.offset - target.offset);
  return part.length;
}

/** What of `range` lies outside of `gaps`, which are in order. */
function between(gaps: readonly ByteRange[], range: ByteRange): ByteRange[] {
  const found: ByteRange[] = [];
  const end = range.offset + range.length;
  let at = range.offset;
  for (const gap of gaps) {
    if (gap.offset > at) found.push({ offset: at, length: gap.offset - at });
    at = Math.max(at, gap.offset + gap.length);
  }
  if (at < end) found.push({ offset: at, length: end - at });
  return found;
}

/** The blocks that hold bytes of `range`. */
function wholeBlocks({ offset, length }: ByteRange, size: number): ByteRange {
  const start = Math.floor(offset / EXTENT_BLOCK_BYTES) * EXTENT_BLOCK_BYTES;
  const end = Math.ceil((offset + length) / EXTENT_BLOCK_BYTES) * EXTENT_BLOCK_BYTES;
  return { offset: start, length: Math.min(end, size) - start };
}

function closed(version: FileVersion): MusicfsError {
  const { path } = version.sources[0];
  return new MusicfsError("unavailable", `Cannot read "${path}": musicfs is stopping`, {
    op: "reader.read",
    subject: path,
  });
}
