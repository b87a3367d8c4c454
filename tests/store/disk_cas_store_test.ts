import assert from "node:assert/strict";
import { enableFailpoints } from "../../src/base/failpoint.ts";
import { MusicfsError } from "../../src/base/errors.ts";
import { sweep } from "../../src/store/sweep.ts";
import { silentLog } from "../../src/base/log.ts";
import { testWith } from "../support/requirements.ts";
import { smallDisk } from "../support/small_disk.ts";
import { type CacheFixture, openCache } from "./cache_fixture.ts";

const LENGTH = 65_536;

/** The code that `call` fails with; "" if it does not. */
function codeOf(call: () => unknown): string {
  try {
    call();
    return "";
  } catch (error) {
    assert.ok(error instanceof MusicfsError, `${error}`);
    return error.code;
  }
}

/** Fails the first time that `point` is reached, as a crash there would. */
function crashingAt(point: string, body: () => void): void {
  enableFailpoints(`${point}=1*panic(crash)`, { random: () => 0, print: () => {} });
  try {
    assert.throws(body, /crash/);
  } finally {
    enableFailpoints("", { random: () => 0, print: () => {} });
  }
}

for (const point of ["before_write", "before_rename", "after_rename"]) {
  Deno.test(`DiskCasStore.put() killed ${point} leaves a whole chunk or none`, async () => {
    await using cache = await openCache();
    const { hash, bytes } = cache.chunk(1, LENGTH);
    crashingAt(`store.put.${point}`, () => cache.store.put(hash, bytes));

    await using again = await cache.reopen();
    const { cacheDir, cacheIndex, clock } = again;
    const found = await sweep({ cacheDir, cacheIndex, clock, log: silentLog, emptyTmp: true });

    const whole = point === "after_rename";
    assert.equal(found.adopted, whole ? 1 : 0);
    assert.equal(found.temporary, whole ? 0 : 1);
    assert.deepEqual(await Array.fromAsync(Deno.readDir(`${cacheDir}/tmp`)), []);
    assert.equal(again.store.has(hash, LENGTH), whole);
    assert.equal(again.store.put(hash, bytes), whole ? "duplicate" : "stored");
    assert.deepEqual(again.store.get(hash, LENGTH), bytes);
  });

  Deno.test(`DiskCasStore.put() goes on after a fault ${point}, without a sweep`, async () => {
    await using cache = await openCache();
    const { hash, bytes } = cache.chunk(1, LENGTH);
    crashingAt(`store.put.${point}`, () => cache.store.put(hash, bytes));
    cache.store.put(hash, bytes);
    cache.put(2);
    assert.deepEqual(cache.store.get(hash, LENGTH), bytes);
    assert.equal(cache.store.stats().chunks, 2);
  });
}

Deno.test("DiskCasStore.put() counts a duplicate that the index does not know", async () => {
  await using cache = await openCache();
  const { hash, bytes } = cache.put(1);
  cache.cacheIndex.remove("chunk", hash);
  assert.equal(cache.store.put(hash, bytes), "duplicate");
  assert.equal(cache.store.stats().chunks, 1);
});

Deno.test("DiskCasStore.put() makes folders again that somebody deleted", async () => {
  await using cache = await openCache();
  cache.put(1);
  await Deno.remove(`${cache.cacheDir}/chunks`, { recursive: true });
  await Deno.remove(`${cache.cacheDir}/tmp`, { recursive: true });
  const { hash, bytes } = cache.put(1);
  assert.deepEqual(cache.store.get(hash, bytes.length), bytes);
});

Deno.test("DiskCasStore keeps its files from other users", async () => {
  await using cache = await openCache();
  const path = cache.pathOf("chunk", cache.put(1).hash);
  const modes = [path, path.slice(0, path.lastIndexOf("/")), `${cache.cacheDir}/tmp`]
    .map((each) => (Deno.lstatSync(each).mode ?? 0) & 0o777);
  assert.deepEqual(modes, [0o600, 0o700, 0o700]);
});

Deno.test("DiskCasStore never follows a link in place of a chunk", async () => {
  await using cache = await openCache();
  const { hash, bytes } = cache.put(1);
  const path = cache.pathOf("chunk", hash);
  await Deno.writeFile(`${cache.cacheDir}/elsewhere`, bytes);
  await Deno.remove(path);
  await Deno.symlink(`${cache.cacheDir}/elsewhere`, path);
  assert.equal(cache.store.put(hash, bytes), "stored");
  assert.equal((await Deno.lstat(path)).isFile, true);
  assert.deepEqual(await Deno.readFile(`${cache.cacheDir}/elsewhere`), bytes);
});

Deno.test("DiskCasStore.stats() tells what deduplication saves", async () => {
  await using cache = await openCache();
  const chunks = [cache.put(1, 10_000), cache.put(2, 20_000)]
    .map(({ hash, bytes }) => ({ hash, length: bytes.length }));
  cache.cacheIndex.reference(chunks, 2 ** 20 + 1);
  cache.cacheIndex.reference(chunks.slice(1), 2 ** 21 + 1);
  const { chunkBytes, referencedBytes } = cache.store.stats();
  assert.deepEqual({ chunkBytes, referencedBytes }, {
    chunkBytes: 30_000,
    referencedBytes: 50_000,
  });
});

async function assertServes(cache: CacheFixture, seeds: readonly number[]): Promise<void> {
  for (const seed of seeds) {
    const { hash, bytes } = cache.chunk(seed, LENGTH);
    if (!cache.store.has(hash, LENGTH)) continue;
    assert.deepEqual(cache.store.get(hash, LENGTH), bytes);
  }
  await cache.clock.settle();
}

testWith(["root", "mount"], "DiskCasStore.put() makes room on a disk that is full", async () => {
  await using disk = await smallDisk(4 * 2 ** 20);
  await using cache = await openCache({ cacheDir: disk.path });
  const seeds = Array.from({ length: 200 }, (_, seed) => seed);
  for (const seed of seeds) {
    cache.put(seed, LENGTH);
    await cache.clock.advance(1000);
  }
  assert.equal(cache.disk.state, "writable");
  assert.deepEqual(cache.cacheIndex.recount(), cache.cacheIndex.totals());
  assert.ok(cache.cacheIndex.totals().chunks > 20);
  assert.ok(cache.store.has(cache.chunk(199, LENGTH).hash, LENGTH));
  await assertServes(cache, seeds);
});

testWith(
  ["root", "mount"],
  "DiskCasStore turns to pass-through on a full disk, serves what it has, and comes back",
  async () => {
    await using disk = await smallDisk(4 * 2 ** 20);
    await using cache = await openCache({ cacheDir: disk.path });
    await disk.fill();
    const full = (): unknown => cache.put(1, LENGTH);
    assert.equal(codeOf(full), "full");
    assert.equal(cache.disk.state, "degraded");
    assert.equal(codeOf(full), "unavailable");
    assert.deepEqual(await Array.fromAsync(Deno.readDir(`${cache.cacheDir}/tmp`)), []);

    await disk.free();
    assert.equal(codeOf(full), "unavailable");
    await cache.clock.advance(60_000);
    assert.equal(codeOf(full), "");
    assert.equal(cache.disk.state, "writable");
    await assertServes(cache, [1]);
    assert.deepEqual(cache.cacheIndex.recount(), cache.cacheIndex.totals());
  },
);

testWith(
  ["root", "mount"],
  "DiskCasStore serves from a read-only disk, and finds damage there too",
  async () => {
    await using disk = await smallDisk(4 * 2 ** 20);
    await using cache = await openCache({ cacheDir: disk.path });
    const good = cache.put(1, LENGTH);
    const bad = cache.put(2, LENGTH);
    await Deno.writeFile(cache.pathOf("chunk", bad.hash), new Uint8Array(LENGTH));
    await disk.remount("ro");

    assert.equal(codeOf(() => cache.put(3, LENGTH)), "unavailable");
    assert.equal(cache.disk.state, "degraded");
    assert.equal(cache.store.put(good.hash, good.bytes), "duplicate");
    assert.deepEqual(cache.store.get(good.hash, LENGTH), good.bytes);
    assert.equal(codeOf(() => cache.store.get(bad.hash, LENGTH)), "corrupt");

    await disk.remount("rw");
    await cache.clock.advance(60_000);
    assert.equal(cache.store.put(bad.hash, bad.bytes), "stored");
    assert.deepEqual(cache.store.get(bad.hash, LENGTH), bad.bytes);
  },
);
