import fc from "fast-check";
import assert from "node:assert/strict";
import { PROMOTE_AFTER_S, SEGMENT } from "../../src/store/lru_eviction.ts";
import { silentLog } from "../../src/base/log.ts";
import { sweep } from "../../src/store/sweep.ts";
import { forEachFault } from "../support/faults.ts";
import { type CacheFixture, openCache } from "./cache_fixture.ts";

const MIB = 1024 * 1024;

/** What `du` counts in a cache with all its folders and no chunks. */
function emptyBytes(cache: CacheFixture): number {
  for (let byte = 0; byte < 256; byte += 1) {
    const name = byte.toString(16).padStart(2, "0");
    Deno.mkdirSync(`${cache.cacheDir}/chunks/${name}`, { recursive: true });
  }
  return cache.diskUsage();
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

Deno.test("Space.reserve() evicts the least recently used first, files and records", async () => {
  await using cache = await openCache({ limitBytes: 8 * MIB });
  const chunks = [];
  for (let seed = 0; seed < 60; seed += 1) {
    chunks.push(cache.put(seed, 262_144));
    await cache.clock.advance(1000);
  }
  const there = chunks.map(({ hash }) => cache.store.has(hash, 262_144));
  const first = there.indexOf(true);
  assert.ok(first >= 30, `${first}`);
  assert.ok(there.slice(first).every(Boolean));
  const known = chunks.map(({ hash }) => cache.cacheIndex.find("chunk", hash) !== undefined);
  assert.deepEqual(known, there);
  assert.deepEqual(cache.cacheIndex.recount(), cache.cacheIndex.totals());
});

Deno.test("Space.reserve() keeps du below the limit, whatever comes, goes and grows", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          op: fc.constantFrom("put", "put", "put", "use", "extent", "manifest", "delete", "index"),
          seed: fc.nat(200),
          length: fc.integer({ min: 16, max: 262_144 }),
        }),
        { minLength: 60, maxLength: 120 },
      ),
      fc.integer({ min: 2, max: 6 }),
      async (steps, limitMib) => {
        const limitBytes = limitMib * MIB;
        await using cache = await openCache({ limitBytes });
        for (const step of steps) {
          apply(cache, step);
          assert.ok(cache.diskUsage() + cache.index.extraDiskBytes <= limitBytes);
          if (step.seed % 10 === 0) await cache.clock.advance(100_000);
        }
        assert.deepEqual(cache.cacheIndex.recount(), cache.cacheIndex.totals());
        assertAgrees(cache);
      },
    ),
    { numRuns: 3, endOnFailure: true },
  );
});

interface Step {
  op: string;
  seed: number;
  length: number;
}

function apply(cache: CacheFixture, { op, seed, length }: Step): void {
  const { hash, bytes } = cache.chunk(seed, length);
  try {
    if (op === "put") cache.store.put(hash, bytes);
    if (op === "use") cache.cacheIndex.use("chunk", hash);
    if (op === "delete") cache.store.delete(hash);
    if (op === "extent") writeExtent(cache, hash, length);
    if (op === "manifest") writeManifest(cache, hash);
    // Growth between two measurements is bounded by the margin.
    if (op === "index") cache.index.extraDiskBytes += 1024;
  } catch (error) {
    assert.ok(error instanceof Error && "code" in error && error.code === "full", `${error}`);
  }
}

function writeExtent(cache: CacheFixture, id: Uint8Array, length: number): void {
  cache.space.reserve(length);
  const path = cache.pathOf("extent", id);
  Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
  cache.space.grew(4096);
  Deno.writeFileSync(path, new Uint8Array(length));
  cache.cacheIndex.record({ kind: "extent", id, diskBytes: length, owner: 0 });
}

function writeManifest(cache: CacheFixture, id: Uint8Array): void {
  const name = id.toHex();
  const folder = `${cache.cacheDir}/manifests/${name.slice(0, 2)}`;
  cache.space.reserve(8192);
  Deno.mkdirSync(folder, { recursive: true });
  Deno.writeFileSync(`${folder}/${name}`, new Uint8Array(100));
  cache.space.grew(8192);
}

/** Every file has a record, and every record a file. */
function assertAgrees(cache: CacheFixture): void {
  let files = 0;
  for (const kind of ["chunk", "extent"] as const) {
    for (let byte = 0; byte < 256; byte += 1) {
      const name = byte.toString(16).padStart(2, "0");
      const folder = `${cache.cacheDir}/${kind}s/${name}`;
      if (exists(folder)) files += [...Deno.readDirSync(folder)].length;
      for (const { id } of cache.cacheIndex.inFolder(kind, byte)) {
        assert.ok(exists(cache.pathOf(kind, id)));
      }
    }
  }
  const { chunks, extents } = cache.cacheIndex.totals();
  assert.equal(files, chunks + extents);
}

Deno.test("Space.reserve() counts each folder that small chunks need", async () => {
  const limitBytes = 1.5 * MIB;
  await using cache = await openCache({ limitBytes });
  for (let seed = 0; seed < 260; seed += 1) {
    cache.put(seed, 20);
    if (seed % 7 === 0) assert.ok(cache.diskUsage() <= limitBytes);
  }
  assert.ok(cache.diskUsage() > limitBytes * 0.8);
});

Deno.test("Space.reserve() leaves a margin for what grows between two measurements", async () => {
  const limitBytes = 4 * MIB;
  await using cache = await openCache({ limitBytes });
  emptyBytes(cache);
  for (let seed = 0; seed < 600; seed += 1) {
    cache.put(seed, 4096);
    cache.index.extraDiskBytes += 3072;
    if (seed % 3 === 0) assert.ok(cache.diskUsage() + cache.index.diskBytes() <= limitBytes);
  }
  assert.ok(cache.diskUsage() + cache.index.diskBytes() > limitBytes * 0.8);
});

Deno.test("Space.usedBytes() is what du says, once it was measured", async () => {
  await using cache = await openCache();
  for (let seed = 0; seed < 50; seed += 1) cache.put(seed, 1 + seed * 5000);
  writeManifest(cache, cache.chunk(1).hash);
  await Deno.writeFile(`${cache.cacheDir}/session.json`, new Uint8Array(5000));
  await Deno.mkdir(`${cache.cacheDir}/index.damaged-1`);
  await Deno.writeFile(`${cache.cacheDir}/index.damaged-1/data.mdb`, new Uint8Array(50_000));
  await cache.space.evictTo(Infinity);
  assert.equal(cache.space.usedBytes() - cache.index.diskBytes(), cache.diskUsage());
});

Deno.test("Space.reserve() throws full when what cannot be evicted takes the limit", async () => {
  await using cache = await openCache({ limitBytes: 4 * MIB });
  const chunk = cache.put(1, 100_000);
  cache.index.extraDiskBytes = 5 * MIB;
  for (let i = 0; i < 20; i += 1) {
    assert.throws(() => {
      for (let seed = 2; seed < 40; seed += 1) cache.put(seed, 100_000);
    }, { code: "full" });
  }
  assert.equal(cache.store.has(chunk.hash, 100_000), false);

  cache.index.extraDiskBytes = 0;
  let stored = 0;
  for (let seed = 0; seed < 40 && stored === 0; seed += 1) {
    try {
      if (cache.store.put(...pair(cache, seed)) === "stored") stored += 1;
    } catch (error) {
      assert.ok(error instanceof Error && "code" in error && error.code === "full");
    }
  }
  assert.equal(stored, 1);
});

function pair(
  cache: CacheFixture,
  seed: number,
): [Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>] {
  const { hash, bytes } = cache.chunk(seed, 100_000);
  return [hash, bytes];
}

Deno.test("Space.reserve() evicts what came in once before what was used again", async () => {
  await using cache = await openCache({ limitBytes: 16 * MIB });
  const album = [1, 2, 3, 4].map((seed) => cache.put(seed, 262_144));
  await cache.clock.advance(PROMOTE_AFTER_S * 1000);
  for (const { hash } of album) cache.cacheIndex.use("chunk", hash);
  for (let seed = 100; seed < 180; seed += 1) cache.put(seed, 262_144);
  assert.ok(album.every(({ hash }) => cache.store.has(hash, 262_144)));
});

Deno.test("Space.reserve() takes protection from what is over its share", async () => {
  await using cache = await openCache({ limitBytes: 8 * MIB });
  const old = Array.from({ length: 28 }, (_, seed) => cache.put(seed, 262_144));
  await cache.clock.advance((PROMOTE_AFTER_S + 10) * 1000);
  for (const { hash } of old) cache.cacheIndex.use("chunk", hash);
  await cache.clock.advance(1000);
  for (let seed = 100; seed < 160; seed += 1) cache.put(seed, 262_144);
  const kept = old.filter(({ hash }) => cache.store.has(hash, 262_144)).length;
  assert.ok(kept >= 22 && kept <= 25, `${kept} of the album are left`);
  cache.cacheIndex.flush();
  const segments = old.map(({ hash }) => cache.cacheIndex.find("chunk", hash)?.segment);
  assert.ok(segments.every((segment) => segment === undefined || segment === SEGMENT.protected));
  assert.ok(cache.cacheIndex.totals().protectedDiskBytes <= 0.8 * 8 * MIB);
});

Deno.test("Space.reserve() spares what is being written to", async () => {
  await using cache = await openCache({ limitBytes: 4 * MIB });
  const id = new Uint8Array(16);
  writeExtent(cache, id, 2 * MIB);
  await cache.clock.advance(1000);
  cache.put(1, 200_000);
  cache.space.reserve(1.5 * MIB, { keep: { kind: "extent", id } });
  assert.ok(exists(cache.pathOf("extent", id)));
  assert.throws(() => cache.space.reserve(3 * MIB, { keep: { kind: "extent", id } }), {
    code: "full",
  });
  assert.ok(exists(cache.pathOf("extent", id)));
  cache.space.reserve(3 * MIB);
  assert.ok(!exists(cache.pathOf("extent", id)));
});

Deno.test("Space.onEvict() hears of each file after it is gone, until it is ended", async () => {
  await using cache = await openCache();
  const heard: string[] = [];
  const end = cache.space.onEvict((kind, idHex) => {
    assert.ok(!exists(cache.pathOf(kind, Uint8Array.fromHex(idHex))));
    heard.push(`${kind} ${idHex}`);
  });
  const { hash } = cache.put(1);
  writeExtent(cache, hash, 5000);
  await cache.space.evictTo(0);
  assert.deepEqual(heard.sort(), [`chunk ${hash.toHex()}`, `extent ${hash.toHex()}`]);
  end();
  cache.put(2);
  await cache.space.evictTo(0);
  assert.equal(heard.length, 2);
});

Deno.test("Space.evictTo() with dryRun tells what would go, and leaves it", async () => {
  await using cache = await openCache();
  const overhead = emptyBytes(cache) + cache.index.diskBytes();
  for (let seed = 0; seed < 40; seed += 1) {
    cache.put(seed, 100_000);
    await cache.clock.advance(1000);
  }
  const target = overhead + 20 * 102_400 + 50_000;
  const would = await cache.space.evictTo(target, { dryRun: true });
  assert.equal(cache.cacheIndex.totals().chunks, 40);
  const did = await cache.space.evictTo(target);
  assert.deepEqual(did, would);
  assert.ok(cache.space.usedBytes() <= target);
  assert.equal(did.chunkBytes, did.chunks * 102_400);
  assert.ok(did.chunks >= 20 && did.chunks <= 21, `${did.chunks}`);
});

Deno.test("Space.evictTo() ends with the signal", async () => {
  await using cache = await openCache();
  for (let seed = 0; seed < 5; seed += 1) cache.put(seed);
  const signal = AbortSignal.abort(new Error("enough"));
  await assert.rejects(cache.space.evictTo(0, { signal }), { message: "enough" });
});

Deno.test("Space.setLimit() holds from the next write on", async () => {
  await using cache = await openCache();
  for (let seed = 0; seed < 50; seed += 1) cache.put(seed, 262_144);
  cache.space.setLimit(6 * MIB);
  cache.put(100, 262_144);
  assert.ok(cache.diskUsage() <= 6 * MIB);
});

Deno.test("Space.reserve() leaves records without files, not files without records, when it is cut short", async () => {
  await using cache = await openCache({ limitBytes: 3 * MIB });
  cache.index.beforeCommit = () => {
    throw new Error("killed");
  };
  assert.throws(() => {
    for (let seed = 0; seed < 50; seed += 1) cache.put(seed, 262_144);
  }, { message: "killed" });
  cache.index.beforeCommit = () => {};
  assert.ok(cache.diskUsage() <= 3 * MIB);
  assert.ok(cache.cacheIndex.totals().chunkDiskBytes > 0);
  for (let seed = 100; seed < 150; seed += 1) cache.put(seed, 262_144);
  assertAgrees(cache);
});

Deno.test("Space and its records agree again after any failed commit, once swept", async () => {
  const points = await forEachFault(async (plan) => {
    await using cache = await openCache({ limitBytes: 2 * MIB });
    cache.index.beforeCommit = () => plan.check("index.commit", "test");
    for (let seed = 0; seed < 12; seed += 1) {
      attempt(() => {
        const { hash, bytes } = cache.put(seed, 262_144);
        const chunk = { hash, length: bytes.length };
        if (seed % 2 === 0) cache.cacheIndex.reference([chunk], 2 ** 20 * seed + 1);
      });
    }
    assert.ok(cache.diskUsage() <= 2 * MIB);
    cache.index.beforeCommit = () => {};
    const { cacheDir, cacheIndex, clock } = cache;
    await sweep({ cacheDir, cacheIndex, clock, log: silentLog });
    assert.deepEqual(cacheIndex.recount(), cacheIndex.totals());
    assertAgrees(cache);
  }, { code: "full" });
  assert.ok(points > 10, `${points} commits`);
});

/** Makes an attempt that a full disk may end. */
function attempt(call: () => void): void {
  try {
    call();
  } catch (error) {
    assert.ok(error instanceof Error && "code" in error && error.code === "full", `${error}`);
  }
}
