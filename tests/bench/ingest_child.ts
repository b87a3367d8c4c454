/**
 * Stores a file as chunks, as the reader does, and prints how long it took: `MODE FILE CACHE_DIR`.
 *
 * Mode "plain" only writes it in parts as long as the mean chunk, each to a name of its own.
 */

import { join } from "node:path";
import process from "node:process";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import {
  cString,
  libc,
  O_CREAT,
  O_RDONLY,
  O_WRONLY,
  openFile,
  preadFully,
  pwriteFully,
} from "../../src/base/posix.ts";
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
  const cpuStart = cpuSeconds();
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
  const parts = { cutSeconds: spent.cut / 1000, hashSeconds: spent.hash / 1000 };
  const result = { bytes: size, seconds, cpuSeconds: cpuSeconds() - cpuStart, ...parts };
  await index[Symbol.asyncDispose]();
  return result;
}

/** Mean length of a chunk of random bytes. */
const PLAIN_BYTES = 78 * 1024;

/** What the disk and the system calls alone take: write to one name, rename to another. */
async function writePlainly(path: string, dir: string): Promise<IngestResult> {
  for (let folder = 0; folder < 256; folder += 1) {
    await Deno.mkdir(join(dir, String(folder)), { recursive: true });
  }
  const { size } = await Deno.stat(path);
  const descriptor = openFile(path, O_RDONLY);
  const buffer = new Uint8Array(PLAIN_BYTES);
  const tmp = join(dir, "tmp");
  const cpuStart = cpuSeconds();
  const start = performance.now();
  for (let at = 0, n = 0; at < size; at += PLAIN_BYTES, n += 1) {
    const length = preadFully(descriptor, buffer, at);
    const file = openFile(tmp, O_WRONLY | O_CREAT);
    const written = pwriteFully(file, buffer.subarray(0, length), 0);
    libc.close(file);
    const renamed = libc.rename(cString(tmp), cString(join(dir, String(n % 256), String(n))));
    if (written !== length || renamed !== 0) throw new Error(`Cannot write in ${dir}`);
  }
  const seconds = (performance.now() - start) / 1000;
  const parts = { cutSeconds: 0, hashSeconds: 0 };
  return { bytes: size, seconds, cpuSeconds: cpuSeconds() - cpuStart, ...parts };
}

/** Seconds of a core that this process has had, in all its threads. */
function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

if (import.meta.main) {
  const [mode, path = "", cacheDir = ""] = Deno.args;
  const result = await (mode === "plain" ? writePlainly : ingest)(path, cacheDir);
  await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(result) + "\n"));
}
