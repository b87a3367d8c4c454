import { setImmediate } from "node:timers/promises";
import { MusicfsError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import type { Log } from "../base/log.ts";
import type { CdcChunker } from "../chunking/cdc_chunker.ts";
import type { ChunkHash } from "../chunking/chunk_hash.ts";
import type { ChunkList } from "../chunking/chunk_list.ts";
import type { ChunkRegion } from "../chunking/chunk_manifest.ts";
import { addChunk, type CutPlan, cuttable } from "../chunking/cut_plan.ts";
import type { CacheIndex } from "../store/cache_index.ts";
import type { CasStore } from "../store/cas_store.ts";
import type { FileVersion } from "../store/file_version.ts";
import type { Index } from "../store/index.ts";
import type { Manifests } from "../store/manifests.ts";
import type { CacheDisk } from "../store/passthrough.ts";
import type { Extents } from "./extents.ts";
import { keepLonger } from "./keep_longer.ts";
import { KnownLayouts } from "./known_layouts.ts";

/** What `Ingest` is made of. */
export interface IngestOptions {
  index: Index;
  cacheIndex: CacheIndex;
  manifests: Manifests;
  extents: Extents;
  store: CasStore;
  disk: CacheDisk;
  chunker: CdcChunker;
  /** Names chunks. */
  hash: ChunkHash;
  log: Log;
}

/** What was turned into chunks so far. */
export interface IngestStats {
  /** Bytes cut, hashed and stored (or found to be there already). */
  bytes: number;
  chunks: number;
  commits: number;
  /** Times it ended early: no room, the disk refused, or an extent was not what it should be. */
  stopped: number;
}

/**
 * Bytes that one turn of the event loop reads of an extent, and bytes that it stores: on an idle
 * disk 1 ms each. Beside three other writers each chunk took up to 10 ms to store, and a window in
 * one go 310 ms, which is what a read that missed then waited for.
 */
const READ_TURN_BYTES = 1024 * 1024;
const STORE_TURN_BYTES = 256 * 1024;

/**
 * Moves frontiers: turns the bytes of extents into chunks, in order, from each file's start, cut by
 * what is metadata and what is audio (`audio_layout.ts`).
 *
 * One window (4 MiB) at a time, in many turns of the event loop, and one file at a time: reads that
 * miss are answered meanwhile. Each window is one commit. A crash at any point costs the work of a
 * window: chunks come first, then the list that names them, and only then are the extent's blocks
 * freed.
 */
export class Ingest implements AsyncDisposable {
  /** Versions whose chunks are pinned as they are stored. */
  readonly pinned = new Set<number>();
  readonly #options: IngestOptions;
  readonly #layouts: KnownLayouts;
  readonly #waiting = new Map<number, FileVersion>();
  readonly #stats: IngestStats = { bytes: 0, chunks: 0, commits: 0, stopped: 0 };
  #running: Promise<void> | undefined;
  #closing = false;

  constructor(options: IngestOptions) {
    this.#options = options;
    this.#layouts = new KnownLayouts(options);
  }

  /** Sees to it that the version's frontier moves as far as it can, in the background. */
  kick(version: FileVersion): void {
    if (this.#closing || !this.#options.disk.writable || !this.#isReady(version)) return;
    this.#waiting.set(version.id, version);
    this.#running ??= this.#run();
  }

  /** Resolves when nothing is left to do. */
  async idle(): Promise<void> {
    while (this.#running) await this.#running;
  }

  stats(): Readonly<IngestStats> {
    return { ...this.#stats };
  }

  /** Ends after the window that is being worked on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true;
    this.#waiting.clear();
    await this.idle();
  }

  async #run(): Promise<void> {
    try {
      for (const [id, version] of this.#waiting) {
        this.#waiting.delete(id);
        await setImmediate();
        while (!this.#closing && await this.#step(version)) await setImmediate();
      }
    } finally {
      this.#running = undefined;
    }
  }

  /** Works on one window; whether there may be more to do. */
  async #step(version: FileVersion): Promise<boolean> {
    try {
      return await this.#ingestWindow(version);
    } catch (error) {
      this.#stats.stopped += 1;
      const fields = { path: version.sources[0].path, error };
      if (error instanceof MusicfsError) {
        this.#options.log.debug("Track was not turned into chunks to its end", fields);
      } else {
        this.#options.log.error("Turning a track into chunks failed", fields);
      }
      return false;
    }
  }

  /** Whether the next chunk of the version is sure to be in its extent as a whole. */
  #isReady(version: FileVersion): boolean {
    const { frontier } = this.#options.manifests.listOf(version);
    if (frontier >= version.size) return false;
    const limit = frontier + this.#options.chunker.sizes.max;
    const end = this.#options.extents.contiguousEnd(version, frontier, { limit });
    return end === version.size || end >= limit;
  }

  async #ingestWindow(version: FileVersion): Promise<boolean> {
    const { chunker, extents, manifests, cacheIndex } = this.#options;
    const list = manifests.listOf(version);
    const { frontier } = list;
    if (frontier >= version.size) return false;
    const plan = this.#layouts.planOf(version, list);
    const known = plan.regions.at(-1)?.end ?? 0;
    const limit = Math.min(frontier + chunker.window.length, known);
    const end = extents.contiguousEnd(version, frontier, { limit });
    if (!cuttable(plan, { offset: frontier, end, max: chunker.sizes.max })) return false;
    if (!await this.#fillWindow(version, frontier, end - frontier)) {
      this.#stats.stopped += 1;
      return false;
    }
    const regions = await this.#store(plan, frontier, end);
    const longer = regions.reduce(
      (before, { kind, chunks }) => before.append(chunks, { kind }),
      list,
    );
    // Meanwhile the version may have been forgotten, with all that is cached of it.
    if (manifests.listOf(version).frontier !== frontier) return false;
    const stored = { list: longer, first: list.count, end: longer.count };
    keepLonger({ cacheIndex, pinned: this.pinned }, version, stored);
    this.#commit(version, longer);
    if (longer.whole) this.#layouts.forget(version);
    return !longer.whole;
  }

  /** Reads the extent's bytes from `offset` on into the window; false if they are not all there. */
  async #fillWindow(version: FileVersion, offset: number, length: number): Promise<boolean> {
    const { chunker: { window }, extents } = this.#options;
    for (let at = 0; at < length;) {
      const end = Math.min(length, at + READ_TURN_BYTES);
      if (!extents.read(version, offset + at, window.subarray(at, end))) return false;
      at = end;
      await setImmediate();
    }
    return true;
  }

  /** Cuts and stores what is certain of the window, which holds the file's bytes `[offset, end)`. */
  async #store(plan: CutPlan, offset: number, end: number): Promise<ChunkRegion[]> {
    const { chunker, hash, store } = this.#options;
    const { max } = chunker.sizes;
    const regions: ChunkRegion[] = [];
    let at = 0;
    let turnEnd = STORE_TURN_BYTES;
    for (;;) {
      const piece = cuttable(plan, { offset: offset + at, end, max });
      if (!piece) break;
      const length = chunker.cut(at, piece.length);
      const bytes = chunker.window.subarray(at, at + length);
      const name = hash.digest(bytes);
      store.put(name, bytes);
      failpoint("ingest.after_put");
      addChunk(regions, piece.kind, { hash: name, length });
      this.#stats.chunks += 1;
      at += length;
      if (at < turnEnd) continue;
      turnEnd = at + STORE_TURN_BYTES;
      await setImmediate();
    }
    this.#stats.bytes += at;
    return regions;
  }

  #commit(version: FileVersion, list: ChunkList): void {
    const { index, cacheIndex, manifests, extents } = this.#options;
    failpoint("ingest.before_commit");
    if (list.whole) {
      manifests.complete(version, list, () => {
        extents.forget(version);
        cacheIndex.flush();
      });
    } else {
      index.transaction(() => {
        manifests.put(version, list);
        cacheIndex.flush();
      });
    }
    this.#stats.commits += 1;
    failpoint("ingest.after_commit");
    if (list.whole) extents.drop(version);
    else extents.free(version, list.frontier);
    failpoint("ingest.after_free");
    manifests.prune();
  }
}
