/** Stores a file as chunks, as the reader does, and prints how long it took: `FILE CACHE_DIR`. */

import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { O_RDONLY, openFile, preadFully } from "../../src/base/posix.ts";
import { CdcChunker } from "../../src/chunking/cdc_chunker.ts";
import { type ChunkHash, openChunkHash } from "../../src/chunking/chunk_hash.ts";
import { ChunkList } from "../../src/chunking/chunk_list.ts";
import type { Chunk } from "../../src/chunking/chunk_manifest.ts";
import { CacheIndex } from "../../src/store/cache_index.ts";
import { DiskCasStore } from "../../src/store/disk_cas_store.ts";
import type { Index } from "../../src/store/index.ts";
import { CacheDisk } from "../../src/store/passthrough.ts";
import { openIndex } from "../../src/store/safe_open.ts";
import { Space } from "../../src/store/space.ts";
import type { IngestResult } from "./ingest_rows.ts";

const LIMIT_BYTES = 8 * 1024 ** 3;

interface Store {
  index: Index;
  cacheIndex: CacheIndex;
  store: DiskCasStore;
  hash: ChunkHash;
}

async function openStore(cacheDir: string): Promise<Store> {
  await Deno.mkdir(join(cacheDir, "tmp"), { recursive: true });
  const hash = await openChunkHash("xxh128");
  const { index } = await openIndex({
    dir: join(cacheDir, "index"),
    clock: systemClock,
    log: silentLog,
    probe: () => Promise.resolve("ok"),
    newEpoch: "0".repeat(32),
  });
  const parts = { cacheDir, index, clock: systemClock, log: silentLog };
  const cacheIndex = new CacheIndex(index, systemClock);
  const space = new Space({ ...parts, cacheIndex, limitBytes: LIMIT_BYTES });
  const disk = new CacheDisk(parts);
  return {
    index,
    cacheIndex,
    hash,
    store: new DiskCasStore({ ...parts, hash, cacheIndex, space, disk }),
  };
}

/** A window at a time: cut, hash, store, commit the longer list. */
async function ingest(path: string, cacheDir: string): Promise<IngestResult> {
  const { index, cacheIndex, store, hash } = await openStore(cacheDir);
  const { size } = await Deno.stat(path);
  const descriptor = openFile(path, O_RDONLY);
  const chunker = new CdcChunker();
  const { window } = chunker;
  const spent = { cut: 0, hash: 0 };
  let list = ChunkList.empty(size, hash.bytes);
  const start = performance.now();
  while (!list.whole) {
    const length = preadFully(descriptor, window, list.frontier);
    if (length <= 0) throw new Error(`Cannot read ${path}: ${length}`);
    let mark = performance.now();
    const lengths = chunker.cutAll(length, { last: list.frontier + length === size });
    spent.cut += performance.now() - mark;
    const chunks: Chunk[] = [];
    let at = 0;
    for (const chunkBytes of lengths) {
      const bytes = window.subarray(at, at + chunkBytes);
      mark = performance.now();
      const name = hash.digest(bytes);
      spent.hash += performance.now() - mark;
      store.put(name, bytes);
      chunks.push({ hash: name, length: chunkBytes });
      at += chunkBytes;
    }
    list = list.append(chunks);
    index.transaction(() => {
      index.table("manifests").put(new Uint8Array(8), list.encode());
      cacheIndex.flush();
    });
  }
  const seconds = (performance.now() - start) / 1000;
  await index[Symbol.asyncDispose]();
  return { bytes: size, seconds, cutSeconds: spent.cut / 1000, hashSeconds: spent.hash / 1000 };
}

if (import.meta.main) {
  const [path = "", cacheDir = ""] = Deno.args;
  const result = await ingest(path, cacheDir);
  await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(result) + "\n"));
}
