/** Fetching whole files before anybody reads them: what `warm`, `pin` and their daemon share. */

import { setImmediate } from "node:timers/promises";
import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Entry } from "../library/entry.ts";
import { nodeIdOf } from "../library/node_id.ts";
import type { FileVersion } from "../store/file_version.ts";
import { marginBytes, SEGMENT } from "../store/lru_eviction.ts";
import type { Cache } from "./cache.ts";
import { FAILURES_MAX, type WarmProgress, type WarmResult } from "./cache_commands.ts";
import type { Config } from "./config.ts";
import { filesBelow } from "./library_paths.ts";
import { outermost } from "./pins.ts";

/** Files that are fetched at once: enough for one to go on while another one ends. */
const FILES_AT_ONCE = 3;

/** Progress is told no oftener than this, in ms. */
const PROGRESS_MS_MIN = 100;

/** Files in a row that no origin answers for or no disk takes, after which no more are tried. */
const IN_VAIN_MAX = 3;

/** Mean length of a chunk, and what a file of the disk wastes at its end on average, in bytes. */
const CHUNK_BYTES = 64 * 1024;
const CHUNK_WASTE_BYTES = 2 * 1024;

/** What a track takes beside its chunks: its manifest, and records in the index. */
const TRACK_BYTES = 8 * 1024;

/** What is needed of a `FileReader`. */
export interface WarmReader {
  /**
   * Fetches all of a version that is missing and keeps it; the bytes that were fetched. Throws what
   * no origin could help, `full`, and the signal's reason.
   */
  bringAll(
    version: FileVersion,
    options: { signal: AbortSignal; onProgress?: (bytesSoFar: number) => void },
  ): Promise<number>;
}

/** What is needed of a cache. */
export type WarmCache =
  & Pick<Cache, "namespace" | "library" | "manifests" | "extents" | "cacheIndex" | "space">
  & { readonly config: Pick<Config, "cache" | "cacheDir" | "pollIntervalMs"> };

/** Where files are fetched to. */
export interface WarmParts {
  cache: WarmCache;
  reader: WarmReader;
  clock: Clock;
  signal: AbortSignal;
}

/** Files, and what they take. */
export interface Measured {
  files: number;
  bytes: number;
  /** On disk once all of it is cached, estimated from above. */
  diskBytes: number;
}

/** What a file of this length takes on disk as chunks. */
export function cachedBytesOf(size: number): number {
  return size + Math.ceil(size / CHUNK_BYTES) * CHUNK_WASTE_BYTES + TRACK_BYTES;
}

/** What chunks and extents may take together, of all that the limit counts. */
export function roomBytes({ space, cacheIndex }: WarmCache): number {
  const { chunkDiskBytes, extentDiskBytes } = cacheIndex.totals();
  const besideBytes = Math.max(0, space.usedBytes() - chunkDiskBytes - extentDiskBytes);
  return space.limitBytes - marginBytes(space.limitBytes) - besideBytes;
}

/** Adds up what lies below `roots`; lists what nobody has listed if there is an `unlisted`. */
export async function measure(
  cache: WarmCache,
  roots: Iterable<Entry>,
  options: {
    signal: AbortSignal;
    unlisted?: (folder: Entry, error: MusicfsError) => void;
  },
): Promise<Measured> {
  const sum: Measured = { files: 0, bytes: 0, diskBytes: 0 };
  for await (const page of filesBelow(cache, roots, options)) {
    for (const { size } of page) {
      sum.files += 1;
      sum.bytes += size;
      sum.diskBytes += cachedBytesOf(size);
    }
  }
  return sum;
}

/** The version of a file as it is now; undefined if it is gone meanwhile. */
export function currentVersion({ namespace }: WarmCache, { id }: Entry): FileVersion | undefined {
  const entry = namespace.entry(id);
  return entry?.kind === "file" ? namespace.version(nodeIdOf(id, entry.sequence)) : undefined;
}

/** The versions of all files below paths of the tree, with a turn for everybody else at each. */
export async function* versionsBelow(
  cache: WarmCache,
  paths: Iterable<string>,
  signal: AbortSignal,
): AsyncGenerator<FileVersion, void, void> {
  for (const path of outermost(paths)) {
    const entry = cache.namespace.find(path);
    if (!entry) continue;
    for await (const page of filesBelow(cache, [entry], { signal })) {
      for (const file of page) {
        const version = currentVersion(cache, file);
        if (version) yield version;
        await setImmediate();
      }
    }
  }
}

/** Bytes of a version that are not on this disk. */
export function missingBytes(cache: WarmCache, version: FileVersion): number {
  const { manifests, extents, cacheIndex } = cache;
  const list = manifests.listOf(version);
  let missing = 0;
  for (let i = 0; i < list.count; i += 1) {
    if (!cacheIndex.find("chunk", list.hash(i))) missing += list.length(i);
  }
  const rest = { offset: list.frontier, length: version.size - list.frontier };
  if (rest.length <= 0) return missing;
  return extents.missing(version, rest).reduce((sum, { length }) => sum + length, missing);
}

/** Whether all chunks of a version that is whole are pinned. */
export function isPinned({ manifests, cacheIndex }: WarmCache, version: FileVersion): boolean {
  const list = manifests.listOf(version);
  for (let i = 0; i < list.count; i += 1) {
    if (cacheIndex.find("chunk", list.hash(i))?.segment !== SEGMENT.pinned) return false;
  }
  return list.whole;
}

/**
 * Puts what was fetched on purpose before what was read by chance: otherwise the first files of a
 * long list would be evicted for its last ones while older music stays.
 */
export function protect({ manifests, cacheIndex }: WarmCache, version: FileVersion): void {
  const list = manifests.listOf(version);
  const chunks = Array.from({ length: list.count }, (_, i) => ({
    kind: "chunk" as const,
    id: list.hash(i),
  }));
  const low = chunks.filter(({ kind, id }) => {
    const item = cacheIndex.find(kind, id);
    return item !== undefined && item.segment < SEGMENT.protected;
  });
  if (low.length > 0) cacheIndex.raise(low, SEGMENT.protected);
}

/** Fetches files, some at a time, and counts what became of them. */
export class WarmRun {
  readonly #parts: WarmParts;
  readonly #total: Measured;
  readonly #onProgress: ((progress: WarmProgress) => void) | undefined;
  readonly #beganMs: number;
  #toldMs = -Infinity;
  #doneFiles = 0;
  #doneBytes = 0;
  #fetchedBytes = 0;
  #failed = 0;
  readonly #failures: WarmResult["failures"] = [];
  /** Why the files that are left are not asked for. */
  #hopeless: MusicfsError | undefined;
  #inVain = 0;
  #bug: unknown;

  constructor(
    parts: WarmParts,
    options: { total: Measured; onProgress?: ((progress: WarmProgress) => void) | undefined },
  ) {
    this.#parts = parts;
    this.#total = options.total;
    this.#onProgress = options.onProgress;
    this.#beganMs = parts.clock.monotonic();
  }

  /** Notes a folder or file that cannot be fetched as a whole. */
  fail(path: string, error: MusicfsError): void {
    this.#failed += 1;
    if (this.#failures.length < FAILURES_MAX) this.#failures.push({ path, error: error.message });
  }

  /**
   * Fetches all files below `roots`; `kept` is told of each that is whole, and must not throw.
   * Throws the signal's reason, after what was under way has ended.
   */
  async fetch(roots: Iterable<Entry>, kept: (version: FileVersion) => void): Promise<void> {
    const { cache, signal } = this.#parts;
    const running = new Set<Promise<void>>();
    try {
      for await (const page of filesBelow(cache, roots, { signal })) {
        for (const entry of page) {
          while (running.size >= FILES_AT_ONCE) await Promise.race(running);
          if (signal.aborted || this.#bug !== undefined) break;
          const task = this.#one(entry, kept).finally(() => running.delete(task));
          running.add(task);
        }
      }
    } finally {
      await Promise.all(running);
    }
    signal.throwIfAborted();
    if (this.#bug !== undefined) throw this.#bug;
    this.#tell(true);
  }

  result(): WarmResult {
    return {
      files: this.#total.files,
      bytes: this.#total.bytes,
      fetched_bytes: this.#fetchedBytes,
      failed: this.#failed,
      failures: [...this.#failures],
      seconds: (this.#parts.clock.monotonic() - this.#beganMs) / 1000,
    };
  }

  /** Never throws: what is no failure of an origin ends the run. */
  async #one(entry: Entry, kept: (version: FileVersion) => void): Promise<void> {
    const { cache, signal } = this.#parts;
    let version = currentVersion(cache, entry);
    try {
      // A turn for everybody else: of what is here already, there may be thousands in a row.
      await setImmediate();
      if (version && !await this.#bring(version)) {
        await cache.library.refresh(entry.id, { signal });
        version = currentVersion(cache, entry);
        if (version && !await this.#bring(version)) throw restless(version);
      }
      if (version) kept(version);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof MusicfsError)) {
        this.#bug ??= error;
        return;
      }
      this.fail(version?.sources[0].path ?? entry.name, error);
      this.#judge(error);
    }
    this.#doneFiles += 1;
    this.#doneBytes += entry.size;
    this.#tell();
  }

  /** Fetches what is missing; false if the origin has another version by now. */
  async #bring(version: FileVersion): Promise<boolean> {
    const { cache, reader, signal } = this.#parts;
    const missing = missingBytes(cache, version);
    if (missing === 0 && cache.manifests.listOf(version).whole) return true;
    if (missing > 0 && this.#hopeless) throw this.#hopeless;
    let told = 0;
    const tell = (bytesSoFar: number): void => {
      this.#fetchedBytes += bytesSoFar - told;
      told = bytesSoFar;
      this.#tell();
    };
    try {
      tell(await reader.bringAll(version, { signal, onProgress: tell }));
    } catch (error) {
      if (error instanceof MusicfsError && error.code === "changed") return false;
      throw error;
    }
    this.#inVain = 0;
    return true;
  }

  /** A dead origin takes `read_timeout` for each file, and a full disk room from each. */
  #judge(error: MusicfsError): void {
    if (error.retryable || error.code === "full") this.#inVain += 1;
    if (this.#inVain >= IN_VAIN_MAX) this.#hopeless ??= error;
  }

  #tell(isLast = false): void {
    const nowMs = this.#parts.clock.monotonic();
    if (!this.#onProgress || (!isLast && nowMs - this.#toldMs < PROGRESS_MS_MIN)) return;
    this.#toldMs = nowMs;
    this.#onProgress({
      done_files: this.#doneFiles,
      total_files: this.#total.files,
      done_bytes: this.#doneBytes,
      total_bytes: this.#total.bytes,
      fetched_bytes: this.#fetchedBytes,
    });
  }
}

function restless(version: FileVersion): MusicfsError {
  const { path } = version.sources[0];
  return new MusicfsError("changed", `Cannot fetch "${path}": it changes all the time`, {
    op: "warm.bring",
    subject: path,
  });
}
