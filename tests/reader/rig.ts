import { Buffer } from "node:buffer";
import assert from "node:assert/strict";
import { silentLog } from "../../src/base/log.ts";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { CdcChunker } from "../../src/chunking/cdc_chunker.ts";
import { openChunkHash } from "../../src/chunking/chunk_hash.ts";
import { openXxh64 } from "../../src/chunking/xxh64.ts";
import { ContentFetcher } from "../../src/fetch/content_fetcher.ts";
import type { Origin, OriginFile } from "../../src/origins/origin.ts";
import { CachedReader } from "../../src/reader/cached_reader.ts";
import type { DeltaSources } from "../../src/reader/donor_search.ts";
import { Extents } from "../../src/reader/extents.ts";
import { FileReader } from "../../src/reader/file_reader.ts";
import { Ingest } from "../../src/reader/ingest.ts";
import type { FilesAfter } from "../../src/reader/scan_ahead.ts";
import { CacheIndex } from "../../src/store/cache_index.ts";
import type { CasStore } from "../../src/store/cas_store.ts";
import { DiskCasStore } from "../../src/store/disk_cas_store.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import type { Index } from "../../src/store/index.ts";
import { entriesOf } from "../../src/store/layout.ts";
import { Manifests } from "../../src/store/manifests.ts";
import { CacheDisk } from "../../src/store/passthrough.ts";
import { Space } from "../../src/store/space.ts";
import { guardedOrigins } from "../support/guarded_origins.ts";
import { MemoryIndex } from "../support/memory_index.ts";

export const MiB = 1024 * 1024;
export const KiB = 1024;

const xxh128 = await openChunkHash("xxh128");
const xxh64 = await openXxh64();

/** What differs from the plain rig. */
export interface RigOptions {
  origins?: readonly Origin[];
  /** One that outlives the rig: what a restart finds. */
  index?: Index;
  limitBytes?: number;
  readTimeoutMs?: number;
  clock?: Clock;
  keeps?: boolean;
  nextTrack?: (version: FileVersion) => FileVersion | undefined;
  /** The files that a scan comes to. */
  filesAfter?: FilesAfter;
  /** What `FileReader` is told of other versions. */
  delta?: DeltaSources;
  /** Puts a store of its own in front of the one on the disk. */
  wrapStore?: (store: CasStore, disk: CacheDisk) => CasStore;
}

/** Everything that turns a version and a range into bytes, on a real folder. */
export class Rig implements AsyncDisposable {
  readonly index: Index;
  readonly cacheIndex: CacheIndex;
  readonly space: Space;
  readonly disk: CacheDisk;
  readonly store: DiskCasStore;
  readonly manifests: Manifests;
  readonly extents: Extents;
  readonly ingest: Ingest;
  readonly fetcher: ContentFetcher;
  readonly reader: FileReader;
  readonly versions = new Map<number, FileVersion>();

  constructor(readonly cacheDir: string, options: RigOptions = {}) {
    const { clock = systemClock, limitBytes = 1024 * MiB, readTimeoutMs = 1_000 } = options;
    const log = silentLog;
    const index = options.index ?? new MemoryIndex();
    const cacheIndex = new CacheIndex(index, clock);
    const space = new Space({ cacheDir, index, cacheIndex, clock, log, limitBytes });
    const disk = new CacheDisk({ cacheDir, clock, log });
    const store = new DiskCasStore({ cacheDir, hash: xxh128, cacheIndex, space, disk });
    const wrapped = options.wrapStore?.(store, disk) ?? store;
    const manifests = new Manifests({
      index,
      cacheIndex,
      disk,
      space,
      store: wrapped,
      cacheDir,
      hash: xxh128,
      keyHash: xxh128,
      log,
    });
    const keyOf = (version: FileVersion): string => manifests.keyOf(version);
    const extents = new Extents({ cacheDir, cacheIndex, disk, space, keyOf, xxh64, log });
    const chunker = new CdcChunker();
    const parts = { index, cacheIndex, manifests, extents, store: wrapped, disk, log };
    const ingest = new Ingest({ ...parts, chunker, hash: xxh128 });
    const guarded = guardedOrigins(options.origins ?? [], clock);
    const fetcher = new ContentFetcher({
      ...guarded,
      clock,
      log,
      readTimeoutMs,
      random: () => 0.5,
    });
    const describe = (id: number): FileVersion | undefined => this.versions.get(id);
    const digest = xxh128.digest;
    this.index = index;
    this.cacheIndex = cacheIndex;
    this.space = space;
    this.disk = disk;
    this.store = store;
    this.manifests = manifests;
    this.extents = extents;
    this.ingest = ingest;
    this.fetcher = fetcher;
    const { keeps, nextTrack, filesAfter } = options;
    this.reader = new FileReader({
      ...parts,
      ...options.delta,
      ...{ fetcher, ingest, digest, describe, keeps, nextTrack, filesAfter, clock },
    });
  }

  /** A reader as the FUSE worker has one. */
  cachedReader(clock = systemClock): CachedReader {
    return new CachedReader({
      index: this.index,
      cacheDir: this.cacheDir,
      hash: xxh128,
      xxh64,
      clock,
      keyOf: (version) => this.manifests.keyOf(version),
      describe: (id) => this.versions.get(id),
    });
  }

  /** Makes a file at an origin known, under `id`. */
  know(id: number, origin: string, file: OriginFile, mtimeNs = 0n): FileVersion {
    const source = { origin, path: file.path, version: file.version };
    const version: FileVersion = { id, size: file.size, mtimeNs, sources: [source] };
    this.versions.set(id, version);
    return version;
  }

  read(
    version: FileVersion,
    offset: number,
    length: number,
    handle = 0,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const signal = new AbortController().signal;
    return this.reader.read(version, { offset, length }, { signal, handle });
  }

  /** Reads the file from its start to its end, and waits until it was turned into chunks. */
  async readThrough(version: FileVersion, step = 256 * KiB): Promise<Uint8Array<ArrayBuffer>> {
    const all = new Uint8Array(version.size);
    for (let offset = 0; offset < version.size; offset += step) {
      all.set(await this.read(version, offset, step), offset);
    }
    await this.reader.idle();
    return all;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.fetcher[Symbol.asyncDispose]();
    await this.reader.close();
  }
}

/** Bytes that do not repeat: xorshift32 from `seed`. */
export function noise(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = seed * 0x9e3779b9 >>> 0 || 1;
  for (let i = 0; i < words.length; i += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer, 0, length);
}

/** As `deepEqual`, but quick for megabytes, and with the first difference in the message. */
export function assertSameBytes(found: Uint8Array, expected: Uint8Array, what = "bytes"): void {
  assert.equal(found.length, expected.length, `${what}: length`);
  if (Buffer.compare(found, expected) === 0) return;
  const at = found.findIndex((byte, i) => byte !== expected[i]);
  assert.fail(`${what} differ at ${at}`);
}

/** Bytes that a file takes on disk. */
export function diskBytesOf(path: string): number {
  return (Deno.statSync(path).blocks ?? 0) * 512;
}

/** All files below a folder, by path; none if it is missing. */
export function filesBelow(folder: string): string[] {
  const found: string[] = [];
  for (const entry of entriesOf(folder)) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) found.push(...filesBelow(path));
    else found.push(path);
  }
  return found;
}
