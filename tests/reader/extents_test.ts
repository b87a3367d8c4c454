import assert from "node:assert/strict";
import { EXTENT_BLOCK_BYTES } from "../../src/base/limits.ts";
import { tempDir } from "../support/temp_dir.ts";
import { assertSameBytes, diskBytesOf, filesBelow, KiB, MiB, noise, Rig } from "./rig.ts";

const BLOCK = EXTENT_BLOCK_BYTES;

function versionOf(rig: Rig, size: number, id = 1): ReturnType<Rig["know"]> {
  return rig.know(id, "nas", { path: `${id}.flac`, size, version: `v${id}` });
}

Deno.test("Extents keeps whole blocks and knows what is missing", async () => {
  await using dir = await tempDir();
  await using rig = new Rig(dir.path);
  const size = 10 * BLOCK + 100;
  const bytes = noise(size);
  const version = versionOf(rig, size);
  const all = { offset: 0, length: size };
  assert.deepEqual(rig.extents.missing(version, all), [all]);

  // Blocks 2 and 3; the parts of 1 and 4 are not kept.
  assert.equal(
    rig.extents.write(version, 2 * BLOCK - 5, bytes.subarray(2 * BLOCK - 5, 4 * BLOCK + 5)),
    true,
  );
  // The short last block.
  assert.equal(rig.extents.write(version, 10 * BLOCK, bytes.subarray(10 * BLOCK)), true);
  assert.deepEqual(rig.extents.missing(version, all), [
    { offset: 0, length: 2 * BLOCK },
    { offset: 4 * BLOCK, length: 6 * BLOCK },
  ]);
  assert.deepEqual(rig.extents.missing(version, { offset: 4 * BLOCK - 1, length: 2 }), [
    { offset: 4 * BLOCK, length: BLOCK },
  ]);
  assert.equal(rig.extents.contiguousEnd(version, 2 * BLOCK + 7, { limit: size }), 4 * BLOCK);
  assert.equal(rig.extents.contiguousEnd(version, 10 * BLOCK, { limit: size }), size);
  assert.equal(rig.extents.contiguousEnd(version, 5, { limit: size }), 5);

  for (
    const [offset, end] of [[2 * BLOCK, 4 * BLOCK], [2 * BLOCK + 1, 4 * BLOCK - 1], [
      size - 7,
      size,
    ]] as const
  ) {
    const into = new Uint8Array(end - offset);
    assert.equal(rig.extents.read(version, offset, into), true);
    assertSameBytes(into, bytes.subarray(offset, end));
  }
  assert.equal(rig.extents.read(version, 4 * BLOCK - 1, new Uint8Array(2)), false);
});

Deno.test("Extents counts what the file takes on disk, and forgets it", async () => {
  await using dir = await tempDir();
  await using rig = new Rig(dir.path);
  const version = versionOf(rig, 100 * MiB);
  rig.extents.write(version, 50 * MiB, noise(MiB));
  const id = Uint8Array.fromHex(rig.manifests.keyOf(version));
  const item = rig.cacheIndex.find("extent", id);
  const [path] = filesBelow(`${dir.path}/extents`);
  assert(path);
  assert.equal(item?.diskBytes, diskBytesOf(path));
  assert(item.diskBytes < 2 * MiB, "the file is not sparse");
  rig.extents.forget(version);
  rig.extents.drop(version);
  assert.equal(rig.cacheIndex.find("extent", id), undefined);
  assert.deepEqual(filesBelow(`${dir.path}/extents`), []);
  assert.equal(rig.extents.missing(version, { offset: 50 * MiB, length: 1 }).length, 1);
});

Deno.test("Extents.free() gives blocks back to the disk and never serves them again", async () => {
  await using dir = await tempDir();
  await using rig = new Rig(dir.path);
  const version = versionOf(rig, 4 * MiB);
  const bytes = noise(4 * MiB);
  rig.extents.write(version, 0, bytes);
  const [path] = filesBelow(`${dir.path}/extents`);
  assert(path);
  const before = diskBytesOf(path);
  rig.extents.free(version, 2 * MiB + 100);
  assert.equal(rig.extents.read(version, 2 * MiB - 1, new Uint8Array(1)), false);
  assert.deepEqual(rig.extents.missing(version, { offset: 0, length: 4 * MiB }), [
    { offset: 0, length: 2 * MiB },
  ]);
  const into = new Uint8Array(2 * MiB);
  assert.equal(rig.extents.read(version, 2 * MiB, into), true);
  assertSameBytes(into, bytes.subarray(2 * MiB));
  assert(diskBytesOf(path) <= before - 2 * MiB + 8 * KiB, `${before} -> ${diskBytesOf(path)}`);
});

Deno.test("Extents drops a file that is another version's, cut off or foreign", async (t) => {
  const size = MiB;
  const cases: [string, (path: string, other: string) => Promise<void>][] = [
    ["another version's", (path, other) => Deno.copyFile(other, path)],
    ["cut off", (path) => Deno.truncate(path, 5)],
    ["foreign", (path) => Deno.writeFile(path, noise(2 * size, 9))],
    ["empty", (path) => Deno.writeFile(path, new Uint8Array())],
  ];
  for (const [name, spoil] of cases) {
    await t.step(name, async () => {
      await using dir = await tempDir();
      await using rig = new Rig(dir.path);
      const [version, other] = [versionOf(rig, size, 1), versionOf(rig, size, 2)];
      rig.extents.write(version, 0, noise(size, 1));
      rig.extents.write(other, 0, noise(size, 2));
      const pathOf = (key: string): string => `${dir.path}/extents/${key.slice(0, 2)}/${key}`;
      await spoil(pathOf(rig.manifests.keyOf(version)), pathOf(rig.manifests.keyOf(other)));
      assert.equal(rig.extents.read(version, 0, new Uint8Array(10)), false);
      assert.equal(rig.cachedReader().read(1, 0, new Uint8Array(10)), -1);
      assert.equal(rig.extents.write(version, 0, noise(4 * BLOCK, 3)), true);
      const into = new Uint8Array(4 * BLOCK);
      assert.equal(rig.extents.read(version, 0, into), true);
      assertSameBytes(into, noise(4 * BLOCK, 3));
      assert.equal(rig.extents.read(version, 4 * BLOCK, new Uint8Array(1)), false);
    });
  }
});

Deno.test("Extents.write() reports a disk that refuses, and does not throw", async () => {
  await using dir = await tempDir();
  await using rig = new Rig(dir.path);
  const version = versionOf(rig, MiB);
  // A file where a folder must be.
  await Deno.writeFile(`${dir.path}/extents`, new Uint8Array(1));
  assert.equal(rig.extents.write(version, 0, noise(MiB)), false);
  assert.equal(rig.disk.writable, false);
  assert.equal(rig.extents.read(version, 0, new Uint8Array(1)), false);
  rig.extents.free(version, MiB);
  rig.extents.drop(version);
});

Deno.test("Extents.damaged() finds exactly the blocks that were changed, and none that are absent", async () => {
  await using dir = await tempDir();
  await using rig = new Rig(dir.path);
  const size = 10 * BLOCK + 100;
  const bytes = noise(size);
  const version = versionOf(rig, size);
  rig.extents.write(version, 2 * BLOCK, bytes.subarray(2 * BLOCK));
  assert.deepEqual(rig.extents.damaged(version), []);
  const [path] = filesBelow(`${dir.path}/extents`);
  assert(path);
  using file = await Deno.open(path, { write: true });
  for (const at of [5 * BLOCK + 9, size - 1]) {
    await file.seek(at, Deno.SeekMode.Start);
    await file.write(Uint8Array.of((bytes[at] ?? 0) ^ 1));
  }
  assert.deepEqual(rig.extents.damaged(version), [
    { offset: 5 * BLOCK, length: BLOCK },
    { offset: 10 * BLOCK, length: 100 },
  ]);
  rig.extents.write(version, 5 * BLOCK, bytes.subarray(5 * BLOCK, 6 * BLOCK));
  assert.deepEqual(rig.extents.damaged(version), [{ offset: 10 * BLOCK, length: 100 }]);
});
