import fc from "fast-check";
import assert from "node:assert/strict";
import { EXTENT_BLOCK_BYTES } from "../../src/base/limits.ts";
import { trimExtent } from "../../src/reader/trim_extent.ts";
import { SEGMENT } from "../../src/store/lru_eviction.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import { diskUsage } from "../store/cache_fixture.ts";
import { tempDir } from "../support/temp_dir.ts";
import { assertSameBytes, diskBytesOf, filesBelow, KiB, MiB, noise, Rig } from "./rig.ts";

const TAG = 256 * KiB;

function versionOf(rig: Rig, size: number, id = 1): FileVersion {
  return rig.know(id, "nas", { path: `${id}.flac`, size, version: `v${id}` });
}

function segmentOf(rig: Rig, version: FileVersion): number | undefined {
  return rig.cacheIndex.find("extent", Uint8Array.fromHex(rig.manifests.keyOf(version)))?.segment;
}

Deno.test("Extents count as tags while they hold heads and tails alone", async () => {
  await using dir = await tempDir();
  await using rig = new Rig(dir.path);
  const size = 5 * MiB + 77;
  const bytes = noise(size);
  const version = versionOf(rig, size);
  rig.extents.write(version, 0, bytes.subarray(0, 128 * KiB));
  rig.extents.write(version, 5 * MiB, bytes.subarray(5 * MiB));
  assert.equal(segmentOf(rig, version), SEGMENT.tags);
  rig.cacheIndex.flush();
  assert.equal(segmentOf(rig, version), SEGMENT.tags);
  rig.extents.write(version, 2 * MiB, bytes.subarray(2 * MiB, 2 * MiB + 16 * KiB));
  assert.equal(segmentOf(rig, version), SEGMENT.probation);
  rig.extents.write(version, 128 * KiB, bytes.subarray(128 * KiB, 256 * KiB));
  assert.equal(segmentOf(rig, version), SEGMENT.probation);
});

Deno.test("Space trims an extent to head and tail before it evicts it", async () => {
  await using dir = await tempDir();
  await using rig = new Rig(dir.path);
  const size = 5 * MiB + 77;
  const bytes = noise(size);
  const version = versionOf(rig, size);
  rig.extents.write(version, 0, bytes);
  rig.space.freeUp(1);
  assert.equal(segmentOf(rig, version), SEGMENT.tags);
  const [path] = filesBelow(`${dir.path}/extents`);
  assert(path);
  assert(diskBytesOf(path) <= 2 * TAG + 64 * KiB, `${diskBytesOf(path)}`);
  assert.equal(rig.cacheIndex.totals().extentDiskBytes, diskBytesOf(path));
  assert.deepEqual(rig.cacheIndex.totals(), rig.cacheIndex.recount());
  const tailStart = Math.floor((size - TAG) / EXTENT_BLOCK_BYTES) * EXTENT_BLOCK_BYTES;
  assert.deepEqual(rig.extents.missing(version, { offset: 0, length: size }), [
    { offset: TAG, length: tailStart - TAG },
  ]);
  for (const [offset, end] of [[0, TAG], [tailStart, size]] as const) {
    const into = new Uint8Array(end - offset);
    assert.equal(rig.extents.read(version, offset, into), true);
    assertSameBytes(into, bytes.subarray(offset, end));
  }
  rig.space.freeUp(1);
  assert.equal(segmentOf(rig, version), undefined);
  assert.deepEqual(filesBelow(`${dir.path}/extents`), []);
});

Deno.test("Space evicts what was played before heads and tails, which take half at most", async () => {
  await using dir = await tempDir();
  await using rig = new Rig(dir.path, { limitBytes: 64 * MiB });
  const tagged: FileVersion[] = [];
  const bytes = noise(20 * MiB);
  for (let id = 1; id <= 40; id += 1) {
    const version = versionOf(rig, 20 * MiB, id);
    rig.extents.write(version, 0, bytes.subarray(0, 128 * KiB));
    rig.extents.write(version, 20 * MiB - 128 * KiB, bytes.subarray(20 * MiB - 128 * KiB));
    tagged.push(version);
  }
  for (let id = 101; id <= 110; id += 1) rig.extents.write(versionOf(rig, 20 * MiB, id), 0, bytes);
  assert(tagged.every((version) => segmentOf(rig, version) === SEGMENT.tags));
  for (let id = 201; id <= 400; id += 1) {
    rig.extents.write(versionOf(rig, 20 * MiB, id), 0, bytes.subarray(0, 256 * KiB));
    rig.extents.write(versionOf(rig, 20 * MiB, id), 19 * MiB, bytes.subarray(19 * MiB, 20 * MiB));
  }
  const { tagsDiskBytes } = rig.cacheIndex.totals();
  // The share is seen to whenever room is made, which is done for 4 MiB at once.
  assert(tagsDiskBytes <= 37 * MiB, `${tagsDiskBytes}`);
});

Deno.test("trimExtent() finds its way in a file of any size, and leaves what is no extent", async () => {
  await using dir = await tempDir();
  await using rig = new Rig(dir.path);
  let id = 0;
  const sizes = fc.integer({ min: 600 * KiB, max: 40 * MiB });
  fc.assert(
    fc.property(sizes, (size) => {
      id += 1;
      const version = versionOf(rig, size, id);
      const at = Math.floor(size / 2 / EXTENT_BLOCK_BYTES) * EXTENT_BLOCK_BYTES;
      rig.extents.write(version, 0, noise(EXTENT_BLOCK_BYTES));
      rig.extents.write(version, at, noise(EXTENT_BLOCK_BYTES));
      const key = rig.manifests.keyOf(version);
      const path = `${dir.path}/extents/${key.slice(0, 2)}/${key}`;
      const left = trimExtent(path);
      assert.equal(left, diskBytesOf(path));
      assert.equal(rig.extents.missing(version, { offset: at, length: 1 }).length, 1);
      assert.equal(rig.extents.missing(version, { offset: 0, length: 1 }).length, 0);
      assert.equal(trimExtent(path), undefined);
    }),
    { numRuns: 60 },
  );
  const foreign = `${dir.path}/foreign`;
  await Deno.writeFile(foreign, noise(3 * MiB));
  assert.equal(trimExtent(foreign), undefined);
  assert.equal(trimExtent(`${dir.path}/missing`), undefined);
  assertSameBytes(await Deno.readFile(foreign), noise(3 * MiB));
});

Deno.test("Space keeps du below the limit while extents are written and trimmed", async () => {
  await using dir = await tempDir();
  const limitBytes = 24 * MiB;
  await using rig = new Rig(dir.path, { limitBytes });
  const bytes = noise(4 * MiB);
  let most = 0;
  let trimmed = 0;
  for (let id = 1; id <= 60; id += 1) {
    const version = versionOf(rig, 4 * MiB, id);
    for (let offset = 0; offset < 4 * MiB; offset += MiB) {
      rig.extents.write(version, offset, bytes.subarray(offset, offset + MiB));
    }
    most = Math.max(most, diskUsage(dir.path));
    trimmed = Math.max(trimmed, rig.cacheIndex.totals().tagsDiskBytes);
  }
  assert(most <= limitBytes, `${most}`);
  assert(most >= 0.8 * limitBytes, `${most}`);
  assert(trimmed > 5 * MiB, `${trimmed}`);
  assert.deepEqual(rig.cacheIndex.recount(), rig.cacheIndex.totals());
});
