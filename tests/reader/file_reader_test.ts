import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import { FaultyOrigin, forEachFault } from "../support/faults.ts";
import { MemoryIndex } from "../support/memory_index.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { tempDir } from "../support/temp_dir.ts";
import { assertSameBytes, diskBytesOf, filesBelow, KiB, MiB, noise, Rig } from "./rig.ts";

Deno.test("FileReader.read() of a cold file fetches the blocks asked for and no more", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const bytes = noise(20 * MiB);
  const version = rig.know(1, "nas", origin.put("a/song.flac", bytes));

  assertSameBytes(await rig.read(version, 0, 64 * KiB, 7), bytes.subarray(0, 64 * KiB));
  const tail = version.size - 100 * KiB - 3;
  assertSameBytes(await rig.read(version, tail, 200 * KiB, 7), bytes.subarray(tail));
  assertSameBytes(
    await rig.read(version, 5 * MiB + 1, 1, 7),
    bytes.subarray(5 * MiB + 1, 5 * MiB + 2),
  );
  await rig.reader.idle();

  assert.deepEqual(origin.reads.map(({ offset, length }) => [offset, length]), [
    [0, 64 * KiB],
    [20 * MiB - 112 * KiB, 112 * KiB],
    [5 * MiB, 16 * KiB],
  ]);
  const reads = origin.reads.length;
  assertSameBytes(await rig.read(version, 5, 64 * KiB - 5), bytes.subarray(5, 64 * KiB));
  assertSameBytes(await rig.read(version, tail, 200 * KiB), bytes.subarray(tail));
  assert.equal(origin.reads.length, reads);
});

Deno.test("FileReader.read() in sequence turns the file into chunks, which need no origin", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  const index = new MemoryIndex();
  const bytes = noise(9 * MiB + 12_345);
  const file = origin.put("a/song.flac", bytes);
  {
    await using rig = new Rig(dir.path, { origins: [origin], index });
    const version = rig.know(1, "nas", file);
    assertSameBytes(await rig.readThrough(version), bytes);
    assert.equal(rig.manifests.list(1)?.frontier, version.size);
    assert.equal(origin.bytesRead, version.size);
    assert.deepEqual(filesBelow(`${dir.path}/extents`), []);
    assert.equal(filesBelow(`${dir.path}/manifests`).length, 1);
  }
  origin.remove("a/song.flac");
  await using rig = new Rig(dir.path, { origins: [origin], index });
  const version = rig.know(1, "nas", file);
  assertSameBytes(await rig.readThrough(version, 100_000), bytes);
  assert.equal(rig.reader.stats().originBytes, 0);
  const all = new Uint8Array(version.size);
  assert.equal(rig.cachedReader().read(1, 0, all), version.size);
  assertSameBytes(all, bytes);
});

Deno.test("FileReader.read() fetches ahead of a handle that reads on, and keeps it", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const version = rig.know(1, "nas", origin.put("song.flac", noise(30 * MiB)));
  for (let offset = 0; offset < 2 * MiB; offset += 128 * KiB) {
    await rig.read(version, offset, 128 * KiB, 7);
  }
  await rig.reader.idle();
  assert(origin.bytesRead > 2 * MiB + 512 * KiB, `${origin.bytesRead}`);
  assert(origin.bytesRead <= 11 * MiB, `${origin.bytesRead}`);
  const seen = new Set<number>();
  for (const { offset, length } of origin.reads) {
    for (let at = offset; at < offset + length; at += 16 * KiB) {
      assert(!seen.has(at), `block at ${at} was fetched twice`);
      seen.add(at);
    }
  }
});

Deno.test("FileReader.noteUses() goes on fetching ahead of reads the worker answered", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const version = rig.know(1, "nas", origin.put("song.flac", noise(40 * MiB)));
  for (let offset = 0; offset < 2 * MiB; offset += 128 * KiB) {
    await rig.read(version, offset, 128 * KiB, 7);
  }
  await rig.reader.idle();
  const before = origin.bytesRead;
  const worker = rig.cachedReader();
  assert.equal(worker.read(1, 2 * MiB, new Uint8Array(MiB)), MiB);
  rig.reader.noteUses(worker.uses());
  await rig.reader.idle();
  assert(origin.bytesRead > before);
});

Deno.test("FileReader.read() mends chunks that are missing, damaged or cut off", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const bytes = noise(3 * MiB);
  const version = rig.know(1, "nas", origin.put("song.flac", bytes));
  await rig.readThrough(version);
  const list = rig.manifests.listOf(version);
  const damage = [
    (path: string) => Deno.remove(path),
    (path: string) => Deno.truncate(path, 1),
    (path: string) => Deno.writeFile(path, noise(list.length(5), 99)),
  ];
  for (const [i, spoil] of damage.entries()) {
    const name = list.hash(3 + i).toHex();
    await spoil(`${dir.path}/chunks/${name.slice(0, 2)}/${name}`);
  }
  origin.reads.length = 0;
  assertSameBytes(await rig.read(version, 0, version.size), bytes);
  const [first, end] = [list.start(3), list.start(6)];
  assert.deepEqual(origin.reads, [{ path: "song.flac", offset: first, length: end - first }]);
  assert.deepEqual(
    [rig.reader.stats().chunkMisses, rig.reader.stats().corruptChunks],
    [1, 2],
  );
  assertSameBytes(await rig.read(version, 0, version.size), bytes);
  assert.equal(origin.reads.length, 1);
});

Deno.test("FileReader.read() throws changed when the origin's bytes no longer fit the chunks", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const bytes = noise(1 * MiB);
  const version = rig.know(1, "nas", origin.put("song.flac", bytes));
  await rig.readThrough(version);
  const name = rig.manifests.listOf(version).hash(2).toHex();
  await Deno.remove(`${dir.path}/chunks/${name.slice(0, 2)}/${name}`);
  // Under the version that is known: an origin that lies.
  bytes.fill(0);
  await assert.rejects(
    rig.read(version, 0, version.size),
    (error) => error instanceof MusicfsError && error.code === "changed",
  );
});

Deno.test("FileReader.read() gives the right bytes with a damaged extent", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const bytes = noise(3 * MiB);
  const version = rig.know(1, "nas", origin.put("song.flac", bytes));
  await rig.read(version, MiB, MiB);
  const [extent] = filesBelow(`${dir.path}/extents`);
  assert(extent);
  const intact = await Deno.readFile(extent);
  for (const at of [MiB + 5, 3 * MiB + 8, 3 * MiB + 4096 + 8 * 64, 3 * MiB + 4096 + 8 * 64 + 7]) {
    const damaged = intact.slice();
    damaged[at] = (damaged[at] ?? 0) ^ 0x40;
    await Deno.writeFile(extent, damaged);
    const into = new Uint8Array(MiB);
    assert.equal(rig.cachedReader().read(1, MiB, into), -1, `byte ${at}`);
    assertSameBytes(await rig.read(version, MiB, MiB), bytes.subarray(MiB, 2 * MiB), `byte ${at}`);
    assert.equal(rig.cachedReader().read(1, MiB, into), MiB, `byte ${at}`);
    assertSameBytes(into, bytes.subarray(MiB, 2 * MiB), `byte ${at}`);
  }
});

Deno.test("FileReader.read() works when nothing can be kept", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin], limitBytes: 0 });
  const bytes = noise(2 * MiB);
  const version = rig.know(1, "nas", origin.put("song.flac", bytes));
  assertSameBytes(await rig.readThrough(version), bytes);
  assertSameBytes(await rig.readThrough(version), bytes);
  assert.deepEqual(filesBelow(`${dir.path}/extents`), []);
});

Deno.test("FileReader.read() plays a track that is larger than the limit, and holds the limit", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin], limitBytes: 12 * MiB });
  const bytes = noise(40 * MiB);
  const version = rig.know(1, "nas", origin.put("song.flac", bytes));
  for (let offset = 0; offset < version.size; offset += MiB) {
    assertSameBytes(
      await rig.read(version, offset, MiB, 7),
      bytes.subarray(offset, offset + MiB),
    );
    const used = filesBelow(dir.path).reduce(
      (sum, path) => sum + diskBytesOf(path),
      0,
    );
    assert(used <= 12 * MiB + 256 * KiB, `${used} bytes on disk at ${offset}`);
  }
  await rig.reader.idle();
});

Deno.test("FileReader.read() keeps versions of one file apart", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const [old, fresh] = [noise(2 * MiB, 1), noise(2 * MiB, 2)];
  const first = rig.know(1, "nas", origin.put("song.flac", old));
  await rig.read(first, 0, 512 * KiB);
  const second = rig.know(2, "nas", origin.put("song.flac", fresh));
  assertSameBytes(await rig.read(second, 0, MiB), fresh.subarray(0, MiB));
  assertSameBytes(await rig.read(first, 0, 512 * KiB), old.subarray(0, 512 * KiB));
  await assert.rejects(
    rig.read(first, 0, MiB),
    (error) => error instanceof MusicfsError && error.code === "changed",
  );
});

Deno.test("FileReader.read() gives the bytes or one retryable error at every fault", async () => {
  const bytes = noise(600 * KiB);
  const points = await forEachFault(async (plan) => {
    await using dir = await tempDir();
    const origin = new MemoryOrigin("nas");
    const file = origin.put("song.flac", bytes);
    await using rig = new Rig(dir.path, {
      origins: [new FaultyOrigin(origin, plan)],
      readTimeoutMs: 30,
    });
    const version = rig.know(1, "nas", file);
    for (const [offset, length] of [[300 * KiB, 16 * KiB], [0, 600 * KiB]] as const) {
      try {
        assertSameBytes(
          await rig.read(version, offset, length),
          bytes.subarray(offset, offset + length),
        );
      } catch (error) {
        assert(error instanceof MusicfsError && error.retryable, String(error));
        assert(plan.hits > 0);
      }
    }
    await rig.reader.idle();
  }, { limit: 10 });
  assert(points >= 4, `${points} points`);
});
