import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import { decodeItem, encodeItem } from "../../src/store/cache_item.ts";
import { decodeState, encodeState, TOTALS_ZERO } from "../../src/store/cache_totals.ts";
import { SEGMENT } from "../../src/store/lru_eviction.ts";
import { openCache } from "./cache_fixture.ts";

const MIB = 1024 * 1024;

function there(cache: Awaited<ReturnType<typeof openCache>>, seeds: number[]): boolean[] {
  return seeds.map((seed) => cache.store.has(cache.chunk(seed, 262_144).hash, 262_144));
}

Deno.test("Space evicts probation, then protected, then tags, and never what is pinned", async () => {
  await using cache = await openCache({ limitBytes: 64 * MIB });
  const names = [0, 1, 2, 3].map((seed) => ({
    kind: "chunk" as const,
    id: cache.put(seed, 262_144).hash,
  }));
  for (const [i, segment] of [SEGMENT.pinned, SEGMENT.tags, SEGMENT.protected].entries()) {
    const name = names[i];
    assert.ok(name);
    cache.cacheIndex.move([name], segment);
  }
  const seeds = [3, 2, 1, 0];
  for (let gone = 1; gone <= 3; gone += 1) {
    cache.space.freeUp(1);
    assert.deepEqual(there(cache, seeds), seeds.map((_, i) => i >= gone));
  }
  assert.equal(cache.space.freeUp(1), false);
  await cache.space.evictTo(0);
  assert.deepEqual(there(cache, [0]), [true]);
  assert.equal(cache.cacheIndex.totals().pinnedBytes, 262_144);
});

Deno.test("Space.reserve() throws full rather than evict what is pinned", async () => {
  await using cache = await openCache({ limitBytes: 8 * MIB });
  const pinned = Array.from({ length: 20 }, (_, seed) => cache.put(seed, 262_144).hash);
  cache.cacheIndex.move(pinned.map((id) => ({ kind: "chunk", id })), SEGMENT.pinned);
  assert.throws(
    () => {
      for (let seed = 30; seed < 60; seed += 1) {
        cache.put(seed, 262_144);
        cache.cacheIndex.move([{ kind: "chunk", id: cache.chunk(seed, 262_144).hash }], 192);
      }
    },
    (error) => error instanceof MusicfsError && error.code === "full",
  );
  assert.ok(there(cache, [...pinned.keys()]).every(Boolean));
  assert.ok(cache.diskUsage() <= 8 * MIB);
  assert.deepEqual(cache.cacheIndex.recount(), cache.cacheIndex.totals());
});

Deno.test("CacheIndex.record() moves an item to the segment it names, unless it is pinned", async () => {
  await using cache = await openCache();
  const { hash } = cache.put(1);
  const item = { kind: "chunk", id: hash, diskBytes: 8192, contentBytes: 8192, owner: 5 } as const;
  const segment = (): number | undefined => cache.cacheIndex.find("chunk", hash)?.segment;
  cache.cacheIndex.record({ ...item, segment: SEGMENT.tags });
  cache.cacheIndex.record(item);
  assert.equal(segment(), SEGMENT.tags);
  cache.cacheIndex.flush();
  cache.cacheIndex.record({ ...item, segment: SEGMENT.probation });
  assert.equal(segment(), SEGMENT.probation);
  cache.cacheIndex.move([item], SEGMENT.pinned);
  cache.cacheIndex.record({ ...item, segment: SEGMENT.tags });
  assert.equal(segment(), SEGMENT.pinned);
  cache.cacheIndex.raise([item], SEGMENT.tags);
  assert.equal(segment(), SEGMENT.pinned);
  assert.deepEqual(cache.cacheIndex.recount(), cache.cacheIndex.totals());
});

Deno.test("decodeState() reads the sums of a musicfs that knew fewer of them", () => {
  const totals = { ...TOTALS_ZERO, chunks: 3, protectedDiskBytes: 4096, pinnedBytes: 8192 };
  const bytes = encodeState({ sequence: 9, totals });
  assert.deepEqual(decodeState(bytes), { sequence: 9, totals });
  const older = decodeState(bytes.subarray(0, bytes.length - 16));
  assert.deepEqual(older, { sequence: 9, totals: { ...totals, pinnedBytes: 0 } });
});

Deno.test("decodeItem() takes a segment it does not know for probation", () => {
  const item = {
    diskBytes: 4096,
    contentBytes: 5,
    lastUse: 1,
    since: 1,
    segment: SEGMENT.pinned,
    references: 2,
    owner: 7,
  };
  const bytes = encodeItem(item);
  assert.deepEqual(decodeItem(bytes), item);
  bytes[36] = 200;
  assert.equal(decodeItem(bytes).segment, SEGMENT.probation);
});
