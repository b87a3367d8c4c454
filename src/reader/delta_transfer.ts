/**
 * What is here already under any name is not fetched again: before the first bytes of a version are,
 * it is found out whether its content is known. docs/semantics.md says what counts as proof.
 */

import type { ByteRange } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { orAborted } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import type { Log } from "../base/log.ts";
import { CdcChunker } from "../chunking/cdc_chunker.ts";
import { ChunkList } from "../chunking/chunk_list.ts";
import { FLAC_MD5_END } from "../chunking/flac_md5.ts";
import type { ContentFetcher } from "../fetch/content_fetcher.ts";
import type { CacheIndex } from "../store/cache_index.ts";
import type { CasStore } from "../store/cas_store.ts";
import type { FileVersion } from "../store/file_version.ts";
import { SEGMENT } from "../store/lru_eviction.ts";
import type { Manifests } from "../store/manifests.ts";
import { retaggedList } from "./derived_list.ts";
import { DonorBytes } from "./donor_bytes.ts";
import { type Candidates, type DeltaSources, DonorSearch } from "./donor_search.ts";
import type { Extents } from "./extents.ts";
import { FetchedBytes } from "./fetched_bytes.ts";
import type { Ingest } from "./ingest.ts";
import { keepLonger } from "./keep_longer.ts";
import { isOwnList } from "./published_list.ts";
import { findRetagged } from "./retagged.ts";
import { hasSameContent } from "./same_content.ts";
import { tagRegions } from "./tag_regions.ts";

/**
 * How long a version may take to be settled before it is fetched without that, in ms: five round
 * trips of the farthest links, and the metadata with a picture at 1 MB/s.
 */
export const SETTLE_MS_MAX = 4_000;

/** After a failure nothing is tried anew for this long, in ms, if nothing was fetched by then. */
const RETRY_MS = 15_000;

/** Versions that are remembered as settled, 50 bytes each; then all of them are looked at anew. */
const SETTLED_MAX = 65_536;

/** What `DeltaTransfer` works with. */
export interface DeltaTransferOptions extends DeltaSources {
  fetcher: ContentFetcher;
  manifests: Manifests;
  cacheIndex: CacheIndex;
  store: CasStore;
  extents: Extents;
  ingest: Ingest;
  digest: (bytes: Uint8Array) => Uint8Array<ArrayBuffer>;
  /** The version that an id names; undefined if there is none (any more). */
  describe: (id: number) => FileVersion | undefined;
  /** Whether anything is written to this disk; if not, nothing is derived. */
  keeps: boolean;
  /** Keeps bytes of a version that were fetched, if they can be kept. */
  keep: (version: FileVersion, offset: number, bytes: Uint8Array<ArrayBuffer>) => void;
  clock: Clock;
  log: Log;
}

/** Who asks, and for what. */
export interface SettleOptions {
  /** Ends the wait; the work goes on. */
  signal: AbortSignal;
  isBackground: boolean;
}

/** A list, and the versions that its chunks are from. */
interface Derived {
  list: ChunkList;
  donors: readonly number[];
  /** Chunks from the start that were stored just now. */
  stored: number;
}

interface Running {
  /** Bytes that were fetched. */
  readonly done: Promise<number>;
  readonly fetched: FetchedBytes;
  readonly stop: AbortController;
}

/** Finds chunk lists for versions of which nothing is here. Main thread only. */
export class DeltaTransfer implements AsyncDisposable {
  /** Versions that were made of others' chunks since the start, and lists that proved wrong. */
  readonly counters = { derived: 0, refused: 0 };
  readonly #options: DeltaTransferOptions;
  readonly #search: DonorSearch;
  readonly #settled = new Set<number>();
  /** FLAC files that are fetched, until their head is here and shows an MD5. */
  readonly #headless = new Set<number>();
  readonly #refused = new Set<number>();
  /** When a version that could not be settled is looked at again, in monotonic ms. */
  readonly #retryMs = new Map<number, number>();
  readonly #running = new Map<number, Running>();
  #chunker: CdcChunker | undefined;
  #closed = false;

  constructor(options: DeltaTransferOptions) {
    this.#options = options;
    this.#search = new DonorSearch(options);
  }

  /**
   * To be awaited, if it is a promise, before anything of `version` is fetched. It never rejects but
   * with the signal's reason, and takes `SETTLE_MS_MAX` at most; versions of which something is here,
   * or of which nothing can be known, cost nothing.
   *
   * Whether the audio of a new FLAC file is known shows in its head. Nobody waits for that: once the
   * head was read it is looked at, before more is fetched.
   *
   * @returns bytes that were fetched for it
   */
  settle(
    version: FileVersion,
    wanted: ByteRange,
    { signal, isBackground }: SettleOptions,
  ): Promise<number> | undefined {
    if (this.#closed || this.#settled.has(version.id)) return undefined;
    const running = this.#running.get(version.id) ?? this.#begin(version, wanted, isBackground);
    if (!running) return undefined;
    if (!isBackground) running.fetched.hurry();
    return orAborted(running.done, signal);
  }

  /**
   * Whether a read that failed so is to be tried once more: the version's list was derived, and the
   * origin has other bytes. The list is given up then, and nothing is derived for the version again.
   */
  refuse(version: FileVersion, error: unknown): boolean {
    const isWrong = error instanceof MusicfsError && error.code === "changed" &&
      error.op === "reader.fetch_chunks";
    if (!isWrong) return false;
    const { manifests, log, onRefused } = this.#options;
    // Another reader may have come first.
    if (!manifests.donors.isDerived(version.id)) return this.#refused.has(version.id);
    try {
      manifests.refuse(version.id);
    } catch (cause) {
      if (!(cause instanceof MusicfsError)) throw cause;
      log.warning("A wrong chunk list could not be given up", { error: cause });
      return false;
    }
    this.counters.refused += 1;
    this.#refused.add(version.id);
    this.#settle(version.id);
    log.warning("A file has other bytes than those it was taken to have; it is fetched", {
      path: version.sources[0].path,
    });
    onRefused?.(version);
    return true;
  }

  /** Resolves when nothing is being settled. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) {
      await Promise.all([...this.#running.values()].map(({ done }) => done));
    }
  }

  /** Leaves what is not settled as it is. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const { stop } of this.#running.values()) stop.abort(stopping());
    await this.idle();
  }

  #begin(version: FileVersion, wanted: ByteRange, isBackground: boolean): Running | undefined {
    const { clock, fetcher, log } = this.#options;
    const retryMs = this.#retryMs.get(version.id);
    if (retryMs !== undefined && clock.monotonic() < retryMs) return undefined;
    let candidates: Candidates | "in its head" | undefined;
    try {
      const isHeadAwaited = this.#headless.has(version.id);
      const search = { wanted, isHeadAwaited };
      candidates = this.#isBare(version) ? this.#search.of(version, search) : undefined;
    } catch (error) {
      if (!(error instanceof MusicfsError)) throw error;
      log.warning("Cannot tell what a file has in common with others", { error });
    }
    if (candidates === "in its head" && this.#awaitHead(version)) return undefined;
    if (!candidates || candidates === "in its head") {
      this.#settle(version.id);
      return undefined;
    }
    // Who reads has a time limit of their own, and nothing but an ETag is a proof without an origin.
    if (candidates.sameTag.length === 0 && !fetcher.isUp(version)) return undefined;
    const stop = new AbortController();
    const fetched = new FetchedBytes(version, { fetcher, signal: stop.signal, isBackground });
    const done = this.#run(version, { candidates, fetched, stop })
      .finally(() => this.#running.delete(version.id));
    const running = { done, fetched, stop };
    this.#running.set(version.id, running);
    return running;
  }

  /** Whether a list may be made for it: there is none. */
  #isBare(version: FileVersion): boolean {
    const { manifests, keeps } = this.#options;
    return keeps && version.size > 0 && manifests.listOf(version).count === 0 &&
      !manifests.donors.isRefused(version.id);
  }

  /** Notes that its head is to be looked at when it is here; false if that would show nothing. */
  #awaitHead(version: FileVersion): boolean {
    if (!this.#search.mayHaveAudio(version)) return false;
    if (this.#headless.size >= SETTLED_MAX) this.#headless.clear();
    this.#headless.add(version.id);
    return true;
  }

  async #run(version: FileVersion, work: Work): Promise<number> {
    const { fetched, stop } = work;
    const { clock, log } = this.#options;
    const timer = new AbortController();
    clock.sleep(SETTLE_MS_MAX, timer.signal).then(
      () => stop.abort(late(version)),
      () => undefined,
    );
    const { path } = version.sources[0];
    try {
      const derived = await orAborted(this.#decide(version, work), stop.signal);
      if (derived) this.#commit(version, derived);
      // What nothing is known of yet may show it in its head.
      const isOpen = !derived && fetched.read(0, FLAC_MD5_END) === undefined;
      if (!isOpen || !this.#awaitHead(version)) this.#settle(version.id);
    } catch (error) {
      if (error instanceof MusicfsError) log.debug("A file could not be settled", { path, error });
      else log.error("Settling a file failed in a way nobody planned for", { path, error });
      this.#retryMs.set(version.id, clock.monotonic() + RETRY_MS);
      if (this.#retryMs.size > SETTLED_MAX) this.#retryMs.clear();
    } finally {
      timer.abort();
    }
    if (!this.#closed) this.#keepFetched(version, fetched);
    return fetched.bytes;
  }

  async #decide(version: FileVersion, work: Work): Promise<Derived | undefined> {
    const { candidates } = work;
    return (candidates.isPublished ? await this.#fromPublished(version, work) : undefined) ??
      this.#fromSameTag(version, work) ??
      await this.#fromSameTime(version, work) ??
      await this.#fromRetagged(version, work);
  }

  /** What somebody published, unless it is not of this file: see `isOwnList`. */
  async #fromPublished(
    version: FileVersion,
    { fetched, stop }: Work,
  ): Promise<Derived | undefined> {
    const { publishedList, manifests, log } = this.#options;
    const { path } = version.sources[0];
    let list: ChunkList;
    try {
      const regions = await publishedList?.(version, stop.signal);
      if (!regions) return undefined;
      const { hashBytes } = manifests;
      list = ChunkList.fromRegions(regions, { size: version.size, hashBytes });
    } catch (error) {
      stop.signal.throwIfAborted();
      log.debug("A published chunk list is of no use", { path, error });
      return undefined;
    }
    if (!list.whole) return undefined;
    if (!await isOwnList(version, list, { ...this.#options, fetched })) {
      log.warning("A published chunk list is not that of its file", { path });
      return undefined;
    }
    return { list, donors: [], stored: 0 };
  }

  #fromSameTag(version: FileVersion, { candidates }: Work): Derived | undefined {
    const [donor] = this.#donors(candidates.sameTag, version);
    return donor && { list: donor.list, donors: [donor.id], stored: 0 };
  }

  async #fromSameTime(version: FileVersion, work: Work): Promise<Derived | undefined> {
    const { trustAudioMd5 = true } = this.#options;
    for (const donor of this.#donors(work.candidates.sameTime, version)) {
      if (!await hasSameContent(work.fetched, donor, { trustAudioMd5 })) continue;
      return { list: donor.list, donors: [donor.id], stored: 0 };
    }
    return undefined;
  }

  async #fromRetagged(
    version: FileVersion,
    { candidates, fetched }: Work,
  ): Promise<Derived | undefined> {
    const { store, digest } = this.#options;
    const predecessors = candidates.predecessors.map((id) => this.#donor(id));
    const sameAudio = !candidates.mayHaveAudio
      ? undefined
      : (md5: Uint8Array): DonorBytes[] => this.#search.sameAudio(md5).map((id) => this.#donor(id));
    if (!sameAudio && predecessors.length === 0) return undefined;
    this.#giveKept(version, fetched);
    const { headBytes } = candidates;
    const found = await findRetagged(version, { fetched, predecessors, sameAudio, headBytes });
    if (!found || this.#isTaken(version)) return undefined;
    const chunker = this.#chunker ??= new CdcChunker();
    const list = retaggedList(version, found, { fetched, store, chunker, digest });
    if (!list) return undefined;
    const stored = list.covering({ offset: 0, length: found.head.audioStart })[1];
    return { list, donors: [found.donor.id], stored };
  }

  /** Head and tail of what was fetched of it before. */
  #giveKept(version: FileVersion, fetched: FetchedBytes): void {
    const { extents } = this.#options;
    if (!extents.has(version)) return;
    const { headEnd, tailStart } = tagRegions(version.size);
    for (const [offset, limit] of [[0, headEnd], [tailStart, version.size]] as const) {
      if (offset > 0 && offset < headEnd) return;
      const end = extents.contiguousEnd(version, offset, { limit });
      const bytes = new Uint8Array(end - offset);
      const isNew = end > offset && !fetched.read(offset, bytes.length);
      if (isNew && extents.read(version, offset, bytes)) fetched.give({ offset, bytes });
    }
  }

  /** Donors of the version's size, those that have most first. */
  #donors(ids: readonly number[], { size }: FileVersion): DonorBytes[] {
    return ids.map((id) => this.#donor(id))
      .filter(({ list }) => list.size === size && list.count > 0)
      .sort((a, b) => b.list.frontier - a.list.frontier);
  }

  #donor(id: number): DonorBytes {
    const { manifests, describe, store, extents } = this.#options;
    const version = describe(id);
    const size = version?.size ?? 0;
    const none = ChunkList.empty(size, manifests.hashBytes);
    return new DonorBytes(id, manifests.list(id) ?? none, { store, extents, version });
  }

  /** Stores a derived list, unless the version has become another matter meanwhile. */
  #commit(version: FileVersion, { list, donors, stored }: Derived): void {
    const { manifests, cacheIndex, extents, ingest, log } = this.#options;
    if (this.#isTaken(version)) return;
    const { pinned } = ingest;
    try {
      keepLonger({ cacheIndex, pinned }, version, { list, first: 0, end: stored });
      failpoint("delta.before_commit");
      manifests.derive(version, list, {
        donors,
        also: () => {
          if (pinned.has(version.id)) cacheIndex.raise(chunksOf(list), SEGMENT.pinned);
          if (list.whole) extents.forget(version);
          cacheIndex.flush();
        },
      });
      failpoint("delta.after_commit");
      if (list.whole) extents.drop(version);
    } catch (error) {
      if (!(error instanceof MusicfsError)) throw error;
      log.debug("A derived chunk list was not kept", { path: version.sources[0].path, error });
      return;
    }
    this.counters.derived += 1;
  }

  /** Whether the version is gone, or something of it came here in another way. */
  #isTaken(version: FileVersion): boolean {
    const { describe } = this.#options;
    return this.#closed || describe(version.id) === undefined || !this.#isBare(version);
  }

  /** What no chunk holds of what was fetched is kept, so that it need not be fetched again. */
  #keepFetched(version: FileVersion, fetched: FetchedBytes): void {
    for (const { offset, bytes } of fetched.joined()) {
      this.#options.keep(version, offset, bytes);
    }
  }

  #settle(id: number): void {
    if (this.#settled.size >= SETTLED_MAX) this.#settled.clear();
    this.#settled.add(id);
    this.#headless.delete(id);
    this.#retryMs.delete(id);
  }
}

/** What the steps of one settlement share. */
interface Work {
  candidates: Candidates;
  fetched: FetchedBytes;
  stop: AbortController;
}

function* chunksOf(list: ChunkList): Iterable<{ kind: "chunk"; id: Uint8Array }> {
  for (let i = 0; i < list.count; i += 1) yield { kind: "chunk", id: list.hash(i) };
}

function late(version: FileVersion): MusicfsError {
  const { path } = version.sources[0];
  const message = `Cannot tell in time what "${path}" has in common with other files`;
  return new MusicfsError("timed_out", message, { op: "reader.settle", subject: path });
}

function stopping(): MusicfsError {
  return new MusicfsError("unavailable", "Nothing is settled any more: musicfs is stopping", {
    op: "reader.settle",
    subject: "delta",
  });
}
