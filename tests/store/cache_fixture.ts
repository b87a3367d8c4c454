import { type Log, silentLog } from "../../src/base/log.ts";
import type { FilesystemStatus } from "../../src/base/posix.ts";
import { type ChunkHash, openChunkHash } from "../../src/chunking/chunk_hash.ts";
import { CacheIndex, type ItemKind } from "../../src/store/cache_index.ts";
import { DiskCasStore } from "../../src/store/disk_cas_store.ts";
import type { Index } from "../../src/store/index.ts";
import { itemPath } from "../../src/store/layout.ts";
import { CacheDisk } from "../../src/store/passthrough.ts";
import { Space } from "../../src/store/space.ts";
import { MemoryIndex } from "../support/memory_index.ts";
import { type TempDir, tempDir } from "../support/temp_dir.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

/** All of a cache but readers: real files, and an index in memory. */
export interface CacheFixture extends AsyncDisposable {
  cacheDir: string;
  clock: VirtualClock;
  index: MemoryIndex;
  cacheIndex: CacheIndex;
  space: Space;
  disk: CacheDisk;
  store: DiskCasStore;
  hash: ChunkHash;
  /** A chunk of `length` bytes that differs with `seed`, and its name. */
  chunk(seed: number, length?: number): TestChunk;
  /** Stores such a chunk. */
  put(seed: number, length?: number): TestChunk;
  /** Bytes that `du` counts. */
  diskUsage(): number;
  pathOf(kind: ItemKind, id: Uint8Array): string;
  /** Opens the cache again, as after a crash: nothing that waited in memory survives. */
  reopen(): Promise<CacheFixture>;
}

export interface TestChunk {
  hash: Uint8Array<ArrayBuffer>;
  bytes: Uint8Array<ArrayBuffer>;
}

export interface CacheOptions {
  limitBytes?: number;
  cacheDir?: string;
  index?: MemoryIndex;
  clock?: VirtualClock;
  /** Free and total bytes of the disk; default: endless. */
  disk?: () => FilesystemStatus | number;
  log?: Log;
}

/** Opens a cache in a fresh folder, unless one is given. */
export async function openCache(options: CacheOptions = {}): Promise<CacheFixture> {
  const dir: TempDir | undefined = options.cacheDir === undefined
    ? await tempDir("store")
    : undefined;
  const cacheDir = options.cacheDir ?? dir?.path ?? "";
  const { limitBytes = 2 ** 30, index = new MemoryIndex(), clock = new VirtualClock() } = options;
  const hash = await openChunkHash("xxh128");
  const log = options.log ?? silentLog;
  const cacheIndex = new CacheIndex(index, clock);
  const parts = { cacheDir, index: index as Index, cacheIndex, clock, log };
  const space = new Space({ ...parts, limitBytes, disk: options.disk ?? (() => -1) });
  const disk = new CacheDisk({ cacheDir, clock, log });
  const store = new DiskCasStore({ cacheDir, hash, cacheIndex, space, disk });
  const chunk = (seed: number, length = 8192): TestChunk => {
    const bytes = new Uint8Array(length).fill(seed + 1);
    bytes[0] = seed >> 8;
    return { hash: hash.digest(bytes), bytes };
  };
  return {
    ...{ cacheDir, clock, index, cacheIndex, space, disk, store, hash, chunk },
    put(seed, length): TestChunk {
      const made = chunk(seed, length);
      store.put(made.hash, made.bytes);
      return made;
    },
    diskUsage: () => diskUsage(cacheDir),
    pathOf: (kind, id) => itemPath(cacheDir, { kind, id }),
    reopen: () => openCache({ ...options, cacheDir, index, clock, limitBytes }),
    async [Symbol.asyncDispose](): Promise<void> {
      await dir?.[Symbol.asyncDispose]();
    },
  };
}

/** What `du` says of a folder, in bytes. */
export function diskUsage(folder: string): number {
  const { stdout } = new Deno.Command("du", { args: ["-s", "-B1", folder] }).outputSync();
  return Number(new TextDecoder().decode(stdout).split("\t")[0]);
}
