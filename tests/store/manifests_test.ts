import assert from "node:assert/strict";
import { silentLog } from "../../src/base/log.ts";
import { openChunkHash } from "../../src/chunking/chunk_hash.ts";
import { ChunkList } from "../../src/chunking/chunk_list.ts";
import { CacheIndex } from "../../src/store/cache_index.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import { manifestKey, Manifests } from "../../src/store/manifests.ts";
import { CacheDisk } from "../../src/store/passthrough.ts";
import { Space } from "../../src/store/space.ts";
import { MemoryIndex } from "../support/memory_index.ts";
import { tempDir } from "../support/temp_dir.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

const hash = await openChunkHash("xxh128");

interface Fixture {
  index: MemoryIndex;
  cacheIndex: CacheIndex;
  manifests: Manifests;
  space: Space;
}

async function fixture(cacheDir: string): Promise<Fixture> {
  await Deno.mkdir(`${cacheDir}/tmp`, { recursive: true });
  const index = new MemoryIndex();
  const clock = new VirtualClock();
  const cacheIndex = new CacheIndex(index, clock);
  const limitBytes = 2 ** 30;
  const space = new Space({ cacheDir, index, cacheIndex, clock, log: silentLog, limitBytes });
  const disk = new CacheDisk({ cacheDir, clock, log: silentLog });
  const parts = { index, cacheIndex, space, disk, cacheDir, hash, keyHash: hash, log: silentLog };
  return { index, cacheIndex, manifests: new Manifests(parts), space };
}

function version(id: number, size: number): FileVersion {
  const source = { origin: "nas", path: `${id}.flac`, version: "v1" };
  return { id, size, mtimeNs: 5n, sources: [source] };
}

function chunk(seed: number, length = 100): { hash: Uint8Array; length: number } {
  return { hash: hash.digest(Uint8Array.of(seed)), length };
}

function listOf(size: number, ...seeds: number[]): ChunkList {
  return ChunkList.empty(size, 16).append(seeds.map((seed) => chunk(seed)));
}

/** Notes chunks as stored, and the file of each, so that they can be evicted. */
async function store(
  { cacheIndex }: Fixture,
  cacheDir: string,
  ...seeds: number[]
): Promise<void> {
  for (const seed of seeds) {
    const { hash: id, length } = chunk(seed);
    const name = id.toHex();
    await Deno.mkdir(`${cacheDir}/chunks/${name.slice(0, 2)}`, { recursive: true });
    await Deno.writeFile(`${cacheDir}/chunks/${name.slice(0, 2)}/${name}`, new Uint8Array(length));
    cacheIndex.record({ kind: "chunk", id, diskBytes: length, contentBytes: length, owner: 0 });
  }
  cacheIndex.flush();
}

Deno.test("Manifests.put() keeps a list, and references each chunk once as it grows", async () => {
  await using dir = await tempDir();
  const { cacheIndex, manifests, index } = await fixture(dir.path);
  const file = version(7, 1000);
  assert.equal(manifests.list(7), undefined);
  assert.equal(manifests.listOf(file).frontier, 0);
  manifests.put(file, listOf(1000, 1, 2));
  manifests.put(file, listOf(1000, 1, 2, 3));
  assert.equal(manifests.list(7)?.frontier, 300);
  cacheIndex.record({ kind: "chunk", id: chunk(1).hash, diskBytes: 100, owner: 0 });
  assert.equal(cacheIndex.find("chunk", chunk(1).hash)?.references, 1);
  assert.equal(cacheIndex.find("chunk", chunk(1).hash)?.owner, 7);
  // Another list altogether: the old chunks are let go.
  manifests.put(file, listOf(1000, 4));
  assert.equal(cacheIndex.find("chunk", chunk(1).hash)?.references, 0);
  assert.deepEqual([...manifests.list(7)?.hash(0) ?? []], [...chunk(4).hash]);

  const before = index.generation();
  index.beforeCommit = () => {
    throw new Error("disk full");
  };
  assert.throws(() => manifests.put(file, listOf(1000, 4, 5)), /disk full/);
  index.beforeCommit = () => {};
  assert.equal(index.generation(), before);
  assert.equal(manifests.list(7)?.count, 1);
});

Deno.test("Manifests.list() takes a damaged record for none", async () => {
  await using dir = await tempDir();
  const { manifests, index } = await fixture(dir.path);
  index.transaction(() => index.table("manifests").put(manifestKey(7), new Uint8Array(50)));
  assert.equal(manifests.list(7), undefined);
  assert.equal(manifests.prune({ all: true }), 1);
  assert.equal(index.table("manifests").count(), 0);
});

Deno.test("Manifests.complete() writes a file that a rebuild finds; damaged ones are left out", async () => {
  await using dir = await tempDir();
  const { manifests } = await fixture(dir.path);
  const file = version(7, 300);
  manifests.complete(file, listOf(300, 1, 2, 3));
  manifests.complete(version(8, 100), listOf(100, 4));
  const found = [...manifests.files()].sort((a, b) => a.manifest.path < b.manifest.path ? -1 : 1);
  assert.deepEqual(found.map(({ manifest }) => [manifest.path, manifest.size]), [
    ["7.flac", 300],
    ["8.flac", 100],
  ]);
  const key = manifests.keyOf(file);
  assert.equal(found[0]?.key, key);
  const path = `${dir.path}/manifests/${key.slice(0, 2)}/${key}`;
  await Deno.copyFile(path, `${path.slice(0, -1)}x`);
  assert.equal([...manifests.files()].length, 2);
  await Deno.truncate(path, 20);
  assert.deepEqual([...manifests.files()].map(({ manifest }) => manifest.path), ["8.flac"]);
});

Deno.test("Manifests.prune() drops a version with its last chunk, list and file", async () => {
  await using dir = await tempDir();
  const parts = await fixture(dir.path);
  const { manifests, space, cacheIndex } = parts;
  await store(parts, dir.path, 1, 2, 3);
  manifests.complete(version(7, 200), listOf(200, 1, 2));
  manifests.complete(version(8, 100), listOf(100, 3));
  assert.equal(manifests.prune(), 0);
  assert.equal(manifests.prune({ all: true }), 0);

  while (cacheIndex.find("chunk", chunk(1).hash) || cacheIndex.find("chunk", chunk(2).hash)) {
    assert(space.freeUp(1));
  }
  const left = cacheIndex.find("chunk", chunk(3).hash) ? [8] : [];
  manifests.prune();
  assert.deepEqual([7, 8].filter((id) => manifests.list(id)), left);
  assert.deepEqual(
    [...manifests.files()].map(({ manifest }) => manifest.path),
    left.map((id) => `${id}.flac`),
  );
  assert.equal(cacheIndex.totals().referencedBytes, left.length * 100);
});

Deno.test("Manifests.remove() forgets a version that nobody can describe any more", async () => {
  await using dir = await tempDir();
  const parts = await fixture(dir.path);
  const { manifests, cacheIndex } = parts;
  await store(parts, dir.path, 1);
  const file = version(7, 100);
  manifests.complete(file, listOf(100, 1));
  manifests.remove(7);
  manifests.remove(7);
  assert.equal(manifests.list(7), undefined);
  assert.equal(cacheIndex.find("chunk", chunk(1).hash)?.references, 0);
  assert.deepEqual([...manifests.files()], []);
});
