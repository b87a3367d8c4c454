import { cutFile, type CutFileOptions } from "../../src/chunking/cut_file.ts";
import { CdcChunker } from "../../src/chunking/cdc_chunker.ts";
import { openChunkHash } from "../../src/chunking/chunk_hash.ts";
import { ChunkList } from "../../src/chunking/chunk_list.ts";
import type { ChunkRegion } from "../../src/chunking/chunk_manifest.ts";
import type { DeltaSources } from "../../src/reader/donor_search.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import type { Index } from "../../src/store/index.ts";
import { flacFile, type FlacOptions } from "../support/flac_file.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { Rig, type RigOptions } from "./rig.ts";

const hash = await openChunkHash("xxh128");
const chunker = new CdcChunker();

/** A time that is one. */
export const TIME_NS = 1_700_000_000_123_456_789n;

/** Cuts a whole file as `Ingest` and `musicfs index` do. */
export function regionsOf(bytes: Uint8Array): Promise<ChunkRegion[]> {
  const readRange: CutFileOptions["readRange"] = (offset, length) =>
    Promise.resolve(bytes.slice(offset, offset + length));
  return cutFile(bytes.length, { readRange, chunker, hash });
}

/** What differs from file to file. */
export interface FileOptions {
  path?: string;
  mtimeNs?: bigint;
  /** The ETag, or whatever the origin calls the version; default one that nobody else has. */
  version?: string;
}

/** An origin with files, and a reader of it. */
export class DeltaRig implements AsyncDisposable {
  readonly rig: Rig;
  readonly origin: MemoryOrigin;
  readonly #bytes = new Map<number, Uint8Array<ArrayBuffer>>();
  #ids = 0;

  constructor(
    cacheDir: string,
    { delta = {}, index, origin = new MemoryOrigin("nas"), ...rest }: RigOptions & {
      delta?: DeltaSources;
      index?: Index;
      origin?: MemoryOrigin;
    } = {},
  ) {
    this.origin = origin;
    const origins = [origin];
    this.rig = new Rig(cacheDir, { ...rest, delta, origins, ...(index && { index }) });
  }

  /** Adds a file of which nothing is cached. */
  add(bytes: Uint8Array<ArrayBuffer>, options: FileOptions = {}): FileVersion {
    this.#ids += 1;
    const { path = `${this.#ids}.flac`, mtimeNs = 0n, version } = options;
    const file = this.origin.put(path, bytes, mtimeNs, version);
    const known = this.rig.know(this.#ids, this.origin.name, file, mtimeNs);
    this.#bytes.set(known.id, bytes);
    return known;
  }

  /** Adds a file that is whole in the cache, in chunks that are cut by its regions. */
  async cached(bytes: Uint8Array<ArrayBuffer>, options: FileOptions = {}): Promise<FileVersion> {
    const version = this.add(bytes, options);
    const regions = await regionsOf(bytes);
    this.storeAll(bytes, regions);
    const list = ChunkList.fromRegions(regions, { size: bytes.length, hashBytes: 16 });
    this.rig.manifests.complete(version, list);
    return version;
  }

  /** Stores the chunks of a file. */
  storeAll(bytes: Uint8Array<ArrayBuffer>, regions: readonly ChunkRegion[]): void {
    let at = 0;
    for (const { hash, length } of regions.flatMap(({ chunks }) => chunks)) {
      this.rig.store.put(hash, bytes.slice(at, at + length));
      at += length;
    }
    this.rig.cacheIndex.flush();
  }

  /** Reads a file from its start to its end; bytes that the origin was asked for. */
  async readThrough(version: FileVersion): Promise<{ bytes: Uint8Array; asked: number }> {
    const before = this.origin.bytesRead;
    const bytes = await this.rig.readThrough(version);
    return { bytes, asked: this.origin.bytesRead - before };
  }

  bytesOf({ id }: FileVersion): Uint8Array<ArrayBuffer> {
    const bytes = this.#bytes.get(id);
    if (!bytes) throw new Error(`There is no file ${id}`);
    return bytes;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.rig[Symbol.asyncDispose]();
  }
}

/** A track of about a megabyte. */
export function track({ seed = 1, tags = { TITLE: "A" }, samples = 250_000 }: Partial<
  FlacOptions
> = {}): Uint8Array<ArrayBuffer> {
  return flacFile({ seed, tags, samples });
}

/** A copy with other bytes from `at` on. */
export function edited(
  bytes: Uint8Array,
  at: number,
  length = 100,
): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(bytes);
  for (let i = at; i < at + length; i += 1) copy[i] = (copy[i] ?? 0) ^ 0x55;
  return copy;
}
