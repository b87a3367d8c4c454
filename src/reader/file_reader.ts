import type { ByteRange } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { ContentFetcher } from "../fetch/content_fetcher.ts";
import type { CacheIndex } from "../store/cache_index.ts";
import type { CasStore } from "../store/cas_store.ts";
import type { FileVersion } from "../store/file_version.ts";
import type { Manifests } from "../store/manifests.ts";
import type { CacheDisk } from "../store/passthrough.ts";
import type { Target } from "./byte_ranges.ts";
import { ChunkReader } from "./chunk_reader.ts";
import { DeltaTransfer } from "./delta_transfer.ts";
import type { DeltaSources } from "./donor_search.ts";
import type { Extents } from "./extents.ts";
import type { Ingest } from "./ingest.ts";
import { Parts } from "./parts.ts";
import { Pieces } from "./pieces.ts";
import { Prefetch } from "./prefetch.ts";
import type { FilesAfter } from "./scan_ahead.ts";
import { ScanPrefetch } from "./scan_prefetch.ts";
import { TailAhead } from "./tail_ahead.ts";
import { Takeovers } from "./takeovers.ts";
import { together } from "./together.ts";
import { type BringOptions, WholeFiles } from "./whole_files.ts";
import { windowBytesMax } from "./window_size.ts";

/** What `FileReader` is made of. It closes `ingest`, and nothing else. */
export interface FileReaderOptions extends DeltaSources {
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
  /** The track that is played after this one, to be fetched before that one ends; default none. */
  nextTrack?: ((version: FileVersion) => FileVersion | undefined) | undefined;
  /** The files that a scan of the library comes to next; default none. */
  filesAfter?: FilesAfter | undefined;
  clock: Clock;
  /** Whether what is fetched is written to this disk; default true. What is there is read anyway. */
  keeps?: boolean | undefined;
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
  /** Fetched bytes that are held in memory, because they cannot be kept on this disk. */
  memoryBytes: number;
  /** Versions that were made of others' chunks instead of being fetched. */
  derivedVersions: number;
  /** Those of them that proved wrong, and were fetched after all. */
  refusedVersions: number;
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
  readonly #parts: Parts;
  readonly #delta: DeltaTransfer;
  readonly #pieces: Pieces;
  readonly #prefetch: Prefetch;
  readonly #tails = new TailAhead();
  readonly #scan: ScanPrefetch | undefined;
  readonly #wholeFiles: WholeFiles;
  readonly #takeovers: Takeovers;
  readonly #closing = new AbortController();
  #reads = 0;
  #failures = 0;

  constructor(options: FileReaderOptions) {
    const { keeps = true, ingest } = options;
    this.#options = options;
    this.#chunks = new ChunkReader({ ...options, pinned: ingest.pinned });
    this.#parts = new Parts({ ...options, keeps });
    this.#takeovers = new Takeovers(options);
    const keep = this.#parts.keep.bind(this.#parts);
    this.#delta = new DeltaTransfer({ ...options, keeps, keep });
    const pieces = new Pieces({
      ...options,
      chunks: this.#chunks,
      parts: this.#parts,
      takeovers: this.#takeovers,
      delta: this.#delta,
      closing: this.#closing.signal,
    });
    this.#pieces = pieces;
    const missing = pieces.missing.bind(pieces);
    const bring = pieces.bring.bind(pieces);
    const isHere = (version: FileVersion, range: ByteRange): boolean =>
      missing(version, range).length === 0;
    const ahead = { ...options, isHere, bring };
    const windowMax = this.#windowMax.bind(this);
    this.#prefetch = new Prefetch({ ...ahead, windowMax });
    const { filesAfter } = options;
    if (filesAfter) {
      const isBusy = (): boolean => this.#prefetch.isBusy;
      this.#scan = new ScanPrefetch({ ...ahead, after: filesAfter, isBusy, tails: this.#tails });
    }
    const settle = this.#delta.settle.bind(this.#delta);
    const mend = (version: FileVersion, range: ByteRange, signal: AbortSignal): Promise<unknown> =>
      this.read(version, range, { signal, handle: 0 });
    this.#wholeFiles = new WholeFiles({ ...options, keeps, missing, bring, mend, settle });
  }

  /**
   * The bytes of `range`, fewer only at the end of the file. Throws what no origin could help
   * (`not_found`, `denied`, `unavailable`, `timed_out`), `changed` if the origin has other bytes
   * now than were chunked, or the signal's reason.
   */
  async read(
    version: FileVersion,
    range: ByteRange,
    options: ReadOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { signal } = options;
    signal.throwIfAborted();
    if (this.#closed) throw closed(version);
    const length = Math.min(range.length, version.size - range.offset);
    if (length <= 0) return new Uint8Array(0);
    const wanted = { offset: range.offset, length };
    const target = { offset: range.offset, bytes: new Uint8Array(length) };
    this.#reads += 1;
    try {
      const settling = this.#delta.settle(version, wanted, { signal, isBackground: false });
      if (settling) await settling;
      try {
        await this.#fill(version, target, options);
      } catch (error) {
        if (!this.#delta.refuse(version, error)) throw error;
        await this.#fill(version, target, options);
      }
    } catch (error) {
      if (!signal.aborted) this.#failures += 1;
      throw error;
    }
    return target.bytes;
  }

  /** Fills the target from what is here and what is fetched, and has more fetched ahead. */
  async #fill(version: FileVersion, target: Target, options: ReadOptions): Promise<void> {
    const { signal, handle } = options;
    const wanted = { offset: target.offset, length: target.bytes.length };
    this.#takeovers.settle(version.id);
    const run = this.#prefetch.read(handle, version, wanted);
    const gaps = this.#pieces.fill(version, target, run);
    this.#tails.read(version.id, wanted);
    const isCold = handle !== 0 && gaps.length > 0;
    const tail = isCold ? this.#tails.headRead(version, wanted) : undefined;
    const filled = gaps.length > 0 ? together(gaps, signal) : undefined;
    if (tail) this.#prefetch.bringNow(version, tail);
    this.#prefetch.pump();
    if (handle !== 0) this.#scan?.read(version, wanted, isCold);
    await filled;
    if (isCold) this.#tails.headDone(version.id);
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
    this.#tails.reported();
    this.#prefetch.pump();
    this.#scan?.pump();
  }

  /** A file was opened whose bytes may not all be here: a scan has come so far. */
  opened(version: number): void {
    if (!this.#closed) this.#scan?.opened(version);
  }

  /** Whether no origin need be asked for `range`, clipped to the file. */
  isHere(version: FileVersion, range: ByteRange): boolean {
    const length = Math.min(range.length, version.size - range.offset);
    return this.#pieces.missing(version, { offset: range.offset, length }).length === 0;
  }

  /**
   * A handle was closed: nothing more is fetched ahead of it. With the version that it was open on,
   * that holds also for reads of it that only the worker has seen.
   */
  release(handle: number, version?: number): void {
    this.#prefetch.release(handle, version);
  }

  /**
   * Fetches what is missing of the whole file, behind what readers wait for, and resolves when all
   * of it is in chunks.
   *
   * Throws what no origin could help, the signal's reason, `full` if the file cannot be held beside
   * what is pinned, `unavailable` if the disk refuses, and `invalid` if nothing is kept at all. What
   * was fetched by then stays.
   *
   * @returns bytes that were missing and are fetched
   */
  async bringAll(version: FileVersion, options: BringOptions): Promise<number> {
    if (this.#closed) throw closed(version);
    const signal = AbortSignal.any([options.signal, this.#closing.signal]);
    try {
      return await this.#wholeFiles.bringAll(version, { ...options, signal });
    } catch (error) {
      throw this.#closed && !options.signal.aborted ? closed(version) : error;
    }
  }

  /**
   * Has what is here of a file never evicted, over restarts too, and what comes of it until this
   * process ends. After a restart, and when the index was made again, to be called again for what is
   * to stay; it costs a look at each chunk.
   */
  pin(version: FileVersion): void {
    this.#takeovers.settle(version.id);
    this.#wholeFiles.pin(version);
  }

  /** Takes `pin` back; chunks that the `others`, which are pinned too, have in common with it stay. */
  unpin(version: FileVersion, others: Iterable<FileVersion>): void {
    this.#takeovers.settle(version.id);
    this.#wholeFiles.unpin(version, others);
  }

  /**
   * Another origin is preferred for a version's bytes, which are the same: what is cached of them
   * goes over to the key that they have now. To be called once that is committed. Never throws.
   */
  takeOver(before: FileVersion, after: FileVersion): void {
    this.#takeovers.add(before, after);
  }

  stats(): FileReaderStats {
    return {
      reads: this.#reads,
      failures: this.#failures,
      ...this.#pieces.counters,
      ...this.#chunks.counters,
      memoryBytes: this.#parts.memoryBytes,
      derivedVersions: this.#delta.counters.derived,
      refusedVersions: this.#delta.counters.refused,
    };
  }

  /** Resolves when nothing is being fetched ahead, turned into chunks or taken over. */
  async idle(): Promise<void> {
    await this.#takeovers.idle();
    await this.#delta.idle();
    await this.#scan?.idle();
    await this.#prefetch.idle();
    await this.#options.ingest.idle();
  }

  /** Ends read-ahead and ingest; reads under way are their callers' to end. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#delta[Symbol.asyncDispose]();
    await this.#takeovers[Symbol.asyncDispose]();
    await this.#scan?.[Symbol.asyncDispose]();
    await this.#prefetch[Symbol.asyncDispose]();
    await this.#options.ingest[Symbol.asyncDispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #closed(): boolean {
    return this.#closing.signal.aborted;
  }

  #windowMax(readers: number): number {
    const { store, cacheIndex, disk } = this.#options;
    return windowBytesMax({
      readers,
      inMemory: this.#parts.inMemory || !disk.writable,
      roomBytes: store.stats().limitBytes - cacheIndex.totals().pinnedBytes,
    });
  }

  #noteUse(id: number, range: ByteRange): void {
    const { manifests, cacheIndex, describe, extents, ingest } = this.#options;
    this.#takeovers.settle(id);
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
    this.#tails.read(id, range);
    this.#prefetch.passed(id, range);
    this.#scan?.passed(id, range);
  }
}

function closed(version: FileVersion): MusicfsError {
  const { path } = version.sources[0];
  return new MusicfsError("unavailable", `Cannot read "${path}": musicfs is stopping`, {
    op: "reader.read",
    subject: path,
  });
}
