import assert from "node:assert/strict";
import { FETCH_BYTES_MAX } from "../../src/base/limits.ts";
import { RECENT_BYTES_MAX } from "../../src/reader/recent_ranges.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { tempDir } from "../support/temp_dir.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { assertSameBytes, KiB, MiB, noise, Rig } from "./rig.ts";

/** Reads `[0, end)` of a file with one handle, as the kernel does, and compares. */
async function play(
  rig: Rig,
  version: FileVersion,
  { bytes, end = bytes.length, handle = 7 }: {
    bytes: Uint8Array;
    end?: number;
    handle?: number;
  },
): Promise<void> {
  for (let offset = 0; offset < end; offset += 128 * KiB) {
    const length = Math.min(128 * KiB, end - offset);
    assertSameBytes(
      await rig.read(version, offset, length, handle),
      bytes.subarray(offset, offset + length),
    );
  }
}

Deno.test("FileReader.read() goes on into the next track, head first, and each byte once", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  const following = new Map<number, FileVersion>();
  const nextTrack = (version: FileVersion): FileVersion | undefined => following.get(version.id);
  const clock = new VirtualClock();
  await using rig = new Rig(dir.path, { origins: [origin], nextTrack, clock });
  const bytes = noise(6 * MiB, 1);
  const [first, second, third] = [1, 2, 3].map((id) =>
    rig.know(id, "nas", origin.put(`${id}.flac`, id === 1 ? bytes : noise(9 * MiB, id)))
  );
  assert(first && second && third);
  following.set(1, second).set(2, third).set(3, first);
  await play(rig, first, { bytes, end: 5 * MiB });
  await rig.reader.idle();
  assert(origin.reads.every(({ path }) => path === "1.flac"), "a copy fetches no next track");
  await clock.advance(2_000);
  await rig.read(first, 5 * MiB, 128 * KiB, 7);
  await rig.reader.idle();
  const [head, tail] = origin.reads.filter(({ path }) => path === "2.flac");
  assert.deepEqual([head?.offset, head?.length], [0, 256 * KiB]);
  assert.deepEqual([tail?.offset, tail?.length], [9 * MiB - 128 * KiB, 128 * KiB]);
  const fetched = (path: string): number =>
    origin.reads.reduce((sum, read) => sum + (read.path === path ? read.length : 0), 0);
  assert.equal(fetched("1.flac"), 6 * MiB);
  assert.equal(fetched("2.flac"), 9 * MiB);
  assert(fetched("3.flac") >= 3 * MiB && fetched("3.flac") <= 9 * MiB, `${fetched("3.flac")}`);

  const before = origin.bytesRead;
  await play(rig, second, { bytes: noise(9 * MiB, 2), end: 512 * KiB, handle: 8 });
  assert.equal(origin.bytesRead, before);
});

Deno.test("FileReader.read() fetches nothing of a next track that is here", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  const tracks: FileVersion[] = [];
  await using rig = new Rig(dir.path, { origins: [origin], nextTrack: () => tracks[1] });
  const bytes = noise(3 * MiB, 1);
  tracks.push(rig.know(1, "nas", origin.put("1.flac", bytes)));
  tracks.push(rig.know(2, "nas", origin.put("2.flac", noise(2 * MiB, 2))));
  const [first, second] = tracks;
  assert(first && second);
  await rig.readThrough(second);
  origin.reads.length = 0;
  await play(rig, first, { bytes });
  await rig.reader.idle();
  assert(origin.reads.every(({ path }) => path === "1.flac"));
});

Deno.test("FileReader.read() of heads and tails alone fetches no next track", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  const tracks: FileVersion[] = [];
  const nextTrack = (version: FileVersion): FileVersion | undefined => tracks[version.id];
  await using rig = new Rig(dir.path, { origins: [origin], nextTrack });
  const bytes = noise(3 * MiB, 1);
  for (let id = 1; id <= 20; id += 1) {
    tracks.push(rig.know(id, "nas", origin.put(`${id}.flac`, bytes)));
  }
  for (const version of tracks) {
    await rig.read(version, 0, 64 * KiB, version.id);
    await rig.read(version, 3 * MiB - 128 * KiB, 128 * KiB, version.id);
    rig.reader.release(version.id, version.id);
  }
  await rig.reader.idle();
  assert.equal(origin.bytesRead, 20 * 192 * KiB);
});

Deno.test("FileReader.read() fetches a tail in the same moment as the head once that is the habit", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const bytes = noise(3 * MiB, 1);
  const versions: FileVersion[] = [];
  for (let id = 1; id <= 10; id += 1) {
    versions.push(rig.know(id, "nas", origin.put(`${id}.flac`, bytes)));
  }
  const last = versions.pop();
  for (const version of versions) {
    await rig.read(version, 0, 64 * KiB, version.id);
    await rig.read(version, 3 * MiB - 128 * KiB, 128 * KiB, version.id);
  }
  assert(last);
  origin.reads.length = 0;
  origin.hold();
  const head = rig.read(last, 0, 64 * KiB, 10);
  while (origin.reads.length < 2) await Promise.resolve();
  assert.deepEqual(
    origin.reads.map(({ offset, length }) => [offset, length]),
    [[0, 64 * KiB], [3 * MiB - 128 * KiB, 128 * KiB]],
  );
  origin.release();
  assertSameBytes(await head, bytes.subarray(0, 64 * KiB));
  await rig.reader.idle();
  const into = new Uint8Array(128 * KiB);
  assert.equal(rig.cachedReader().read(10, 3 * MiB - 128 * KiB, into), into.length);
  assertSameBytes(into, bytes.subarray(3 * MiB - 128 * KiB));
});

Deno.test("FileReader.noteUses() keeps a window ahead of reads that only the worker answers", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const bytes = noise(44 * MiB);
  const version = rig.know(1, "nas", origin.put("song.flac", bytes));
  // What a track before this one has had fetched.
  await rig.reader.bringAll(version, { signal: AbortSignal.timeout(10_000) })
    .then(() => rig.space.freeUp(34 * MiB));
  origin.reads.length = 0;
  const worker = rig.cachedReader();
  let misses = 0;
  for (let offset = 0; offset < version.size; offset += 128 * KiB) {
    const into = new Uint8Array(128 * KiB);
    if (worker.read(1, offset, into) < 0) {
      misses += 1;
      into.set(await rig.read(version, offset, into.length, 7));
    }
    assertSameBytes(into, bytes.subarray(offset, offset + into.length));
    if (offset % MiB === 0) rig.reader.noteUses(worker.uses());
    // A player is slower than the origin.
    await rig.reader.idle();
  }
  assert(origin.bytesRead >= 28 * MiB, `${origin.bytesRead}`);
  assert(misses <= 16, `${misses} reads waited for the origin`);
});

Deno.test("FileReader.noteUses() takes a head and a tail for no sequence", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const version = rig.know(1, "nas", origin.put("song.flac", noise(30 * MiB)));
  const parts = [[0, 128 * KiB], [30 * MiB - 128 * KiB, 128 * KiB]] as const;
  for (const [offset, length] of parts) await rig.read(version, offset, length, 7);
  const before = origin.bytesRead;
  const worker = rig.cachedReader();
  for (let i = 0; i < 5; i += 1) {
    for (const [offset, length] of parts) {
      assert.equal(worker.read(1, offset, new Uint8Array(length)), length);
    }
    rig.reader.noteUses(worker.uses());
  }
  await rig.reader.idle();
  assert.equal(origin.bytesRead, before);
});

Deno.test("FileReader.release() with a version ends what was fetched ahead for the worker's reads", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const version = rig.know(1, "nas", origin.put("song.flac", noise(60 * MiB)));
  await rig.read(version, 0, 2 * MiB);
  const uses = Float64Array.of(1, 0, 2 * MiB);
  origin.hold();
  rig.reader.noteUses(uses);
  rig.reader.release(7, 1);
  origin.release();
  await rig.reader.idle();
  const { length } = origin.reads;
  rig.reader.noteUses(Float64Array.of(1, 0, 64 * KiB));
  await rig.reader.idle();
  assert.equal(origin.reads.length, length);
});

const nowhere: [string, (dir: string) => Promise<void>, { keeps: boolean; limitBytes: number }][] =
  [
    ["a dead disk", (dir) => Deno.writeFile(`${dir}/extents`, new Uint8Array(1)), {
      keeps: true,
      limitBytes: 1024 * MiB,
    }],
    ["no room at all", () => Promise.resolve(), { keeps: true, limitBytes: 0 }],
    ["keeps: false", () => Promise.resolve(), { keeps: false, limitBytes: 1024 * MiB }],
  ];

for (const [name, spoil, options] of nowhere) {
  Deno.test(`FileReader.read() reads ahead into memory with ${name}`, async () => {
    await using dir = await tempDir();
    const origin = new MemoryOrigin("nas");
    await spoil(dir.path);
    await using rig = new Rig(dir.path, { origins: [origin], ...options });
    const bytes = noise(40 * MiB);
    const version = rig.know(1, "nas", origin.put("song.flac", bytes));
    for (let offset = 0; offset < version.size; offset += 128 * KiB) {
      const found = await rig.read(version, offset, 128 * KiB, 7);
      assertSameBytes(found, bytes.subarray(offset, offset + 128 * KiB));
      assert(rig.reader.stats().memoryBytes <= RECENT_BYTES_MAX);
    }
    await rig.reader.idle();
    assert.equal(origin.bytesRead, version.size);
    assert(origin.reads.length <= version.size / FETCH_BYTES_MAX + 16, `${origin.reads.length}`);
    assert.equal(rig.cacheIndex.totals().extents + rig.cacheIndex.totals().chunks, 0);
  });
}

Deno.test("FileReader.read() is not ended by what is wrong with a next track", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  const nextTrack = (): never => {
    throw new Error("on purpose");
  };
  await using rig = new Rig(dir.path, { origins: [origin], nextTrack });
  const bytes = noise(3 * MiB);
  await play(rig, rig.know(1, "nas", origin.put("song.flac", bytes)), { bytes });
  await rig.reader.idle();
  assert.equal(origin.bytesRead, bytes.length);
});

Deno.test("FileReader.read() fetches nothing of the next track while its own is on its way", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  const tracks: FileVersion[] = [];
  const clock = new VirtualClock();
  await using rig = new Rig(dir.path, { origins: [origin], nextTrack: () => tracks[1], clock });
  const bytes = noise(4 * MiB, 1);
  tracks.push(rig.know(1, "nas", origin.put("1.flac", bytes)));
  tracks.push(rig.know(2, "nas", origin.put("2.flac", noise(9 * MiB, 2))));
  const [first] = tracks;
  assert(first);
  await rig.read(first, 0, 512 * KiB, 7);
  await rig.reader.idle();
  origin.hold();
  const reads = [rig.read(first, 512 * KiB, 512 * KiB, 7), rig.read(first, MiB, 128 * KiB, 7)];
  for (let i = 0; i < 1000; i += 1) await Promise.resolve();
  assert(origin.reads.length > 4);
  assert(origin.reads.every(({ path }) => path === "1.flac"));
  origin.release();
  await Promise.all(reads);
  await rig.reader.idle();
  for (const offset of [MiB, 1.5 * MiB]) {
    await rig.read(first, offset, 128 * KiB, 7);
    await rig.reader.idle();
    assert(origin.reads.every(({ path }) => path === "1.flac"));
    await clock.advance(1_000);
  }
  await rig.read(first, 2 * MiB, 128 * KiB, 7);
  await rig.reader.idle();
  assert(origin.reads.some(({ path }) => path === "2.flac"));
});

Deno.test("FileReader.read() fetches just what is asked for at first, then up to 256 KiB at once", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const version = rig.know(1, "nas", origin.put("song.flac", noise(30 * MiB)));
  const fetched: number[] = [];
  for (let offset = 0; offset < MiB; offset += 64 * KiB) {
    await rig.read(version, offset, 64 * KiB, 7);
    await rig.reader.idle();
    fetched.push(origin.bytesRead / KiB - (offset / KiB + 64));
  }
  // KiB beyond what was asked for, after each read.
  assert.deepEqual(fetched.slice(0, 2), [0, 0]);
  assert(fetched.slice(2, 15).every((beyond) => beyond <= 256), `${fetched}`);
  assert(origin.reads.every(({ length }) => length <= 512 * KiB));
  const small = origin.reads.filter(({ offset }) => offset < MiB);
  assert(small.every(({ length }) => length <= 256 * KiB));
});
