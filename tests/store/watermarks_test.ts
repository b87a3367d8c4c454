import fc from "fast-check";
import assert from "node:assert/strict";
import type { Log } from "../../src/base/log.ts";
import { MusicfsError } from "../../src/base/errors.ts";
import { statFilesystem } from "../../src/base/posix.ts";
import { type DiskLevel, freeBytesAt, levelAfter, usedRatio } from "../../src/store/watermarks.ts";
import { testWith } from "../support/requirements.ts";
import { type SmallDisk, smallDisk } from "../support/small_disk.ts";
import { type CacheFixture, openCache } from "./cache_fixture.ts";

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const LENGTH = 262_144;

/** The level of a disk of 100 GiB with so many percent in use. */
function levelAt(percent: number, before: DiskLevel): DiskLevel {
  return levelAfter(before, { usedBytes: percent * GIB, freeBytes: (100 - percent) * GIB });
}

Deno.test("levelAfter() warns at 90 %, evicts at 95 %, and keeps nothing from 99 % to 95 %", () => {
  const way = [50, 89, 91, 96, 98.9, 99.1, 98, 95.1, 94.9, 90.1, 89, 86, 84];
  const levels: DiskLevel[] = [];
  let level: DiskLevel = "ok";
  for (const percent of way) {
    level = levelAt(percent, level);
    levels.push(level);
  }
  const up = ["ok", "ok", "high", "evicting", "evicting", "full"];
  assert.deepEqual(levels, [...up, "full", "full", "high", "high", "high", "high", "ok"]);
});

Deno.test("levelAfter() asks no more than 10, 5 and 1 GiB of a large disk", () => {
  const onDisk = (freeGib: number): DiskLevel =>
    levelAfter("ok", { usedBytes: (4000 - freeGib) * GIB, freeBytes: freeGib * GIB });
  assert.deepEqual([11, 9, 6, 4, 2, 0.9].map(onDisk), [
    "ok",
    "high",
    "high",
    "evicting",
    "evicting",
    "full",
  ]);
});

Deno.test("levelAfter() is one that the disk's numbers allow, whatever it was before", () => {
  const level = fc.constantFrom<DiskLevel>("ok", "high", "evicting", "full");
  const bytes = fc.integer({ min: 0, max: 2 ** 44 });
  fc.assert(fc.property(level, bytes, bytes, (before, usedBytes, freeBytes) => {
    const disk = { usedBytes, freeBytes };
    const after = levelAfter(before, disk);
    const used = usedRatio(disk);
    if (after === "full") assert.ok(used >= 0.95);
    if (used < 0.85) assert.equal(after, "ok");
    if (freeBytes < freeBytesAt(0.99, disk)) assert.equal(after, "full");
    assert.ok(after !== "ok" || freeBytes >= freeBytesAt(0.9, disk));
  }));
});

/** A cache on a disk of its own, with what was logged. */
async function onDisk(bytes: number): Promise<
  AsyncDisposable & { disk: SmallDisk; cache: CacheFixture; said: string[] }
> {
  const said: string[] = [];
  const note = (message: string): void => void said.push(message);
  const log: Log = { debug: () => {}, info: note, warning: note, error: note };
  const disk = await smallDisk(bytes);
  const cache = await openCache({
    cacheDir: disk.path,
    disk: () => statFilesystem(disk.path),
    log,
  });
  cache.disk.isFull = () => cache.space.level === "full";
  return { disk, cache, said, [Symbol.asyncDispose]: () => disk[Symbol.asyncDispose]() };
}

/** Whether the cache took a chunk; a second later, so that it looks at the disk again. */
async function takes(cache: CacheFixture, seed: number): Promise<boolean> {
  await cache.clock.advance(1_000);
  try {
    cache.put(seed, LENGTH);
    return true;
  } catch (error) {
    if (!(error instanceof MusicfsError) || error.code !== "full") throw error;
    return false;
  }
}

function usedOf(disk: SmallDisk): number {
  const status = statFilesystem(disk.path);
  assert(typeof status !== "number");
  return usedRatio(status);
}

testWith(
  ["root", "mount"],
  "Space keeps a disk below 95 % that the cache has to itself",
  async () => {
    await using rig = await onDisk(20 * MIB);
    const { cache, disk, said } = rig;
    let most = 0;
    for (let seed = 0; seed < 200; seed += 1) {
      assert.equal(await takes(cache, seed), true);
      most = Math.max(most, usedOf(disk));
    }
    assert.ok(most > 0.9 && most <= 0.95, `${most}`);
    assert.equal(said.length, 1, said.join("\n"));
    assert.match(said[0] ?? "", /nearly full/);
    assert.deepEqual(cache.cacheIndex.recount(), cache.cacheIndex.totals());
  },
);

testWith(
  ["root", "mount"],
  "Space gives a disk back that another program fills to 97 %, and keeps the latest",
  async () => {
    await using rig = await onDisk(20 * MIB);
    const { cache, disk } = rig;
    for (let seed = 0; seed < 30; seed += 1) await takes(cache, seed);
    await disk.fill(0.6 * MIB);
    assert.ok(usedOf(disk) > 0.965);

    assert.equal(await takes(cache, 100), true);

    assert.ok(usedOf(disk) <= 0.95, `${usedOf(disk)}`);
    const { chunks } = cache.cacheIndex.totals();
    assert.ok(chunks > 15 && chunks < 30, `${chunks}`);
    assert.equal(cache.store.has(cache.chunk(100, LENGTH).hash, LENGTH), true);
    assert.equal(cache.store.has(cache.chunk(29, LENGTH).hash, LENGTH), true);
  },
);

testWith(
  ["root", "mount"],
  "Space keeps nothing new from 99 % on, frees what it can, and goes on below 95 %",
  async () => {
    await using rig = await onDisk(20 * MIB);
    const { cache, disk, said } = rig;
    for (let seed = 0; seed < 8; seed += 1) await takes(cache, seed);
    await disk.fill();
    assert.equal(await takes(cache, 100), true, "what is older makes room");
    // The other program takes at once what it is given.
    let wasTaken = true;
    for (let seed = 101; wasTaken && seed < 110; seed += 1) {
      await disk.fill();
      wasTaken = await takes(cache, seed);
    }
    assert.equal(wasTaken, false);
    assert.equal(cache.cacheIndex.totals().chunks, 0);
    assert.equal(cache.space.level, "full");
    assert.equal(cache.disk.writable, false);

    await disk.fill(0.6 * MIB);
    assert.equal(await takes(cache, 200), false, "97 %");
    await disk.fill(1.5 * MIB);
    assert.equal(await takes(cache, 201), true, "92 %");
    assert.equal(cache.disk.writable, true);
    await disk.free();
    await cache.clock.advance(1_000);
    assert.equal(cache.space.look(), "ok");
    assert.deepEqual(said.map((line) => line.split(";")[0]), [
      "The cache disk is full",
      "The cache disk has room again",
    ]);
  },
);

testWith(
  ["root", "mount"],
  "Space.look() asks the disk once a second, and reserve() too",
  async () => {
    await using rig = await onDisk(20 * MIB);
    const { cache, disk } = rig;
    await disk.fill();
    assert.equal(cache.space.look(), "ok");
    await cache.clock.advance(999);
    assert.equal(cache.space.look(), "ok");
    await cache.clock.advance(1);
    assert.equal(cache.space.look(), "full");
  },
);
