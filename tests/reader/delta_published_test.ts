import assert from "node:assert/strict";
import { silentLog } from "../../src/base/log.ts";
import type { ChunkRegion } from "../../src/chunking/chunk_manifest.ts";
import { DeltaTransfer, SETTLE_MS_MAX } from "../../src/reader/delta_transfer.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import { MemoryIndex } from "../support/memory_index.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { tempDir } from "../support/temp_dir.ts";
import { DeltaRig, edited, regionsOf, track } from "./delta_rig.ts";
import { assertSameBytes, KiB, MiB, noise } from "./rig.ts";

const plain = track();

/** A rig in which somebody publishes `regions`, or throws; and how often that was asked for. */
function publishing(
  dir: string,
  regions: ChunkRegion[] | Error | undefined,
  options: { index?: MemoryIndex; origin?: MemoryOrigin } = {},
): { rig: DeltaRig; asked: string[] } {
  const asked: string[] = [];
  const publishedList = (version: FileVersion): Promise<ChunkRegion[] | undefined> => {
    asked.push(version.sources[0].path);
    return regions instanceof Error ? Promise.reject(regions) : Promise.resolve(regions);
  };
  return { rig: new DeltaRig(dir, { ...options, delta: { publishedList } }), asked };
}

Deno.test("FileReader.read() fetches exactly the chunks that a published list names and that are not here", async () => {
  await using dir = await tempDir();
  const now = edited(plain, 500_000);
  const { rig, asked } = publishing(dir.path, await regionsOf(now));
  await using _ = rig;
  const old = await rig.cached(plain);
  const known = rig.rig.manifests.listOf(old);
  const version = rig.add(now);
  const found = await rig.readThrough(version);
  assertSameBytes(found.bytes, now);
  const chunk = known.length(known.indexAt(500_000));
  // One chunk, and what is compared of the ends, which are here.
  assert.equal(found.asked, chunk + 2 * 4 * KiB);
  assert.equal(asked.length, 1);
  assert(rig.rig.manifests.listOf(version).whole);
});

Deno.test("FileReader.read() serves the right bytes whatever is published", async (t) => {
  const other = noise(plain.length, 77);
  const shorter = await regionsOf(plain.slice(0, -1));
  const [first] = await regionsOf(plain);
  assert(first);
  const cases: Record<string, ChunkRegion[] | Error | undefined> = {
    "nothing": undefined,
    "an error": new Error("a bug"),
    "a list of fewer bytes": shorter,
    "a list of more bytes": [...await regionsOf(plain), ...shorter],
    "a part of the list": [first],
    "hashes of another length": [{
      kind: "whole",
      chunks: [{ hash: new Uint8Array(8), length: plain.length }],
    }],
    "another file's list, whose chunks are here": await regionsOf(other),
    "a list of chunks that nobody has": await regionsOf(noise(plain.length, 78)),
  };
  for (const [name, regions] of Object.entries(cases)) {
    await t.step(name, async () => {
      await using dir = await tempDir();
      const { rig, asked } = publishing(dir.path, regions);
      await using _ = rig;
      rig.storeAll(other, await regionsOf(other));
      const found = await rig.readThrough(rig.add(plain));
      assertSameBytes(found.bytes, plain);
      assert.equal(asked.length, 1);
      assert(rig.rig.manifests.ids().length === 1);
    });
  }
});

Deno.test("FileReader gives up a published list that proves wrong, for good", async () => {
  await using dir = await tempDir();
  const index = new MemoryIndex();
  const origin = new MemoryOrigin("nas");
  const forged = await regionsOf(noise(plain.length, 78));
  let version: FileVersion;
  {
    const { rig, asked } = publishing(dir.path, forged, { index, origin });
    await using _ = rig;
    version = rig.add(plain);
    await rig.rig.reader.bringAll(version, { signal: new AbortController().signal });
    assert.equal(asked.length, 1);
    assert.equal(rig.rig.reader.stats().refusedVersions, 1);
    // As when all of it is evicted.
    rig.rig.manifests.remove(version.id);
  }
  const { rig, asked } = publishing(dir.path, forged, { index, origin });
  await using _ = rig;
  rig.rig.versions.set(version.id, version);
  assertSameBytes(await rig.rig.readThrough(version), plain);
  assert.deepEqual(asked, []);
});

Deno.test("FileReader knows after a restart which list was derived", async () => {
  await using dir = await tempDir();
  const index = new MemoryIndex();
  const origin = new MemoryOrigin("nas");
  const forged = noise(plain.length, 78);
  forged.set(plain.subarray(0, 300 * KiB));
  forged.set(plain.subarray(-300 * KiB), plain.length - 300 * KiB);
  const regions = await regionsOf(forged);
  let version: FileVersion;
  {
    const { rig } = publishing(dir.path, regions, { index, origin });
    await using _ = rig;
    rig.storeAll(forged, regions);
    version = rig.add(plain);
    await rig.rig.read(version, 0, 10);
    const list = rig.rig.manifests.listOf(version);
    rig.rig.store.delete(list.hash(list.indexAt(500_000)));
  }
  const { rig } = publishing(dir.path, undefined, { index, origin });
  await using _ = rig;
  rig.rig.versions.set(version.id, version);
  const found = await rig.rig.read(version, 500_000, 10);
  assertSameBytes(found, plain.subarray(500_000, 500_010));
  assert.equal(rig.rig.reader.stats().refusedVersions, 1);
});

Deno.test("FileReader.read() throws changed where a list of the file's own bytes does not hold", async () => {
  await using dir = await tempDir();
  await using rig = new DeltaRig(dir.path);
  const bytes = noise(MiB, 3);
  const version = await rig.cached(bytes, { path: "own.bin", version: "same" });
  const list = rig.rig.manifests.listOf(version);
  rig.rig.store.delete(list.hash(list.indexAt(500_000)));
  rig.origin.put("own.bin", edited(bytes, 500_000), 0n, "same");
  await assert.rejects(rig.rig.read(version, 500_000, 10), { code: "changed" });
  assert.equal(rig.rig.reader.stats().refusedVersions, 0);
});

Deno.test("FileReader.read() waits for a published list no longer than it may take to settle", async () => {
  await using dir = await tempDir();
  const waiting = Promise.withResolvers<undefined>();
  const slept: number[] = [];
  const delta = { publishedList: () => waiting.promise };
  const clock = {
    now: () => 0,
    monotonic: () => 0,
    sleep: (ms: number): Promise<void> => {
      slept.push(ms);
      // Only what limits settling is over at once.
      return ms === SETTLE_MS_MAX ? Promise.resolve() : new Promise(() => undefined);
    },
  };
  await using rig = new DeltaRig(dir.path, { delta, clock });
  const found = await rig.rig.read(rig.add(plain), 0, 100);
  assertSameBytes(found, plain.subarray(0, 100));
  assert(slept.includes(SETTLE_MS_MAX));
  assert.equal(rig.rig.reader.stats().derivedVersions, 0);
  waiting.resolve(undefined);
});

Deno.test("DeltaTransfer.settle() is no promise for what is cached, or has nothing in common", async () => {
  await using dir = await tempDir();
  await using rig = new DeltaRig(dir.path);
  const { manifests, extents, store, cacheIndex, ingest, fetcher } = rig.rig;
  await using delta = new DeltaTransfer({
    ...{ manifests, extents, store, cacheIndex, ingest, fetcher },
    digest: (bytes) => bytes.slice(0, 16),
    describe: (id) => rig.rig.versions.get(id),
    keeps: true,
    keep: () => undefined,
    clock: { now: () => 0, monotonic: () => 0, sleep: () => new Promise(() => undefined) },
    log: silentLog,
  });
  const how = { signal: new AbortController().signal, isBackground: false };
  const range = { offset: 0, length: 10 };
  assert.equal(delta.settle(rig.add(noise(100), { path: "empty" }), range, how), undefined);
  const cached = await rig.cached(plain);
  assert.equal(delta.settle(cached, range, how), undefined);
  // Its head may show something, once it is here: nobody waits for that.
  assert.equal(delta.settle(rig.add(track({ seed: 4 })), range, how), undefined);
  const time = { mtimeNs: 7n };
  await rig.cached(noise(100, 2), time);
  assert(delta.settle(rig.add(noise(100, 3), time), range, how) instanceof Promise);
});
