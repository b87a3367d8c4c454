import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import { SEGMENT } from "../../src/store/lru_eviction.ts";
import { MemoryIndex } from "../support/memory_index.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { tempDir } from "../support/temp_dir.ts";
import { assertSameBytes, filesBelow, KiB, MiB, noise, Rig } from "./rig.ts";

function endless(): AbortSignal {
  return new AbortController().signal;
}

Deno.test("FileReader.bringAll() fetches what is missing, once, and tells how far it is", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const bytes = noise(9 * MiB + 777);
  const version = rig.know(1, "nas", origin.put("song.flac", bytes));
  await rig.read(version, 0, 64 * KiB);
  await rig.read(version, 5 * MiB, 64 * KiB);
  const told: number[] = [];
  const fetched = await rig.reader.bringAll(version, {
    signal: endless(),
    onProgress: (sum) => told.push(sum),
  });
  assert.equal(fetched, version.size - 128 * KiB);
  assert.equal(told.at(-1), fetched);
  assert.deepEqual(told, told.toSorted((a, b) => a - b));
  assert.equal(origin.bytesRead, version.size);
  assert(origin.reads.every(({ length }) => length <= MiB));
  assert.equal(rig.manifests.listOf(version).whole, true);
  assert.deepEqual(filesBelow(`${dir.path}/extents`), []);
  origin.remove("song.flac");
  assertSameBytes(await rig.readThrough(version), bytes);
  assert.equal(await rig.reader.bringAll(version, { signal: endless() }), 0);
});

Deno.test("FileReader.bringAll() fetches chunks again that were evicted", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const version = rig.know(1, "nas", origin.put("song.flac", noise(9 * MiB)));
  await rig.readThrough(version);
  rig.space.freeUp(3 * MiB);
  origin.reads.length = 0;
  const fetched = await rig.reader.bringAll(version, { signal: endless() });
  assert(fetched >= 3 * MiB && fetched < 9 * MiB, `${fetched}`);
  assert.equal(origin.bytesRead, fetched);
  assert.equal(rig.cachedReader().read(1, 0, new Uint8Array(9 * MiB)), 9 * MiB);
});

Deno.test("FileReader.bringAll() throws full before it fetches what can never be held", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin], limitBytes: 20 * MiB });
  const [pinned, other, large] = [8, 12, 25].map((mib, i) =>
    rig.know(i + 1, "nas", origin.put(`${i}.flac`, noise(mib * MiB, i + 1)))
  );
  assert(pinned && other && large);
  rig.reader.pin(pinned);
  await rig.reader.bringAll(pinned, { signal: endless() });
  for (const version of [other, large]) {
    await assert.rejects(
      rig.reader.bringAll(version, { signal: endless() }),
      (error) => error instanceof MusicfsError && error.code === "full",
    );
  }
  assert.equal(origin.bytesRead, 8 * MiB);
  assert.equal(await rig.reader.bringAll(pinned, { signal: endless() }), 0);
});

Deno.test("FileReader.bringAll() throws what is wrong: the disk, the origin, the signal, no cache", async () => {
  const cases: [string, (dir: string, origin: MemoryOrigin) => void, boolean][] = [
    ["unavailable", (dir) => Deno.writeFileSync(`${dir}/extents`, new Uint8Array(1)), true],
    ["not_found", (_dir, origin) => origin.remove("song.flac"), true],
    ["invalid", () => undefined, false],
  ];
  for (const [code, spoil, keeps] of cases) {
    await using dir = await tempDir();
    const origin = new MemoryOrigin("nas");
    await using rig = new Rig(dir.path, { origins: [origin], keeps });
    const version = rig.know(1, "nas", origin.put("song.flac", noise(3 * MiB)));
    spoil(dir.path, origin);
    await assert.rejects(
      rig.reader.bringAll(version, { signal: endless() }),
      (error) => error instanceof MusicfsError && error.code === code,
      code,
    );
  }
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const version = rig.know(1, "nas", origin.put("song.flac", noise(9 * MiB)));
  const stop = new AbortController();
  const onProgress = (): void => stop.abort(new Error("enough"));
  await assert.rejects(
    rig.reader.bringAll(version, { signal: stop.signal, onProgress }),
    /enough/,
  );
  assert(origin.bytesRead < 9 * MiB);
  await rig.reader.idle();
});

Deno.test("FileReader.pin() keeps a file through evictions and a restart, until unpin()", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  const index = new MemoryIndex();
  const bytes = noise(5 * MiB);
  const file = origin.put("song.flac", bytes);
  {
    await using rig = new Rig(dir.path, { origins: [origin], index });
    const version = rig.know(1, "nas", file);
    rig.reader.pin(version);
    await rig.reader.bringAll(version, { signal: endless() });
    assert(rig.cacheIndex.totals().pinnedBytes >= 5 * MiB);
    rig.cacheIndex.flush();
  }
  await using rig = new Rig(dir.path, { origins: [origin], index });
  const version = rig.know(1, "nas", file);
  await rig.space.evictTo(0);
  assert.equal(rig.cachedReader().read(1, 0, new Uint8Array(5 * MiB)), 5 * MiB);
  assert.deepEqual(rig.cacheIndex.totals(), rig.cacheIndex.recount());
  const generation = index.generation();
  rig.reader.pin(version);
  assert.equal(index.generation(), generation, "a second pin() writes");

  rig.reader.unpin(version, []);
  assert.equal(rig.cacheIndex.totals().pinnedBytes, 0);
  await rig.space.evictTo(0);
  assert.equal(rig.cacheIndex.totals().chunks, 0);
});

Deno.test("FileReader.pin() holds for chunks that were damaged and are fetched again", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const version = rig.know(1, "nas", origin.put("song.flac", noise(3 * MiB)));
  rig.reader.pin(version);
  await rig.reader.bringAll(version, { signal: endless() });
  const { pinnedBytes } = rig.cacheIndex.totals();
  const [path] = filesBelow(`${dir.path}/chunks`);
  assert(path);
  await Deno.truncate(path, 3);
  await rig.read(version, 0, 3 * MiB);
  assert.equal(rig.cacheIndex.totals().pinnedBytes, pinnedBytes);
});

Deno.test("FileReader.unpin() leaves pinned what another pinned file has in common", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const bytes = noise(3 * MiB);
  const first = rig.know(1, "nas", origin.put("1.flac", bytes));
  const second = rig.know(2, "nas", origin.put("2.flac", bytes));
  for (const version of [first, second]) {
    rig.reader.pin(version);
    await rig.reader.bringAll(version, { signal: endless() });
  }
  const { pinnedBytes } = rig.cacheIndex.totals();
  rig.reader.unpin(first, [first, second]);
  assert.equal(rig.cacheIndex.totals().pinnedBytes, pinnedBytes);
  rig.reader.unpin(second, []);
  assert.equal(rig.cacheIndex.totals().pinnedBytes, 0);
});

Deno.test("Manifests.remove() of a pinned version unpins chunks that nothing names any more", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const version = rig.know(1, "nas", origin.put("song.flac", noise(3 * MiB)));
  rig.reader.pin(version);
  await rig.reader.bringAll(version, { signal: endless() });
  const [chunk] = rig.cacheIndex.oldest(SEGMENT.pinned);
  assert(chunk);
  rig.manifests.remove(1);
  assert.equal(rig.cacheIndex.totals().pinnedBytes, 0);
  assert.equal(rig.cacheIndex.find("chunk", chunk.id)?.segment, SEGMENT.probation);
});

Deno.test("FileReader.bringAll() fetches again what is damaged in an extent", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const bytes = noise(3 * MiB);
  const version = rig.know(1, "nas", origin.put("song.flac", bytes));
  await rig.read(version, MiB, MiB);
  const [extent] = filesBelow(`${dir.path}/extents`);
  assert(extent);
  using file = await Deno.open(extent, { write: true });
  await file.seek(MiB + 5, Deno.SeekMode.Start);
  await file.write(Uint8Array.of((bytes[MiB + 5] ?? 0) ^ 1));
  await rig.reader.bringAll(version, { signal: endless() });
  const all = new Uint8Array(version.size);
  assert.equal(rig.cachedReader().read(1, 0, all), version.size);
  assertSameBytes(all, bytes);
});

Deno.test("FileReader.bringAll() ends when the reader is closed", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const version = rig.know(1, "nas", origin.put("song.flac", noise(3 * MiB)));
  origin.hold();
  const brought = rig.reader.bringAll(version, { signal: endless() });
  await rig.reader.close();
  await assert.rejects(
    brought,
    (error) => error instanceof MusicfsError && error.code === "unavailable",
  );
  origin.release();
});
