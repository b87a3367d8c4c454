import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import { silentLog } from "../../src/base/log.ts";
import { openChunkHash } from "../../src/chunking/chunk_hash.ts";
import { ChunkList } from "../../src/chunking/chunk_list.ts";
import { CacheIndex } from "../../src/store/cache_index.ts";
import { Donors, isDerived } from "../../src/store/donors.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import { Manifests, type ManifestsOptions } from "../../src/store/manifests.ts";
import { CacheDisk } from "../../src/store/passthrough.ts";
import { Space } from "../../src/store/space.ts";
import { flacFile } from "../support/flac_file.ts";
import { MemoryIndex } from "../support/memory_index.ts";
import { tempDir } from "../support/temp_dir.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

const hash = await openChunkHash("xxh128");
const MD5 = "0123456789abcdef0123456789abcdef";
const SIZE = 1000;

interface Fixture {
  index: MemoryIndex;
  cacheIndex: CacheIndex;
  manifests: Manifests;
}

async function fixture(
  cacheDir: string,
  store?: ManifestsOptions["store"],
): Promise<Fixture> {
  await Deno.mkdir(`${cacheDir}/tmp`, { recursive: true });
  const index = new MemoryIndex();
  const clock = new VirtualClock();
  const cacheIndex = new CacheIndex(index, clock);
  const common = { cacheDir, index, cacheIndex, clock, log: silentLog };
  const space = new Space({ ...common, limitBytes: 2 ** 30 });
  const disk = new CacheDisk(common);
  const manifests = new Manifests({ ...common, store, space, disk, hash, keyHash: hash });
  return { index, cacheIndex, manifests };
}

function version(id: number, given: Partial<FileVersion> & { tag?: string } = {}): FileVersion {
  const { tag = `v${id}`, ...rest } = given;
  const source = { origin: "nas", path: `${id}.flac`, version: tag };
  return { id, size: SIZE, mtimeNs: 5n, sources: [source], ...rest };
}

/** `metadata` and `audio` chunks of 100 bytes each, by their seeds. */
function listOf(metadata: number[], audio: number[], size = SIZE): ChunkList {
  const chunks = (seeds: number[]): { hash: Uint8Array; length: number }[] =>
    seeds.map((seed) => ({ hash: hash.digest(Uint8Array.of(seed)), length: 100 }));
  return ChunkList.empty(size, 16)
    .append(chunks(metadata), { kind: "metadata" })
    .append(chunks(audio), { kind: "audio" });
}

/** Notes chunks as stored. */
function store({ cacheIndex }: Fixture, ...seeds: number[]): void {
  for (const seed of seeds) {
    const id = hash.digest(Uint8Array.of(seed));
    cacheIndex.record({ kind: "chunk", id, diskBytes: 100, contentBytes: 100, owner: 0 });
  }
  cacheIndex.flush();
}

function lose({ cacheIndex }: Fixture, ...seeds: number[]): void {
  for (const seed of seeds) cacheIndex.remove("chunk", hash.digest(Uint8Array.of(seed)));
}

Deno.test("Donors finds versions by size and time, and by strong tag", async () => {
  await using dir = await tempDir();
  const { manifests } = await fixture(dir.path);
  const { donors } = manifests;
  manifests.put(version(1, { tag: MD5 }), listOf([1, 2], [3]));
  manifests.put(version(2, { mtimeNs: 6n }), listOf([1], [3]));
  manifests.put(version(3, { size: 300 }), listOf([1], [2, 3], 300));
  manifests.put(version(4, { mtimeNs: -5n }), listOf([1], []));
  assert.deepEqual(donors.sameTime(version(9)), [1]);
  assert.deepEqual(donors.sameTime(version(1)), []);
  assert.deepEqual(donors.sameTime(version(9, { mtimeNs: -5n })), [4]);
  assert.deepEqual(donors.sameTime(version(9, { size: 999 })), []);
  assert.deepEqual(donors.sameTag(version(9, { tag: `"${MD5.toUpperCase()}"` })), [1]);
  assert.deepEqual(donors.sameTag(version(9, { tag: MD5, size: 999 })), []);
  assert.deepEqual(donors.sameTag(version(9, { tag: "v1" })), []);
  const elsewhere = { origin: "bucket", path: "1.flac", version: MD5 };
  assert.deepEqual(donors.sameTag(version(9, { sources: [elsewhere] })), []);
});

Deno.test("Donors knows no time where the origin knows none, and no more than 16 of a kind", async () => {
  await using dir = await tempDir();
  const { manifests } = await fixture(dir.path);
  manifests.put(version(1, { mtimeNs: 0n }), listOf([1], []));
  assert.deepEqual(manifests.donors.sameTime(version(9, { mtimeNs: 0n })), []);
  for (let id = 20; id < 60; id += 1) manifests.put(version(id), listOf([1], []));
  assert.equal(manifests.donors.sameTime(version(9)).length, 16);
});

Deno.test("Donors follows a version's list and its sources, and forgets it with them", async () => {
  await using dir = await tempDir();
  const chunks = new Map<string, Uint8Array<ArrayBuffer>>();
  const { manifests, index } = await fixture(dir.path, {
    get: (hash) => {
      const bytes = chunks.get(hash.toHex());
      if (bytes) return bytes;
      throw new MusicfsError("not_found", "no chunk", { op: "test", subject: "chunk" });
    },
  });
  const { donors } = manifests;
  const head = flacFile({ samples: 1, seed: 1, tags: {} });
  const md5 = head.slice(26, 42);
  const first = hash.digest(Uint8Array.of(1));
  const put = (id: number, list: ChunkList, options?: { isBulk: true }): void =>
    manifests.put(version(id), list, options);
  put(1, listOf([1], []));
  assert.deepEqual([donors.isAnyAudio, donors.sameAudio(md5)], [false, []]);
  chunks.set(first.toHex(), head);
  put(2, listOf([1], []));
  put(3, listOf([1], []), { isBulk: true });
  put(2, listOf([1], [2]));
  assert.deepEqual([donors.isAnyAudio, donors.sameAudio(md5)], [true, [2]]);
  manifests.put(version(2, { tag: MD5 }), listOf([1], [2, 3]));
  assert.deepEqual(donors.sameTag(version(9, { tag: MD5 })), [2]);
  // Another list altogether.
  put(2, listOf([4], [5]));
  assert.deepEqual([donors.isAnyAudio, donors.sameTag(version(9, { tag: MD5 }))], [false, []]);
  for (const id of [1, 2, 3]) manifests.remove(id);
  assert.equal(index.table("donors").count(), 0);
});

Deno.test("Donors goes back with the transaction that it was written in", async () => {
  await using dir = await tempDir();
  const { manifests, index } = await fixture(dir.path);
  index.beforeCommit = () => {
    throw new Error("disk full");
  };
  assert.throws(() => manifests.derive(version(1), listOf([1], [2])), /disk full/);
  index.beforeCommit = () => {};
  assert.equal(index.table("donors").count(), 0);
  assert.equal(manifests.has(1), false);
});

Deno.test("Donors.isDerived() outlives longer lists, and isRefused() the list itself", async () => {
  await using dir = await tempDir();
  const { manifests, index } = await fixture(dir.path);
  manifests.derive(version(1), listOf([1], [2]));
  manifests.put(version(1), listOf([1], [2, 3]));
  const again = new Donors(index, hash);
  assert.equal(again.isDerived(1) && isDerived(index, 1), true);
  manifests.refuse(1);
  assert.deepEqual([manifests.has(1), again.isDerived(1), again.isRefused(1)], [
    false,
    false,
    true,
  ]);
  manifests.put(version(1), listOf([4], [5]));
  manifests.remove(1);
  assert.deepEqual([again.isDerived(1), again.isRefused(1)], [false, true]);
  assert.deepEqual(again.sameTime(version(9)), []);
});

Deno.test("Manifests.retire() keeps a list for as long as it alone has audio that is here", async () => {
  await using dir = await tempDir();
  const parts = await fixture(dir.path);
  const { manifests } = parts;
  store(parts, 1, 2, 3);
  manifests.complete(version(1, { size: 200 }), listOf([1], [2], 200));
  manifests.retire(1);
  // No name comes back from it when the index is made anew.
  assert.deepEqual([...manifests.files()], []);
  assert.equal(manifests.list(1)?.count, 2);
  assert.deepEqual(manifests.donors.sameTime(version(9, { size: 200 })), [1]);
  assert.equal(manifests.prune({ all: true }), 0);
  // Its metadata alone is of use to nobody.
  lose(parts, 2);
  assert.equal(manifests.prune({ all: true }), 1);
  assert.deepEqual([manifests.ids(), manifests.donors.retired()], [[], []]);
});

Deno.test("Manifests.retire() forgets what has nothing to give: no audio here, or another has it", async () => {
  await using dir = await tempDir();
  const parts = await fixture(dir.path);
  const { manifests, index } = parts;
  store(parts, 1, 2);
  manifests.put(version(1), listOf([1], [3]));
  manifests.retire(1);
  manifests.put(version(2), listOf([1], [2]));
  manifests.put(version(3), listOf([1], [2]));
  manifests.retire(2);
  assert.deepEqual(manifests.ids(), [3]);
  manifests.retire(77);
  manifests.remove(3);
  assert.equal(index.table("donors").count(), 0);
});

Deno.test("Manifests.retire() with keepFiles leaves the manifest to the version that has it now", async () => {
  await using dir = await tempDir();
  const parts = await fixture(dir.path);
  const { manifests } = parts;
  store(parts, 1, 2);
  const file = { size: 200, sources: version(1).sources };
  manifests.complete(version(1, file), listOf([1], [2], 200));
  manifests.complete(version(3, file), listOf([1], [2], 200));
  manifests.retire(1, { keepFiles: true });
  assert.deepEqual(manifests.ids(), [3]);
  assert.equal([...manifests.files()].length, 1);
  manifests.prune({ all: true });
  assert.equal([...manifests.files()].length, 1);
});

Deno.test("Manifests.remove() of a retired version leaves files that were never its own", async () => {
  await using dir = await tempDir();
  const parts = await fixture(dir.path);
  const { manifests } = parts;
  store(parts, 1, 2, 3);
  const file = { size: 200, sources: version(1).sources };
  manifests.complete(version(1, file), listOf([1], [2], 200));
  manifests.complete(version(3, file), listOf([1], [3], 200));
  manifests.retire(1, { keepFiles: true });
  assert.deepEqual(manifests.ids(), [1, 3]);
  manifests.remove(1);
  assert.equal([...manifests.files()].length, 1);
});

Deno.test("Manifests.derive() forgets a retired donor that gave all it had, and no other", async () => {
  await using dir = await tempDir();
  const parts = await fixture(dir.path);
  const { manifests } = parts;
  store(parts, 1, 2, 3, 4, 5);
  manifests.put(version(1), listOf([1], [2, 3]));
  manifests.put(version(2), listOf([1], [4]));
  for (const id of [1, 2]) manifests.retire(id);
  manifests.derive(version(8), listOf([5], [2, 3]), { donors: [1] });
  manifests.derive(version(9), listOf([5], [2]), { donors: [2] });
  assert.deepEqual(manifests.ids(), [2, 8, 9]);
});
