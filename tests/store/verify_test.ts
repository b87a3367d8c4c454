import assert from "node:assert/strict";
import { type BadChunk, verifyStore, type VerifyStoreOptions } from "../../src/store/verify.ts";
import { type CacheFixture, openCache, type TestChunk } from "./cache_fixture.ts";

const LENGTH = 50_000;

function verify(
  { cacheDir, cacheIndex, hash }: CacheFixture,
  options: Partial<VerifyStoreOptions> = {},
): ReturnType<typeof verifyStore> {
  const signal = new AbortController().signal;
  return verifyStore({ cacheDir, cacheIndex, hash, signal, ...options });
}

/** A cache of five chunks: 0 has a changed byte, 1 is truncated, 2 is missing, 3 and 4 are good. */
async function damagedCache(): Promise<{ cache: CacheFixture; chunks: TestChunk[] }> {
  const cache = await openCache();
  const chunks = [0, 1, 2, 3, 4].map((seed) => cache.put(seed, LENGTH));
  const paths = chunks.map(({ hash }) => cache.pathOf("chunk", hash));
  const [changed = "", truncated = "", missing = ""] = paths;
  await Deno.writeFile(changed, (chunks[0]?.bytes ?? new Uint8Array()).with(-1, 77));
  await Deno.truncate(truncated, 100);
  await Deno.remove(missing);
  return { cache, chunks };
}

Deno.test("verifyStore() finds what is corrupt and missing, and changes nothing", async () => {
  const { cache, chunks } = await damagedCache();
  await using _ = cache;
  const bad: BadChunk[] = [];
  const report = await verify(cache, { onBad: (chunk) => bad.push(chunk) });
  assert.deepEqual(report, {
    total: 5,
    checked: 4,
    bytes: 3 * LENGTH + 100,
    corrupt: 2,
    missing: 1,
    repaired: 0,
  });
  const expected = [0, 1, 2].map((i) => chunks[i]?.hash.toHex()).sort();
  assert.deepEqual(bad.map(({ hash }) => hash.toHex()).sort(), expected);
  assert.ok(bad.every(({ length }) => length === LENGTH));
  assert.equal(bad.find(({ state }) => state === "missing")?.hash.toHex(), chunks[2]?.hash.toHex());
  assert.equal(cache.cacheIndex.totals().chunks, 5);
  assert.deepEqual(await verify(cache), report);
});

Deno.test("verifyStore() repairs through the callback, and believes only what it reads", async () => {
  const { cache, chunks } = await damagedCache();
  await using _ = cache;
  const report = await verify(cache, {
    repair: ({ hash }) => {
      const which = chunks.findIndex((chunk) => chunk.hash.toHex() === hash.toHex());
      const chunk = chunks[which];
      if (which === 0) return Promise.resolve(false);
      if (which === 1) return Promise.resolve(true);
      if (chunk) cache.store.put(chunk.hash, chunk.bytes);
      return Promise.resolve(true);
    },
  });
  assert.equal(report.repaired, 1);
  const { corrupt, missing } = await verify(cache);
  assert.deepEqual({ corrupt, missing }, { corrupt: 2, missing: 0 });
});

Deno.test("verifyStore() repairs everything that can be fetched", async () => {
  const { cache, chunks } = await damagedCache();
  await using _ = cache;
  const report = await verify(cache, {
    repair: ({ hash }) => {
      const chunk = chunks.find((each) => each.hash.toHex() === hash.toHex());
      if (chunk) cache.store.put(chunk.hash, chunk.bytes);
      return Promise.resolve(chunk !== undefined);
    },
  });
  assert.equal(report.repaired, 3);
  const { corrupt, missing, checked } = await verify(cache);
  assert.deepEqual({ corrupt, missing, checked }, { corrupt: 0, missing: 0, checked: 5 });
});

Deno.test("verifyStore() checks chunks that the index does not know", async () => {
  await using cache = await openCache();
  const { hash } = cache.put(1);
  cache.cacheIndex.remove("chunk", hash);
  await Deno.writeFile(cache.pathOf("chunk", hash), new Uint8Array(10));
  const lengths: (number | undefined)[] = [];
  const { corrupt } = await verify(cache, { onBad: ({ length }) => lengths.push(length) });
  assert.equal(corrupt, 1);
  assert.deepEqual(lengths, [undefined]);
});

Deno.test("verifyStore() does not hold evictions under way against the cache", async () => {
  await using cache = await openCache();
  for (let seed = 0; seed < 300; seed += 1) cache.put(seed, LENGTH);
  let turns = 0;
  let eviction: Promise<unknown> | undefined;
  const report = await verify(cache, {
    onProgress: () => {
      turns += 1;
      if (turns === 3) eviction = cache.space.evictTo(0);
    },
  });
  await eviction;
  assert.ok(turns >= 256);
  assert.ok(report.checked < 300);
  assert.deepEqual([report.corrupt, report.missing], [0, 0]);
});

Deno.test("verifyStore() passes over chunks that another hash has named", async () => {
  await using cache = await openCache();
  cache.put(1);
  await Deno.mkdir(`${cache.cacheDir}/chunks/ab`, { recursive: true });
  await Deno.writeFile(`${cache.cacheDir}/chunks/ab/ab00000000000000`, new Uint8Array(10));
  const { checked, corrupt } = await verify(cache);
  assert.deepEqual({ checked, corrupt }, { checked: 1, corrupt: 0 });
});

Deno.test("verifyStore() ends with the signal", async () => {
  await using cache = await openCache();
  const signal = AbortSignal.abort(new Error("enough"));
  await assert.rejects(verify(cache, { signal }), { message: "enough" });
});
