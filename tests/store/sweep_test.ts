import assert from "node:assert/strict";
import { silentLog } from "../../src/base/log.ts";
import { CHUNK_BYTES_MAX } from "../../src/chunking/chunk_sizes.ts";
import { sweep, type SweepOptions, type SweepResult } from "../../src/store/sweep.ts";
import { MemoryIndex } from "../support/memory_index.ts";
import { type CacheFixture, openCache } from "./cache_fixture.ts";

function sweepCache(
  { cacheDir, cacheIndex, clock }: CacheFixture,
  options: Partial<SweepOptions> = {},
): Promise<SweepResult> {
  return sweep({ cacheDir, cacheIndex, clock, log: silentLog, ...options });
}

async function writeExtent(cache: CacheFixture, fill: number, length: number): Promise<Uint8Array> {
  const id = new Uint8Array(16).fill(fill);
  const path = cache.pathOf("extent", id);
  await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
  await Deno.writeFile(path, new Uint8Array(length).fill(1));
  return id;
}

Deno.test("sweep() of a cache that is in order changes nothing", async () => {
  await using cache = await openCache();
  for (let seed = 0; seed < 20; seed += 1) cache.put(seed);
  const before = cache.cacheIndex.totals();
  const result = await sweepCache(cache, { emptyTmp: true });
  const { kept, ...others } = result;
  assert.equal(kept, 20);
  assert.deepEqual(Object.values(others).filter((count) => count !== 0), []);
  assert.deepEqual(cache.cacheIndex.recount(), before);
});

Deno.test("sweep() fills the tables of a new index, with the files' own times", async () => {
  await using cache = await openCache();
  const old = cache.put(1, 100_000);
  cache.put(2, 5000);
  const extent = await writeExtent(cache, 7, 9000);
  await Deno.utime(cache.pathOf("chunk", old.hash), 1_600_000_000, 1_600_000_000);

  await using rebuilt = await openCache({ cacheDir: cache.cacheDir, index: new MemoryIndex() });
  rebuilt.cacheIndex.reference([{ hash: old.hash, length: 100_000 }], 2 ** 20 + 1);
  const result = await sweepCache(rebuilt);

  assert.equal(result.adopted, 3);
  const totals = rebuilt.cacheIndex.totals();
  assert.deepEqual(totals, rebuilt.cacheIndex.recount());
  assert.equal(totals.chunkBytes, 105_000);
  assert.equal(totals.referencedBytes, 100_000);
  assert.equal(totals.extentDiskBytes, 12_288);
  assert.equal(rebuilt.cacheIndex.find("chunk", old.hash)?.lastUse, 1_600_000_000);
  assert.equal(rebuilt.cacheIndex.find("chunk", old.hash)?.owner, 2 ** 20 + 1);
  assert.equal(rebuilt.cacheIndex.find("extent", extent)?.diskBytes, 12_288);
  const [first] = rebuilt.cacheIndex.oldest();
  assert.deepEqual(first?.id, old.hash);
});

Deno.test("sweep() drops records whose files are gone", async () => {
  await using cache = await openCache();
  const gone = cache.put(1);
  cache.put(2);
  cache.cacheIndex.record({
    kind: "extent",
    id: new Uint8Array(16),
    diskBytes: 4096,
    owner: 0,
  });
  await Deno.remove(cache.pathOf("chunk", gone.hash));
  const { dropped, kept } = await sweepCache(cache);
  assert.deepEqual({ dropped, kept }, { dropped: 2, kept: 1 });
  assert.equal(cache.cacheIndex.find("chunk", gone.hash), undefined);
  assert.equal(cache.cacheIndex.totals().extents, 0);
});

Deno.test("sweep() deletes chunks of a size that cannot be, known or not", async () => {
  await using cache = await openCache();
  const known = cache.put(1);
  const empty = cache.chunk(2).hash;
  const huge = cache.chunk(3).hash;
  await Deno.truncate(cache.pathOf("chunk", known.hash), 100);
  for (const [hash, length] of [[empty, 0], [huge, CHUNK_BYTES_MAX + 1]] as const) {
    const path = cache.pathOf("chunk", hash);
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    await Deno.writeFile(path, new Uint8Array(length));
  }
  const { torn, kept, adopted } = await sweepCache(cache);
  assert.deepEqual({ torn, kept, adopted }, { torn: 3, kept: 0, adopted: 0 });
  assert.equal(cache.cacheIndex.totals().chunks, 0);
  for (const hash of [known.hash, empty, huge]) {
    await assert.rejects(Deno.lstat(cache.pathOf("chunk", hash)), Deno.errors.NotFound);
  }
});

Deno.test("sweep() sets the size of an extent right and leaves its last use", async () => {
  await using cache = await openCache();
  const id = await writeExtent(cache, 3, 4096);
  cache.cacheIndex.record({ kind: "extent", id, diskBytes: 4096, owner: 9 });
  const lastUse = cache.cacheIndex.find("extent", id)?.lastUse;
  await cache.clock.advance(1_000_000);
  await writeExtent(cache, 3, 40_960);
  await sweepCache(cache);
  const item = cache.cacheIndex.find("extent", id);
  assert.equal(item?.diskBytes, 40_960);
  assert.equal(item?.lastUse, lastUse);
  assert.equal(item?.owner, 9);
});

Deno.test("sweep() drops what nothing refers to when asked, but not what just came", async () => {
  await using cache = await openCache();
  const named = cache.put(1);
  cache.cacheIndex.reference([{ hash: named.hash, length: named.bytes.length }], 2 ** 20);
  const old = cache.put(2);
  await cache.clock.advance(600_000);
  const fresh = cache.put(3);
  assert.equal((await sweepCache(cache)).unreferenced, 0);

  const would = await sweepCache(cache, { dropUnreferenced: true, dryRun: true });
  assert.equal(would.unreferenced, 1);
  assert.equal(cache.cacheIndex.totals().chunks, 3);

  const did = await sweepCache(cache, { dropUnreferenced: true });
  assert.deepEqual(did, would);
  assert.equal(did.unreferencedBytes, 8192);
  assert.ok(cache.store.has(named.hash, 8192) && cache.store.has(fresh.hash, 8192));
  assert.ok(!cache.store.has(old.hash, 8192));
  assert.equal(cache.cacheIndex.totals().chunks, 2);
});

Deno.test("sweep() empties tmp only when asked, folders in it too", async () => {
  await using cache = await openCache();
  await Deno.mkdir(`${cache.cacheDir}/tmp/a/b`, { recursive: true });
  await Deno.writeFile(`${cache.cacheDir}/tmp/a/b/file`, new Uint8Array(10));
  await sweepCache(cache);
  assert.ok((await Deno.lstat(`${cache.cacheDir}/tmp/a/b/file`)).isFile);
  const { temporary } = await sweepCache(cache, { emptyTmp: true });
  assert.equal(temporary, 3);
  assert.deepEqual(await Array.fromAsync(Deno.readDir(`${cache.cacheDir}/tmp`)), []);
});

Deno.test("sweep() leaves alone what is not ours, and counts it", async () => {
  await using cache = await openCache();
  const { hash } = cache.put(1);
  const folder = cache.pathOf("chunk", hash).slice(0, -33);
  const misplaced = hash.toHex().startsWith("00") ? "ff".repeat(16) : "00".repeat(16);
  for (const name of ["notes.txt", misplaced, hash.toHex().toUpperCase() + "A"]) {
    await Deno.writeFile(`${folder}/${name}`, new Uint8Array(10));
  }
  const { foreign, kept } = await sweepCache(cache);
  assert.deepEqual({ foreign, kept }, { foreign: 3, kept: 1 });
  assert.ok((await Deno.lstat(`${folder}/notes.txt`)).isFile);
});

Deno.test("sweep() lets puts and evictions go on in between, and agrees with them", async () => {
  await using cache = await openCache({ limitBytes: 6 * 2 ** 20 });
  for (let seed = 0; seed < 30; seed += 1) cache.put(seed, 65_536);
  let seed = 100;
  await sweepCache(cache, {
    onProgress: () => {
      if (seed < 200) cache.put(seed, 65_536);
      seed += 1;
    },
  });
  assert.equal(seed, 612);
  assert.deepEqual(cache.cacheIndex.recount(), cache.cacheIndex.totals());
  const { adopted, dropped, torn } = await sweepCache(cache);
  assert.deepEqual({ adopted, dropped, torn }, { adopted: 0, dropped: 0, torn: 0 });
});

Deno.test("sweep() ends with the signal", async () => {
  await using cache = await openCache();
  const signal = AbortSignal.abort(new Error("enough"));
  await assert.rejects(sweepCache(cache, { signal }), { message: "enough" });
});
