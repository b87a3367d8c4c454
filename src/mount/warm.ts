/** Fetching whole files before anybody reads them: what `warm`, `pin` and their daemon share. */

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
  if (chunks.length > 0) cacheIndex.raise(chunks, SEGMENT.protected);
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
    const { cache, reader, signal } = this.#parts;
    const version = currentVersion(cache, entry);
    const [path = ""] = version ? version.sources.map((source) => source.path) : [];
    let told = 0;
    try {
      if (version && missingBytes(cache, version) > 0) {
        if (this.#hopeless) throw this.#hopeless;
        const fetched = await reader.bringAll(version, {
          signal,
          onProgress: (bytesSoFar) => {
            this.#fetchedBytes += bytesSoFar - told;
            told = bytesSoFar;
            this.#tell();
          },
        });
        this.#fetchedBytes += fetched - told;
        this.#inVain = 0;
      }
      if (version) kept(version);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof MusicfsError)) {
        this.#bug ??= error;
        return;
      }
      this.fail(path, error);
      this.#judge(error);
    }
    this.#doneFiles += 1;
    this.#doneBytes += entry.size;
    this.#tell();
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
