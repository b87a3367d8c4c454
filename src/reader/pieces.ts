import type { ByteRange } from "../base/bytes.ts";
import { FETCH_BYTES_MAX, SMALL_FETCH_BYTES_MAX } from "../base/limits.ts";
import type { ContentFetcher, FetchOptions } from "../fetch/content_fetcher.ts";
import type { FileVersion } from "../store/file_version.ts";
import type { Manifests } from "../store/manifests.ts";
import type { DeltaTransfer } from "./delta_transfer.ts";
import { copyInto, overlap, type Target } from "./byte_ranges.ts";
import type { ChunkReader, ChunkRun, RunOptions } from "./chunk_reader.ts";
import type { Parts } from "./parts.ts";
import { pieces, roundsUp } from "./read_ahead.ts";
import type { Takeovers } from "./takeovers.ts";
import { type Task, together } from "./together.ts";

/** What `Pieces` works with. */
export interface PiecesOptions {
  fetcher: ContentFetcher;
  manifests: Manifests;
  chunks: ChunkReader;
  parts: Parts;
  takeovers: Takeovers;
  delta: DeltaTransfer;
  /** Once it is aborted nothing is kept any more. */
  closing: AbortSignal;
}

/** How a range is fetched. */
interface HowToFetch {
  readonly signal: AbortSignal;
  /** Whether nobody waits for it yet. */
  readonly isBackground: boolean;
}

/** What a range of a file is made of: what is here, in chunks and beyond them, and what is fetched. */
export class Pieces {
  /** Bytes of reads that came from this disk, and from origins; read-ahead is not in here. */
  readonly counters = { cacheBytes: 0, originBytes: 0 };
  readonly #options: PiecesOptions;

  constructor(options: PiecesOptions) {
    this.#options = options;
  }

  /**
   * Copies what is here, without a pause, and gives the ways to fill the gaps. `run`: bytes that were
   * read in sequence before.
   */
  fill(version: FileVersion, target: Target, run: number): Task[] {
    const list = this.#options.manifests.listOf(version);
    const { offset, bytes: { length } } = target;
    const gaps: Task[] = [];
    let missing = 0;
    for (const chunks of this.#options.chunks.fill(list, target)) {
      if (this.#options.parts.copyFromMemory(version, chunks, target)) continue;
      missing += overlap(target, chunks).length;
      gaps.push((signal) => this.#fetchChunks(version, chunks, { target, signal }));
    }
    const from = Math.max(offset, list.frontier);
    if (from < offset + length) {
      const rest = { offset: from, length: offset + length - from };
      for (const gap of this.#options.parts.fill(version, rest, target)) {
        missing += overlap(target, gap).length;
        const wanted = roundsUp(run) ? this.#roundedUp(version, gap, rest) : gap;
        gaps.push((signal) => this.#fetchGap(version, wanted, { target, signal }));
      }
    }
    this.counters.cacheBytes += length - missing;
    return gaps;
  }

  /** A gap at the end of what is read, with what is missing after it, as a small fetch. */
  #roundedUp(version: FileVersion, gap: ByteRange, read: ByteRange): ByteRange {
    if (gap.offset + gap.length < read.offset + read.length) return gap;
    const small = { offset: gap.offset, length: SMALL_FETCH_BYTES_MAX };
    const [longer] = this.#options.parts.missing(version, small);
    return longer?.offset === gap.offset && longer.length > gap.length ? longer : gap;
  }

  async #fetchChunks(
    version: FileVersion,
    run: ChunkRun,
    { target, signal }: { target: Target; signal: AbortSignal },
  ): Promise<void> {
    const how = this.#runOptions(version, run, { signal, isBackground: false });
    const bytes = await this.#options.chunks.fetch(version, run, how);
    this.counters.originBytes += copyInto(target, { offset: run.offset, bytes });
  }

  async #fetchGap(
    version: FileVersion,
    gap: ByteRange,
    { target, signal }: { target: Target; signal: AbortSignal },
  ): Promise<void> {
    const parts = pieces(gap.offset, gap.offset + gap.length, FETCH_BYTES_MAX);
    const tasks = parts.map((part) => async (either: AbortSignal): Promise<void> => {
      const bytes = await this.#fetch(version, part, { signal: either, isBackground: false });
      this.counters.originBytes += copyInto(target, { offset: part.offset, bytes });
    });
    await together(tasks, signal);
  }

  /** What must be fetched of a range, in chunks and beyond them. */
  missing(version: FileVersion, range: ByteRange): ByteRange[] {
    this.#options.takeovers.settle(version.id);
    const list = this.#options.manifests.listOf(version);
    const runs = this.#options.chunks.missing(list, range)
      .filter((run) => !this.#options.parts.isInMemory(version, run));
    return [...runs, ...this.#options.parts.missing(version, range)];
  }

  /** For read-ahead: fetches what is missing of a range, and keeps it. */
  async bring(version: FileVersion, range: ByteRange, how: HowToFetch): Promise<void> {
    const { delta } = this.#options;
    await delta.settle(version, range, how);
    try {
      await this.#bring(version, range, how);
    } catch (error) {
      if (!delta.refuse(version, error)) throw error;
      await this.#bring(version, range, how);
    }
  }

  async #bring(version: FileVersion, range: ByteRange, how: HowToFetch): Promise<void> {
    this.#options.takeovers.settle(version.id);
    const list = this.#options.manifests.listOf(version);
    const tasks: Task[] = [];
    for (const run of this.#options.chunks.missing(list, range)) {
      if (this.#options.parts.isInMemory(version, run)) continue;
      tasks.push(async (signal) => {
        await this.#options.chunks.fetch(
          version,
          run,
          this.#runOptions(version, run, { ...how, signal }),
        );
      });
    }
    for (const gap of this.#options.parts.missing(version, range)) {
      tasks.push(async (signal) => {
        await this.#fetch(version, gap, { ...how, signal });
      });
    }
    await together(tasks, how.signal);
  }

  #runOptions(version: FileVersion, run: ChunkRun, how: HowToFetch): RunOptions {
    const notKept = (bytes: Uint8Array<ArrayBuffer>): void => {
      if (!this.#options.closing.aborted) {
        this.#options.parts.keepInMemory(version, run.offset, bytes);
      }
    };
    return { ...how, notKept };
  }

  #fetch(
    version: FileVersion,
    range: ByteRange,
    how: HowToFetch,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const keep = (offset: number, bytes: Uint8Array<ArrayBuffer>): void => {
      if (!this.#options.closing.aborted) this.#options.parts.keep(version, offset, bytes);
    };
    const options: FetchOptions & HowToFetch = { ...how, keep };
    return this.#options.fetcher.fetch(version, range, options);
  }
}
