import assert from "node:assert/strict";
import { silentLog } from "../../src/base/log.ts";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { enableFailpoints } from "../../src/base/failpoint.ts";
import { MusicfsError } from "../../src/base/errors.ts";
import { ChunkList } from "../../src/chunking/chunk_list.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import { SEGMENT } from "../../src/store/lru_eviction.ts";
import { sweep } from "../../src/store/sweep.ts";
import { MemoryIndex } from "../support/memory_index.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { tempDir } from "../support/temp_dir.ts";
import { assertSameBytes, filesBelow, KiB, MiB, noise, Rig } from "./rig.ts";

const tools = { random: () => 0, print: () => undefined };

/** Two origins with the same file, which is preferred at the first; nothing of it is read. */
function twins(
  dir: string,
  { size = 2 * MiB + 5, ...more }: { size?: number; index?: MemoryIndex; clock?: Clock } = {},
): {
  rig: Rig;
  bytes: Uint8Array<ArrayBuffer>;
  near: FileVersion;
  far: FileVersion;
  origins: [MemoryOrigin, MemoryOrigin];
} {
  const origins: [MemoryOrigin, MemoryOrigin] = [new MemoryOrigin("near"), new MemoryOrigin("far")];
  const bytes = noise(size, 7);
  // So that their versions have different names.
  origins[1].put("song.flac", new Uint8Array(1));
  const [a, b] = origins.map((origin) => {
    const { path, version } = origin.put("song.flac", bytes);
    return { origin: origin.name, path, version };
  });
  assert(a && b);
  const rig = new Rig(dir, { origins, ...more });
  const near: FileVersion = { id: 1, size, mtimeNs: 0n, sources: [a, b] };
  const far: FileVersion = { id: 1, size, mtimeNs: 0n, sources: [b, a] };
  rig.versions.set(1, near);
  return { rig, bytes, near, far, origins };
}

/** As the library does: the version is another from now on, and then the reader is told. */
function takeOver(rig: Rig, before: FileVersion, after: FileVersion): void {
  rig.versions.set(after.id, after);
  rig.reader.takeOver(before, after);
}

/** The keys that manifests and extents lie under. */
function keysOnDisk(dir: string): { manifests: string[]; extents: string[] } {
  const names = (folder: string): string[] =>
    filesBelow(`${dir}/${folder}`).map((path) => path.slice(path.lastIndexOf("/") + 1));
  return { manifests: names("manifests"), extents: names("extents") };
}

Deno.test("FileReader.takeOver() keeps a whole file: its list, its manifest, and a rebuild from it", async () => {
  await using dir = await tempDir();
  const { rig, bytes, near, far, origins } = twins(dir.path);
  await using _ = rig;
  assertSameBytes(await rig.readThrough(near), bytes);
  const key = rig.manifests.keyOf(far);
  takeOver(rig, near, far);
  await rig.reader.idle();
  assert.deepEqual(keysOnDisk(dir.path), { manifests: [key], extents: [] });
  const [stored, ...others] = rig.manifests.files();
  assert(stored);
  assert.equal(others.length, 0);
  assert.deepEqual([stored.key, stored.manifest.origin, stored.manifest.version], [
    key,
    "far",
    far.sources[0].version,
  ]);
  const asked = origins[0].reads.length + origins[1].reads.length;
  assertSameBytes(await rig.readThrough(far), bytes);

  // As a rebuild does: a new index, filled from what lies in the folder.
  await using again = new Rig(dir.path);
  again.versions.set(1, far);
  const list = stored.manifest.regions.reduce(
    (longer, { chunks, kind }) => longer.append(chunks, { kind }),
    ChunkList.empty(far.size, 16),
  );
  again.manifests.put(far, list);
  assertSameBytes(await again.readThrough(far), bytes);
  assert.equal(origins[0].reads.length + origins[1].reads.length, asked);

  // And all of it goes with the version.
  rig.manifests.remove(1);
  assert.deepEqual(keysOnDisk(dir.path), { manifests: [], extents: [] });
});

Deno.test("FileReader.takeOver() keeps an extent, with its segment, its size and its uses", async () => {
  for (const [segment, offset] of [[SEGMENT.tags, 0], [SEGMENT.probation, MiB]] as const) {
    await using dir = await tempDir();
    const { rig, bytes, near, far, origins } = twins(dir.path);
    await using _ = rig;
    const worker = rig.cachedReader();
    const into = new Uint8Array(64 * KiB);
    await rig.read(near, offset, into.length);
    await rig.reader.idle();
    assert.equal(worker.read(1, offset, into), into.length);
    const idOf = (version: FileVersion): Uint8Array =>
      Uint8Array.fromHex(rig.manifests.keyOf(version));
    const item = rig.cacheIndex.find("extent", idOf(near));
    assert.equal(item?.segment, segment);
    const totals = rig.cacheIndex.totals();

    takeOver(rig, near, far);
    await rig.reader.idle();
    assert.deepEqual(keysOnDisk(dir.path).extents, [rig.manifests.keyOf(far)]);
    assert.equal(rig.cacheIndex.find("extent", idOf(near)), undefined);
    assert.deepEqual(rig.cacheIndex.find("extent", idOf(far)), { ...item, id: idOf(far) });
    assert.deepEqual(rig.cacheIndex.totals(), totals);
    assert.deepEqual(rig.cacheIndex.recount(), totals);

    // The worker finds it too, with the next commit, whatever it knew before.
    into.fill(0);
    assert.equal(worker.read(1, offset, into), into.length);
    assertSameBytes(into, bytes.subarray(offset, offset + into.length));
    const asked = origins[0].reads.length + origins[1].reads.length;
    const found = await rig.read(far, offset, into.length);
    assertSameBytes(found, bytes.subarray(offset, offset + into.length));
    assert.equal(origins[0].reads.length + origins[1].reads.length, asked);
  }
});

Deno.test("FileReader.takeOver() is seen to before the version is read, however many wait", async () => {
  await using dir = await tempDir();
  const { rig, bytes, near, far, origins } = twins(dir.path);
  await using _ = rig;
  await rig.read(near, MiB, 64 * KiB);
  await rig.reader.idle();
  const asked = origins[0].reads.length + origins[1].reads.length;
  takeOver(rig, near, far);
  assert.deepEqual(keysOnDisk(dir.path).extents, [rig.manifests.keyOf(near)]);
  assertSameBytes(await rig.read(far, MiB, 64 * KiB), bytes.subarray(MiB, MiB + 64 * KiB));
  assert.equal(origins[0].reads.length + origins[1].reads.length, asked);
});

Deno.test("FileReader.takeOver() of many versions takes few commits, and none for what is not cached", async () => {
  await using dir = await tempDir();
  const index = new MemoryIndex();
  await using rig = new Rig(dir.path, { index });
  const known: [FileVersion, FileVersion][] = [];
  for (let id = 1; id <= 100; id += 1) {
    const sourceOf = (origin: string): FileVersion["sources"][0] => ({
      origin,
      path: `${id}.flac`,
      version: "v1",
    });
    const version = { id, size: 32 * KiB, mtimeNs: 0n };
    const before: FileVersion = { ...version, sources: [sourceOf("near")] };
    const after: FileVersion = { ...version, sources: [sourceOf("far"), sourceOf("near")] };
    if (id <= 40) rig.extents.write(before, 0, noise(16 * KiB, id));
    known.push([before, after]);
  }
  const before = index.generation();
  for (const versions of known) takeOver(rig, ...versions);
  await rig.reader.idle();
  assert.equal(index.generation() - before, Math.ceil(40 / 16));
  const keys = known.slice(0, 40).map(([, after]) => rig.manifests.keyOf(after));
  assert.deepEqual(keysOnDisk(dir.path).extents.toSorted(), keys.toSorted());
  assert.deepEqual(rig.cacheIndex.totals(), rig.cacheIndex.recount());
});

Deno.test("FileReader.takeOver() there and back, and told twice, ends where it began", async () => {
  await using dir = await tempDir();
  const { rig, bytes, near, far } = twins(dir.path);
  await using _ = rig;
  await rig.read(near, 0, MiB);
  await rig.reader.idle();
  for (const [before, after] of [[near, far], [near, far], [far, near]] as const) {
    takeOver(rig, before, after);
    await rig.reader.idle();
    assert.deepEqual(keysOnDisk(dir.path).extents, [rig.manifests.keyOf(after)]);
  }
  // Both before any of it was seen to.
  takeOver(rig, near, far);
  takeOver(rig, far, near);
  await rig.reader.idle();
  assert.deepEqual(keysOnDisk(dir.path).extents, [rig.manifests.keyOf(near)]);
  assertSameBytes(await rig.readThrough(near), bytes);
  assert.deepEqual(keysOnDisk(dir.path), { manifests: [rig.manifests.keyOf(near)], extents: [] });
});

Deno.test("FileReader.read() of a version as it was before a takeover goes on where it is now", async () => {
  await using dir = await tempDir();
  const { rig, bytes, near, far, origins } = twins(dir.path, { size: 6 * MiB });
  await using _ = rig;
  await rig.read(near, 0, 512 * KiB);
  // What is on its way when the takeover comes was asked for by the old name.
  for (const origin of origins) origin.hold();
  const reading = rig.read(near, MiB, 512 * KiB, 5);
  takeOver(rig, near, far);
  await Promise.resolve();
  for (const origin of origins) origin.release();
  assertSameBytes(await reading, bytes.subarray(MiB, MiB + 512 * KiB));
  assertSameBytes(await rig.readThrough(near), bytes);
  const key = rig.manifests.keyOf(far);
  assert.deepEqual(keysOnDisk(dir.path), { manifests: [key], extents: [] });
  const fetched = origins[0].bytesRead + origins[1].bytesRead;
  assert(fetched <= bytes.length + MiB, `${fetched}`);
  assertSameBytes(await rig.readThrough(far), bytes);
  assert.equal(origins[0].bytesRead + origins[1].bytesRead, fetched);
});

Deno.test("FileReader.takeOver() may die at every step: right bytes, and nothing is left behind", async (t) => {
  for (const point of ["after_files", "after_commit"]) {
    for (const isWhole of [true, false]) {
      await t.step(`${point}, ${isWhole ? "a whole file" : "part of a file"}`, async () => {
        await using dir = await tempDir();
        const index = new MemoryIndex();
        const { rig, bytes, near, far, origins } = twins(dir.path, { index });
        {
          await using _ = rig;
          await (isWhole ? rig.readThrough(near) : rig.read(near, 0, MiB));
          await rig.reader.idle();
          enableFailpoints(`takeover.${point}=panic`, tools);
          try {
            takeOver(rig, near, far);
            await rig.reader.idle();
          } finally {
            enableFailpoints("", tools);
          }
        }
        await using again = new Rig(dir.path, { origins, index });
        again.versions.set(1, far);
        const worker = again.cachedReader();
        const into = new Uint8Array(300_000);
        for (let offset = 0; offset < bytes.length; offset += into.length) {
          const n = worker.read(1, offset, into);
          if (n >= 0) assertSameBytes(into.subarray(0, n), bytes.subarray(offset, offset + n));
        }
        assertSameBytes(await again.readThrough(far), bytes);
        const { cacheDir, cacheIndex } = again;
        await sweep({ cacheDir, cacheIndex, clock: systemClock, log: silentLog });
        again.manifests.prune({ all: true });
        const found = keysOnDisk(dir.path);
        assert.deepEqual(found.extents, []);
        assert(found.manifests.length <= 1, found.manifests.join());
        assert.deepEqual(cacheIndex.totals(), cacheIndex.recount());
        // Not even where the record still has the old key.
        again.manifests.remove(1);
        assert.deepEqual(keysOnDisk(dir.path).manifests, []);
      });
    }
  }
});

Deno.test("FileReader.takeOver() on a disk that takes no commit leaves no file that nobody counts", async () => {
  await using dir = await tempDir();
  const index = new MemoryIndex();
  const { rig, bytes, near, far } = twins(dir.path, { index });
  await using _ = rig;
  await rig.read(near, 0, MiB);
  await rig.reader.idle();
  index.beforeCommit = () => {
    throw new MusicfsError("full", "No room", { op: "test", subject: "index" });
  };
  takeOver(rig, near, far);
  await rig.reader.idle();
  index.beforeCommit = () => {};
  assert.deepEqual(keysOnDisk(dir.path).extents, []);
  assertSameBytes(await rig.readThrough(far), bytes);
  assert.deepEqual(keysOnDisk(dir.path), { manifests: [rig.manifests.keyOf(far)], extents: [] });
});
