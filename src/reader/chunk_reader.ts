import type { ByteRange } from "../base/bytes.ts";
import { MusicfsError } from "../base/errors.ts";
import { FETCH_BYTES_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import { sameHash } from "../chunking/chunk_hash.ts";
import type { ChunkList } from "../chunking/chunk_list.ts";
import type { ContentFetcher } from "../fetch/content_fetcher.ts";
import type { CacheIndex } from "../store/cache_index.ts";
import type { CasStore } from "../store/cas_store.ts";
import type { FileVersion } from "../store/file_version.ts";
import { keepLonger } from "./keep_longer.ts";

/** What `ChunkReader` is made of. */
export interface ChunkReaderOptions {
  fetcher: ContentFetcher;
  cacheIndex: CacheIndex;
  store: CasStore;
  digest: (bytes: Uint8Array) => Uint8Array<ArrayBuffer>;
  /** Versions whose chunks are pinned when they come back. */
  pinned: ReadonlySet<number>;
  log: Log;
}

/** How a run is fetched. */
export interface RunOptions {
  signal: AbortSignal;
  /** Given the run's bytes, checked, if they could not be put back. */
  notKept: (bytes: Uint8Array<ArrayBuffer>) => void;
  isBackground: boolean;
}

/** Chunks `[first, end)` of a list, which follow one another, and the bytes they cover. */
export interface ChunkRun extends ByteRange {
  readonly list: ChunkList;
  readonly first: number;
  readonly end: number;
}

/** Reads the part of a file that lies in chunks, and mends it. */
export class ChunkReader {
  readonly counters = { chunkMisses: 0, corruptChunks: 0 };
  readonly #options: ChunkReaderOptions;

  constructor(options: ChunkReaderOptions) {
    this.#options = options;
  }

  /** Copies what chunks hold of the target; the runs of chunks that are missing or damaged. */
  fill(
    list: ChunkList,
    target: { readonly offset: number; readonly bytes: Uint8Array<ArrayBuffer> },
  ): ChunkRun[] {
    const { offset, bytes: into } = target;
    const [first, end] = list.covering({ offset, length: into.length });
    const missing: number[] = [];
    for (let i = first; i < end; i += 1) {
      const chunk = this.#get(list, i);
      if (!chunk) {
        missing.push(i);
        continue;
      }
      const start = list.start(i);
      const from = Math.max(0, offset - start);
      const until = Math.min(chunk.length, offset + into.length - start);
      into.set(chunk.subarray(from, until), start + from - offset);
      this.#options.cacheIndex.use("chunk", list.hash(i));
    }
    return runsOf(list, missing);
  }

  /** The runs of chunks that cover bytes of `range` and are not here, by the look of their files. */
  missing(list: ChunkList, range: ByteRange): ChunkRun[] {
    const [first, end] = list.covering(range);
    const missing: number[] = [];
    for (let i = first; i < end; i += 1) {
      if (!this.#options.store.has(list.hash(i), list.length(i))) missing.push(i);
    }
    return runsOf(list, missing);
  }

  /**
   * Fetches the run's bytes, checks them against the chunks' hashes and puts them back. Throws
   * `changed` if the origin has other bytes now, twice.
   */
  async fetch(
    version: FileVersion,
    run: ChunkRun,
    { signal, notKept, isBackground }: RunOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { fetcher } = this.#options;
    const options = { signal, isBackground };
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const bytes = await fetcher.fetch(version, run, options);
      if (this.#matches(run, bytes)) {
        if (!this.#putBack(version, run, bytes)) notKept(bytes);
        return bytes;
      }
    }
    const { path } = version.sources[0];
    const message = `Cannot read "${path}": the origin has other bytes than those it had when ` +
      "they were cached, under the same version. Run `musicfs scan --checksum`.";
    throw new MusicfsError("changed", message, { op: "reader.fetch_chunks", subject: path });
  }

  /** The chunk, checked; undefined if it cannot be had from this disk, whatever the reason. */
  #get(list: ChunkList, i: number): Uint8Array<ArrayBuffer> | undefined {
    try {
      return this.#options.store.get(list.hash(i), list.length(i));
    } catch (error) {
      if (!(error instanceof MusicfsError)) throw error;
      if (error.code === "not_found") {
        this.counters.chunkMisses += 1;
      } else {
        this.counters.corruptChunks += 1;
        this.#options.log.warning("Chunk is fetched again", { error });
      }
      return undefined;
    }
  }

  #matches({ list, first, end, offset }: ChunkRun, bytes: Uint8Array<ArrayBuffer>): boolean {
    for (let i = first; i < end; i += 1) {
      const start = list.start(i) - offset;
      const chunk = bytes.subarray(start, start + list.length(i));
      if (!sameHash(this.#options.digest(chunk), list.hash(i))) return false;
    }
    return true;
  }

  /** Best effort: the next read fetches what is not kept now. */
  #putBack(
    version: FileVersion,
    { list, first, end, offset }: ChunkRun,
    bytes: Uint8Array<ArrayBuffer>,
  ): boolean {
    const { cacheIndex, pinned } = this.#options;
    try {
      for (let i = first; i < end; i += 1) {
        const start = list.start(i) - offset;
        this.#options.store.put(list.hash(i), bytes.subarray(start, start + list.length(i)));
      }
      keepLonger({ cacheIndex, pinned }, version, { list, first, end });
      return true;
    } catch (error) {
      if (!(error instanceof MusicfsError)) throw error;
      this.#options.log.debug("Chunk was not put back", { error });
      return false;
    }
  }
}

/** Neighbours joined, as far as one fetch goes. */
function runsOf(list: ChunkList, chunks: readonly number[]): ChunkRun[] {
  const runs: ChunkRun[] = [];
  for (const i of chunks) {
    const last = runs.at(-1);
    const end = list.start(i) + list.length(i);
    if (last?.end === i && end - last.offset <= FETCH_BYTES_MAX) {
      runs[runs.length - 1] = { ...last, end: i + 1, length: end - last.offset };
    } else {
      runs.push({ list, first: i, end: i + 1, offset: list.start(i), length: list.length(i) });
    }
  }
  return runs;
}
