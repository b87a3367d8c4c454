/** `musicfs index`: walks an origin, cuts what is new, and publishes names and chunk lists in it. */

import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { CdcChunker } from "../chunking/cdc_chunker.ts";
import { type ChunkHash, openChunkHash } from "../chunking/chunk_hash.ts";
import type { ChunkPart, NamedFolder } from "../library/published_columns.ts";
import { NAMES_PATH, partPath, PUBLISHED_FOLDER } from "../library/published_format.ts";
import { PublishedIndex } from "../library/published_index.ts";
import { type ScannedFolder, walkOrigin } from "../library/scan_origin.ts";
import type { FolderWriter } from "../origins/folder_writer.ts";
import type { Origin, OriginEntry } from "../origins/origin.ts";
import { FAILURES_MAX } from "./cache_commands.ts";
import { type FileList, IndexDraft } from "./index_draft.ts";
import { cutWithMd5, hasChunks } from "./index_file.ts";
import { type ChangeCounts, type IndexPlan, type IndexWork, planIndex } from "./index_plan.ts";

/** Files that are cut at once: while one is hashed the next one is read. */
const FILES_AT_ONCE = 2;

/** How often what is done so far is published, in ms: what a crash costs. */
const PUBLISH_MS = 5 * 60_000;

/** Files in a row that the origin does not answer for, after which no more are tried. */
const IN_VAIN_MAX = 5;

/** How long a file that changed is left alone before it is read again, in ms. */
const CHANGED_WAIT_MS = 1_000;

/** What no index refers to is removed once it is this old: another run may be at work. */
const LEFT_MS_MIN = 24 * 60 * 60_000;

/** A part, or what a write that broke off left. */
const OURS = /^(chunks-[0-9a-f]{32}|.*\.[0-9a-f]{8}\.tmp)$/;

/** What an index is made with. */
export interface IndexBuildOptions {
  /** Safe to be called often: it retries, and limits the time of calls. */
  origin: Origin;
  kind: "local" | "s3";
  writer: FolderWriter;
  chunker: CdcChunker;
  hash: ChunkHash;
  /** Names of files and folders that are left out. */
  exclude: readonly string[];
  clock: Clock;
  log: Log;
  /** Ends the work early: what is cut by then is published. */
  signal: AbortSignal;
  onProgress?: ((progress: IndexProgress) => void) | undefined;
}

/** How far it is. */
export interface IndexProgress {
  /** Files that were found. */
  files: number;
  /** Of those that are to be read; totals are 0 while files are being found. */
  done_files: number;
  total_files: number;
  done_bytes: number;
  total_bytes: number;
}

/** What `musicfs index` did; `--json` prints it. */
export interface IndexResult extends ChangeCounts {
  files: number;
  folders: number;
  /** Of all files. */
  bytes: number;
  /** Bytes that were read of files. */
  read_bytes: number;
  /** Files of which the index has chunks. */
  indexed: number;
  /** Files and folders that could not be read, or kept changing. */
  failed: number;
  /** At most {@linkcode FAILURES_MAX} of them, each with the reason. */
  failures: { path: string; error: string }[];
  /** Bytes of the names, and of the chunk lists that were written. */
  names_bytes: number;
  lists_bytes: number;
  /** Whether it was ended early; the next run goes on from there. */
  interrupted: boolean;
  seconds: number;
}

/**
 * Makes the index of an origin anew, reading only what the earlier one does not know.
 *
 * Throws what walking and writing throw, `not_found` if there is no file at all, and the signal's
 * reason if it comes before all names are known; then nothing has changed.
 */
export async function buildIndex(options: IndexBuildOptions): Promise<IndexResult> {
  return await new IndexBuild(options, await openChunkHash("xxh128")).run();
}

class IndexBuild {
  readonly #options: IndexBuildOptions;
  readonly #xxh128: ChunkHash;
  readonly #progress: IndexProgress = {
    files: 0,
    done_files: 0,
    total_files: 0,
    done_bytes: 0,
    total_bytes: 0,
  };
  readonly #walked = { files: 0, folders: 0, bytes: 0 };
  readonly #failures: { path: string; error: string }[] = [];
  #failed = 0;
  #readBytes = 0;
  #inVain = 0;

  constructor(options: IndexBuildOptions, xxh128: ChunkHash) {
    this.#options = options;
    this.#xxh128 = xxh128;
  }

  async run(): Promise<IndexResult> {
    const { clock, writer, signal, hash, kind } = this.#options;
    const began = clock.monotonic();
    // Before the walk, which then sees the root's time as it will stay.
    await writer.makeFolder(PUBLISHED_FOLDER);
    const earlier = await this.#earlier();
    const scanned = await this.#walk();
    const lying = await this.#lying();
    const usable = new Set<number>();
    for (const [number, { id, bytes }] of earlier?.parts.entries() ?? []) {
      if (lying.get(partPath(id))?.size === bytes) usable.add(number);
    }
    const isBucket = kind === "s3";
    const plan = await planIndex(scanned, { earlier, usable, isBucket });
    const parts = plan.keepsParts ? earlier?.parts ?? [] : [];
    const madeOf = isBucket ? "bucket" : "ns";
    const draft = new IndexDraft(plan.folders, parts, {
      writer,
      hash,
      xxh128: this.#xxh128,
      madeOf,
    });
    await this.#work(plan, { draft, earlier });
    // Also after the signal: what was done is kept.
    const published = await draft.publish();
    await this.#clean(lying, { earlier: earlier?.parts ?? [], now: published.parts });
    return {
      ...this.#walked,
      ...plan.counts,
      read_bytes: this.#readBytes,
      indexed: indexedOf(plan.folders),
      failed: this.#failed,
      failures: this.#failures,
      names_bytes: published.bytes,
      lists_bytes: draft.listBytes,
      interrupted: signal.aborted,
      seconds: (clock.monotonic() - began) / 1000,
    };
  }

  async #earlier(): Promise<PublishedIndex | undefined> {
    const { origin, kind, signal, log, hash } = this.#options;
    const earlier = await PublishedIndex.open(origin, { kind, signal, log });
    return earlier?.hash === hash.name ? earlier : undefined;
  }

  /** All names. A folder that may not be listed is left out, and not said to be empty. */
  async #walk(): Promise<ScannedFolder[]> {
    const { origin, exclude, signal } = this.#options;
    const hidden = new Set([...exclude, PUBLISHED_FOLDER]);
    const lost = new Set<string>();
    const onError = (folder: string, error: unknown): void => {
      if (!(error instanceof MusicfsError) || error.retryable) throw error;
      this.#note(folder, error);
      lost.add(folder);
    };
    const folders: ScannedFolder[] = [];
    for await (const folder of walkOrigin(origin, { signal, hidden, onError })) {
      folders.push(folder);
      const files = folder.entries.filter(({ kind }) => kind === "file");
      this.#walked.files += files.length;
      this.#walked.folders += 1;
      for (const { size } of files) this.#walked.bytes += size;
      this.#progress.files = this.#walked.files;
      this.#tell();
    }
    if (this.#walked.files === 0) {
      const { name } = origin;
      throw new MusicfsError(
        "not_found",
        `Cannot index ${name}: there is no file in it. Is its disk mounted?`,
        { op: "index.walk", subject: name },
      );
    }
    if (lost.size === 0) return folders;
    return folders.map((folder) => ({
      ...folder,
      entries: folder.entries.filter(({ path }) => !lost.has(path)),
    }));
  }

  /** What lies beside the earlier index, by path. */
  async #lying(): Promise<Map<string, OriginEntry>> {
    const { origin, signal } = this.#options;
    const lying = new Map<string, OriginEntry>();
    try {
      for await (const entry of origin.list(PUBLISHED_FOLDER, { signal })) {
        lying.set(entry.path, entry);
      }
    } catch (error) {
      // A bucket has no folder before its first file.
      if (!(error instanceof MusicfsError) || error.code !== "not_found") throw error;
    }
    return lying;
  }

  /** Does all the work, or what is done before the signal. */
  async #work(
    { work }: IndexPlan,
    { draft, earlier }: { draft: IndexDraft; earlier: PublishedIndex | undefined },
  ): Promise<void> {
    const { clock, signal } = this.#options;
    for (const { file } of work) this.#progress.total_bytes += file.size;
    this.#progress.total_files = work.length;
    let next = 0;
    let publishedMs = clock.monotonic();
    const workers = Array.from({ length: FILES_AT_ONCE }, async () => {
      for (let item = work[next++]; item && !signal.aborted; item = work[next++]) {
        const list = await this.#listOf(item, earlier);
        if (list) await draft.add(list);
        if (clock.monotonic() - publishedMs < PUBLISH_MS) continue;
        publishedMs = clock.monotonic();
        await draft.publish();
      }
    });
    try {
      await Promise.all(workers);
    } catch (error) {
      next = work.length;
      await Promise.allSettled(workers);
      throw error;
    }
  }

  /** A file's list. One that cannot be read, or keeps changing, is named without one. */
  async #listOf(
    item: IndexWork,
    earlier: PublishedIndex | undefined,
  ): Promise<FileList | undefined> {
    const { signal } = this.#options;
    let counted = 0;
    const onBytes = (bytes: number): void => {
      counted += bytes;
      this.#readBytes += bytes;
      this.#progress.done_bytes += bytes;
      this.#tell();
    };
    try {
      const list = await this.#reused(item, { earlier, onBytes }) ?? await this.#cut(item, onBytes);
      this.#inVain = 0;
      return list;
    } catch (error) {
      if (signal.aborted) return undefined;
      if (!(error instanceof MusicfsError)) throw error;
      this.#inVain = error.retryable ? this.#inVain + 1 : 0;
      if (this.#inVain >= IN_VAIN_MAX) throw error;
      this.#note(item.file.path, error);
      return undefined;
    } finally {
      this.#progress.done_files += 1;
      this.#progress.done_bytes += Math.max(0, item.file.size - counted);
      this.#tell();
    }
  }

  /** The list of an earlier index, if there is one and it is proven to be right. */
  async #reused(
    { entry, file, earlier: known, isMoved }: IndexWork,
    { earlier, onBytes }: {
      earlier: PublishedIndex | undefined;
      onBytes: (bytes: number) => void;
    },
  ): Promise<FileList | undefined> {
    const { origin, hash, signal } = this.#options;
    const record = known && await earlier?.record(known, { signal });
    if (!record || !known?.md5) return undefined;
    const { regions } = record;
    const isRight = !isMoved || await hasChunks(origin, file, { regions, hash, signal, onBytes });
    return isRight ? { entry, md5: known.md5, regions } : undefined;
  }

  /** Reads all of a file; once more if it was changed meanwhile. */
  async #cut({ entry, file }: IndexWork, onBytes: (bytes: number) => void): Promise<FileList> {
    const { origin, chunker, hash, kind, clock, signal } = this.#options;
    for (let now = file, isAgain = false;; isAgain = true) {
      try {
        const cut = await cutWithMd5(origin, now, { chunker, hash, signal, onBytes });
        return { entry, ...cut };
      } catch (error) {
        const isChanged = error instanceof MusicfsError && error.code === "changed";
        if (!isChanged || isAgain || signal.aborted) throw error;
        // Whoever writes it may be at it still.
        await clock.sleep(CHANGED_WAIT_MS, signal);
        now = await origin.stat(file.path, { signal });
        if (now.kind !== "file") throw error;
        Object.assign(entry, { size: now.size, mtimeNs: now.mtimeNs });
        if (kind === "s3") entry.etag = now.version;
      }
    }
  }

  /** Removes what the new index does not refer to, unless another run may be about to. */
  async #clean(
    lying: ReadonlyMap<string, OriginEntry>,
    parts: { earlier: readonly ChunkPart[]; now: readonly ChunkPart[] },
  ): Promise<void> {
    const { clock, writer, log } = this.#options;
    const now = new Set([NAMES_PATH, ...parts.now.map(({ id }) => partPath(id))]);
    const replaced = new Set(parts.earlier.map(({ id }) => partPath(id)));
    for (const { path, kind, mtimeNs } of lying.values()) {
      const name = path.slice(PUBLISHED_FOLDER.length + 1);
      const isOld = clock.now() - Number(mtimeNs / 1_000_000n) > LEFT_MS_MIN;
      if (kind !== "file" || now.has(path) || !OURS.test(name)) continue;
      if (!replaced.has(path) && !isOld) continue;
      try {
        await writer.remove(path);
      } catch (error) {
        log.warning("Could not remove what an earlier index left", { path, error });
      }
    }
  }

  #note(path: string, error: MusicfsError): void {
    this.#failed += 1;
    if (this.#failures.length >= FAILURES_MAX) return;
    this.#failures.push({ path, error: error.message });
  }

  #tell(): void {
    this.#options.onProgress?.(this.#progress);
  }
}

function indexedOf(folders: readonly NamedFolder[]): number {
  let indexed = 0;
  for (const { entries } of folders) {
    for (const { kind, size, list, md5 } of entries) {
      if (kind === "file" && (list !== undefined || (size === 0 && md5 !== undefined))) {
        indexed += 1;
      }
    }
  }
  return indexed;
}
