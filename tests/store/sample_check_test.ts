import assert from "node:assert/strict";
import { checkSample, type SampleReport } from "../../src/store/sample_check.ts";
import { noise } from "../support/flac_file.ts";
import { type CacheFixture, openCache } from "./cache_fixture.ts";

const CHUNKS = 300;

function check(cache: CacheFixture): Promise<SampleReport> {
  const bits = noise(7);
  const random = (): number => (bits() >>> 0) / 2 ** 32;
  const { signal } = new AbortController();
  return checkSample({ ...cache, hashBytes: cache.hash.bytes, random, signal });
}

Deno.test("checkSample() finds out that a disk goes bad, and drops what is damaged", async () => {
  await using cache = await openCache();
  const all = Array.from({ length: CHUNKS }, (_, seed) => cache.put(seed));
  const sound = await check(cache);
  assert.ok(sound.checked > 20 && sound.bad === 0, JSON.stringify(sound));
  for (const { hash } of all.slice(0, CHUNKS / 2)) {
    await Deno.writeFile(cache.pathOf("chunk", hash), new Uint8Array(8192));
  }
  const { checked, bad } = await check(cache);
  assert.ok(bad > checked / 4 && bad < checked, `${bad} of ${checked}`);
  assert.ok(cache.store.stats().chunks < CHUNKS);
  await Deno.remove(`${cache.cacheDir}/chunks`, { recursive: true });
  const gone = await check(cache);
  assert.equal(gone.bad, gone.checked);
});

Deno.test("checkSample() has nothing to say of an empty cache", async () => {
  await using cache = await openCache();
  assert.deepEqual(await check(cache), { checked: 0, bad: 0 });
});
