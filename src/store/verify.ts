import { setImmediate } from "node:timers/promises";
import { CHUNK_BYTES_MAX } from "../chunking/chunk_sizes.ts";
import { type ChunkHash, sameHash } from "../chunking/chunk_hash.ts";
import { libc, O_NOFOLLOW, O_RDONLY, openFile, preadFully } from "../base/posix.ts";
import type { CacheIndex, CacheItem } from "./cache_index.ts";
import { entriesOf, FOLDER_NAMES, idOf, itemPath } from "./layout.ts";

/** Bytes checked between two turns of the event loop: 1 ms with xxh128. */
const TURN_BYTES = 4 * 1024 * 1024;

const ENOENT = 2;

/** A chunk that is not as it should be. */
export interface BadChunk {
  state: "corrupt" | "missing";
  hash: Uint8Array;
  /** Bytes that it must have; undefined if only its file is known. */
  length: number | undefined;
  /** A version whose chunk list names it; 0 if none is known. */
  owner: number;
}

/** How far the check is, and what it found. */
export interface VerifyReport {
  /** Chunks in the index at the start. */
  total: number;
  checked: number;
  bytes: number;
  /** Files whose bytes are not what their names say, or cannot be read. */
  corrupt: number;
  /** Chunks that the index knows and the disk has not. */
  missing: number;
  /** Corrupt and missing ones that are right again. */
  repaired: number;
}

/** What `verifyStore` checks, and what it does about it. */
export interface VerifyStoreOptions {
  cacheDir: string;
  /** Chunks named by another hash are passed over: nobody reads them any more. */
  hash: ChunkHash;
  cacheIndex: CacheIndex;
  /**
   * Fetches the chunk again and puts it into the store; false if that is not possible. What it did
   * is checked. Without it nothing is changed.
   */
  repair?: (chunk: BadChunk) => Promise<boolean>;
  /** Called for each bad chunk, before its repair. */
  onBad?: (chunk: BadChunk) => void;
  /** Called at every turn; the report goes on changing. */
  onProgress?: (report: Readonly<VerifyReport>) => void;
  signal: AbortSignal;
}

/**
 * Reads every chunk and compares it with its name. Safe beside a mount: chunks that come or go
 * meanwhile are not held against it.
 */
export async function verifyStore(options: VerifyStoreOptions): Promise<VerifyReport> {
  const verifier = new Verifier(options);
  for (const folder of FOLDER_NAMES) await verifier.checkFolder(folder);
  return verifier.report;
}

class Verifier {
  readonly report: VerifyReport;
  readonly #options: VerifyStoreOptions;
  readonly #buffer = new Uint8Array(CHUNK_BYTES_MAX + 1);
  /** By the last `#stateOf`, and since the last turn. */
  #readBytes = 0;
  #turnBytes = 0;

  constructor(options: VerifyStoreOptions) {
    this.#options = options;
    const total = options.cacheIndex.totals().chunks;
    this.report = { total, checked: 0, bytes: 0, corrupt: 0, missing: 0, repaired: 0 };
  }

  async checkFolder(folder: string): Promise<void> {
    const { cacheDir, cacheIndex, hash } = this.#options;
    const items = new Map<string, CacheItem>();
    for (const item of cacheIndex.inFolder("chunk", Number.parseInt(folder, 16))) {
      items.set(item.id.toHex(), item);
    }
    for (const { name } of entriesOf(`${cacheDir}/chunks/${folder}`)) {
      const id = idOf(name, folder);
      const item = items.get(name);
      items.delete(name);
      if (id?.length === hash.bytes) await this.#checkFile(id, item);
    }
    for (const item of items.values()) {
      if (item.id.length === hash.bytes) await this.#checkMissing(item);
    }
    await this.#takeTurn();
  }

  async #checkFile(hash: Uint8Array, item: CacheItem | undefined): Promise<void> {
    const state = this.#stateOf(hash);
    // Evicted since the folder was listed.
    if (state === "missing") return;
    this.report.checked += 1;
    this.report.bytes += this.#readBytes;
    this.#turnBytes += this.#readBytes;
    if (state === "corrupt") {
      this.report.corrupt += 1;
      await this.#handle({ state, hash, length: item?.contentBytes, owner: item?.owner ?? 0 });
    }
    if (this.#turnBytes >= TURN_BYTES) await this.#takeTurn();
  }

  async #checkMissing({ id, contentBytes, owner }: CacheItem): Promise<void> {
    // It may have been evicted, or have come, since the folder was listed.
    if (!this.#options.cacheIndex.find("chunk", id) || this.#stateOf(id) !== "missing") return;
    this.report.missing += 1;
    await this.#handle({ state: "missing", hash: id, length: contentBytes, owner });
  }

  async #handle(chunk: BadChunk): Promise<void> {
    const { repair, onBad, signal } = this.#options;
    onBad?.(chunk);
    if (!repair || !(await repair(chunk))) return;
    signal.throwIfAborted();
    if (this.#stateOf(chunk.hash) === "good") this.report.repaired += 1;
  }

  /** Reads the chunk's file. */
  #stateOf(id: Uint8Array): "good" | "corrupt" | "missing" {
    const { cacheDir, hash } = this.#options;
    this.#readBytes = 0;
    const descriptor = openFile(itemPath(cacheDir, { kind: "chunk", id }), O_RDONLY | O_NOFOLLOW);
    if (descriptor === -ENOENT) return "missing";
    if (descriptor < 0) return "corrupt";
    const read = preadFully(descriptor, this.#buffer, 0);
    libc.close(descriptor);
    this.#readBytes = Math.max(0, read);
    if (read <= 0 || read > CHUNK_BYTES_MAX) return "corrupt";
    return sameHash(hash.digest(this.#buffer.subarray(0, read)), id) ? "good" : "corrupt";
  }

  async #takeTurn(): Promise<void> {
    this.#turnBytes = 0;
    this.#options.onProgress?.(this.report);
    await setImmediate();
    this.#options.signal.throwIfAborted();
  }
}
