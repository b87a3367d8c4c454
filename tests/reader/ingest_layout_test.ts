import fc from "fast-check";
import assert from "node:assert/strict";
import { enableFailpoints } from "../../src/base/failpoint.ts";
import { cutFile } from "../../src/chunking/cut_file.ts";
import { CdcChunker } from "../../src/chunking/cdc_chunker.ts";
import { openChunkHash } from "../../src/chunking/chunk_hash.ts";
import type { ChunkRegion } from "../../src/chunking/chunk_manifest.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import {
  apeTag,
  AUDIO_FILES,
  fileOf,
  flacHeadOf,
  id3v1,
  id3v2,
  type Part,
} from "../chunking/audio_files.ts";
import { joined } from "../support/flac_file.ts";
import { MemoryIndex } from "../support/memory_index.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { tempDir } from "../support/temp_dir.ts";
import { assertSameBytes, KiB, MiB, noise, Rig } from "./rig.ts";

const tools = { random: () => 0, print: () => undefined };
const BLOCK = 16 * KiB;
const hash = await openChunkHash("xxh128");
const chunker = new CdcChunker();

/** Kinds, lengths and names of all chunks, to be compared. */
function shown(regions: readonly ChunkRegion[]): unknown[] {
  return regions.map(({ kind, chunks }) => [
    kind,
    chunks.map((chunk) => `${chunk.length} ${chunk.hash.toHex()}`),
  ]);
}

/** What `cutFile` makes of the bytes: what the ingest must make of them, too. */
async function expected(bytes: Uint8Array): Promise<unknown[]> {
  const readRange = (offset: number, length: number): Promise<Uint8Array> =>
    Promise.resolve(bytes.slice(offset, offset + length));
  return shown(await cutFile(bytes.length, { readRange, chunker, hash }));
}

function found(rig: Rig, version: FileVersion): unknown[] {
  const list = rig.manifests.listOf(version);
  assert.equal(list.whole, true, `frontier ${list.frontier} of ${version.size}`);
  return shown(list.toRegions());
}

/** Puts whole blocks of the file where the ingest finds them, and lets it work. */
async function arrive(
  rig: Rig,
  version: FileVersion,
  { bytes, from, end }: { bytes: Uint8Array<ArrayBuffer>; from: number; end: number },
): Promise<void> {
  rig.extents.write(version, from, bytes.subarray(from, end));
  rig.ingest.kick(version);
  await rig.ingest.idle();
}

/** A new version of a file of these bytes. */
function known(rig: Rig, id: number, bytes: Uint8Array): FileVersion {
  return rig.know(id, "nas", { path: `${id}.flac`, size: bytes.length, version: "v1" });
}

const long: readonly Part[] = [
  ["metadata", id3v2(3000)],
  ["metadata", flacHeadOf(40, 1_500_000, 90)],
  ["audio", noise(6 * MiB + 999)],
  ["metadata", apeTag(150_000)],
  ["metadata", id3v1()],
];

Deno.test("Ingest cuts every form where cutFile() does", async () => {
  await using dir = await tempDir();
  await using rig = new Rig(dir.path);
  for (const [i, [name, parts]] of Object.entries(AUDIO_FILES).entries()) {
    const bytes = fileOf(parts);
    const version = known(rig, i + 1, bytes);
    await arrive(rig, version, { bytes, from: 0, end: bytes.length });
    assert.deepEqual(found(rig, version), await expected(bytes), name);
  }
});

Deno.test("Ingest cuts alike in whatever order the parts of a file come", async () => {
  const files = [
    long,
    AUDIO_FILES["M4A of two mdat and sizes of 64 bits"] ?? [],
    [
      ["audio", joined([Uint8Array.of(0xff, 0xfb), noise(2 * MiB)])],
      ["metadata", id3v1()],
    ] as const,
  ].map(fileOf);
  const cuts = await Promise.all(files.map(expected));
  await using dir = await tempDir();
  await using rig = new Rig(dir.path);
  let id = 0;
  const order = fc.record({
    file: fc.nat(files.length - 1),
    blocks: fc.constantFrom(1, 7, 16, 64),
    seed: fc.nat(),
    mixed: fc.constantFrom("forward", "backward", "tail first", "any"),
  }, { noNullPrototype: true });
  await fc.assert(
    fc.asyncProperty(order, async ({ file, blocks, seed, mixed }) => {
      const bytes = files[file] ?? noise(1);
      const version = known(rig, id += 1, bytes);
      const step = blocks * BLOCK;
      const count = Math.ceil(bytes.length / step);
      const ranks = noise(count * 4, seed + 1);
      const pieces = Array.from({ length: count }, (_, i) => i);
      if (mixed === "backward") pieces.reverse();
      if (mixed === "tail first") pieces.unshift(...pieces.splice(-1));
      if (mixed === "any") pieces.sort((a, b) => (ranks[a] ?? 0) - (ranks[b] ?? 0));
      for (const piece of pieces) {
        const from = piece * step;
        await arrive(rig, version, { bytes, from, end: Math.min(from + step, bytes.length) });
      }
      assert.deepEqual(found(rig, version), cuts[file]);
    }),
    { numRuns: 15 },
  );
});

Deno.test("Ingest cuts alike when it is stopped and started anew on the way", async () => {
  const bytes = fileOf(long);
  await using dir = await tempDir();
  const index = new MemoryIndex();
  for (let from = 0; from < bytes.length; from += MiB) {
    await using rig = new Rig(dir.path, { index });
    const version = known(rig, 1, bytes);
    await arrive(rig, version, { bytes, from, end: Math.min(from + MiB, bytes.length) });
  }
  await using rig = new Rig(dir.path, { index });
  assert.deepEqual(found(rig, known(rig, 1, bytes)), await expected(bytes));
});

Deno.test("Ingest may die at every step: it cuts alike after it", async (t) => {
  const bytes = fileOf(long);
  const cuts = await expected(bytes);
  for (const point of ["after_put", "before_commit", "after_commit", "after_free"]) {
    for (const skipped of [0, 1]) {
      await t.step(`${point}, time ${skipped + 1}`, async () => {
        await using dir = await tempDir();
        const index = new MemoryIndex();
        {
          await using rig = new Rig(dir.path, { index });
          const version = known(rig, 1, bytes);
          enableFailpoints(`ingest.${point}=${skipped}*off->1*panic`, tools);
          try {
            await arrive(rig, version, { bytes, from: 0, end: bytes.length });
          } finally {
            enableFailpoints("", tools);
          }
          assert.equal(rig.ingest.stats().stopped, 1);
        }
        await using rig = new Rig(dir.path, { index });
        const version = known(rig, 1, bytes);
        rig.ingest.kick(version);
        await rig.ingest.idle();
        assert.deepEqual(found(rig, version), cuts);
      });
    }
  }
});

Deno.test("Ingest goes on without a layout when the chunks that tell of it are gone", async () => {
  const bytes = fileOf(long);
  await using dir = await tempDir();
  const index = new MemoryIndex();
  {
    await using rig = new Rig(dir.path, { index });
    const version = known(rig, 1, bytes);
    await arrive(rig, version, { bytes, from: 0, end: 4 * MiB });
    const list = rig.manifests.listOf(version);
    assert.equal(list.lastKind, "audio");
    for (let i = 0; i < list.count; i += 1) rig.store.delete(list.hash(i));
  }
  await using rig = new Rig(dir.path, { index });
  const version = known(rig, 1, bytes);
  await arrive(rig, version, { bytes, from: 4 * MiB - BLOCK, end: bytes.length });
  const list = rig.manifests.listOf(version);
  assert.equal(list.whole, true);
  assert.deepEqual(list.toRegions().map(({ kind }) => kind), ["metadata", "audio"]);
});

Deno.test("Ingest goes on in one piece with a list that began as one", async () => {
  const bytes = fileOf(long);
  await using dir = await tempDir();
  await using rig = new Rig(dir.path);
  const version = known(rig, 1, bytes);
  chunker.window.set(bytes.subarray(0, MiB));
  const length = chunker.cut(0, MiB);
  const chunk = { hash: hash.digest(bytes.subarray(0, length)), length };
  rig.store.put(chunk.hash, bytes.subarray(0, length));
  rig.manifests.put(version, rig.manifests.listOf(version).append([chunk], { kind: "whole" }));
  await arrive(rig, version, { bytes, from: 0, end: bytes.length });
  const regions = rig.manifests.listOf(version).toRegions();
  assert.deepEqual(regions.map(({ kind }) => kind), ["whole"]);
  assert.deepEqual(regions[0]?.chunks.map((one) => one.length), chunker.chunkLengths(bytes));
});

Deno.test("Ingest holds the last 512 KiB back until the tags at the end are here", async () => {
  await using dir = await tempDir();
  await using rig = new Rig(dir.path);
  const bytes = joined([Uint8Array.of(0xff, 0xfb), noise(4 * MiB - 130), id3v1()]);
  const version = known(rig, 1, bytes);
  await arrive(rig, version, { bytes, from: 0, end: 4 * MiB - BLOCK });
  const { frontier } = rig.manifests.listOf(version);
  assert(frontier <= 4 * MiB - 256 * KiB && frontier > 4 * MiB - 768 * KiB, `${frontier}`);
  await arrive(rig, version, { bytes, from: 4 * MiB - BLOCK, end: bytes.length });
  assert.deepEqual(found(rig, version), await expected(bytes));
});

Deno.test("Ingest does not hold anything back once it has seen the end of the file", async () => {
  await using dir = await tempDir();
  await using rig = new Rig(dir.path);
  const bytes = joined([Uint8Array.of(0xff, 0xfb), noise(4 * MiB - 130), id3v1()]);
  const version = known(rig, 1, bytes);
  await arrive(rig, version, { bytes, from: 4 * MiB - BLOCK, end: bytes.length });
  await arrive(rig, version, { bytes, from: 0, end: 4 * MiB - 2 * BLOCK });
  const { frontier } = rig.manifests.listOf(version);
  assert(frontier > 4 * MiB - 2 * BLOCK - 256 * KiB, `${frontier}`);
});

Deno.test("Ingest cuts a long head before it knows where that ends", async () => {
  await using dir = await tempDir();
  await using rig = new Rig(dir.path);
  const bytes = joined([flacHeadOf(40, 9_000_000, 7_000_000), noise(MiB)]);
  const version = known(rig, 1, bytes);
  await arrive(rig, version, { bytes, from: 0, end: 4 * MiB });
  const list = rig.manifests.listOf(version);
  assert(list.lastKind === "metadata" && list.frontier >= 4 * MiB - 256 * KiB, `${list.frontier}`);
  await arrive(rig, version, { bytes, from: 4 * MiB, end: bytes.length });
  assert.deepEqual(found(rig, version), await expected(bytes));
});

Deno.test("Reading a track that the cache cannot hold goes on to its end, right to the byte", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  const bytes = joined([flacHeadOf(40, 2_000_000), noise(14 * MiB), id3v1()]);
  const file = origin.put("long.flac", bytes);
  const limitBytes = 6 * MiB;
  await using rig = new Rig(dir.path, { origins: [origin], limitBytes });
  const version = rig.know(1, "nas", file);
  for (let at = 0; at < bytes.length; at += 256 * KiB) {
    assertSameBytes(await rig.read(version, at, 256 * KiB), bytes.subarray(at, at + 256 * KiB));
    await rig.reader.idle();
  }
  assert.deepEqual(found(rig, version), await expected(bytes));
  assert(rig.store.stats().usedBytes <= limitBytes);
  // Nothing is stuck: another one is kept while it is read.
  const other = rig.know(2, "nas", origin.put("other.flac", noise(2 * MiB, 2)));
  await rig.readThrough(other);
  assert.equal(rig.manifests.listOf(other).whole, true);
});
