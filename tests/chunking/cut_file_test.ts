import fc from "fast-check";
import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import type { LayoutRegion } from "../../src/chunking/audio_layout.ts";
import { CdcChunker } from "../../src/chunking/cdc_chunker.ts";
import { openChunkHash } from "../../src/chunking/chunk_hash.ts";
import type { ChunkRegion } from "../../src/chunking/chunk_manifest.ts";
import { cutFile } from "../../src/chunking/cut_file.ts";
import { joined } from "../support/flac_file.ts";
import { AUDIO_FILES, fileOf, flacHeadOf, ODD_FILES, regionsOf } from "./audio_files.ts";
import { randomBytes } from "./golden_inputs.ts";

const chunker = new CdcChunker();
const hash = await openChunkHash("xxh128");

function cut(bytes: Uint8Array): Promise<ChunkRegion[]> {
  const readRange = (offset: number, length: number): Promise<Uint8Array> =>
    Promise.resolve(bytes.slice(offset, offset + length));
  return cutFile(bytes.length, { readRange, chunker, hash });
}

/** Each region of `bytes` cut by itself, as a whole. */
function regionByRegion(
  bytes: Uint8Array,
  regions: readonly LayoutRegion[],
): ChunkRegion[] {
  let at = 0;
  return regions.map(({ kind, end }) => ({
    kind,
    chunks: chunker.chunkLengths(bytes.subarray(at, end)).map((length) => {
      at += length;
      return { hash: hash.digest(bytes.subarray(at - length, at)), length };
    }),
  }));
}

Deno.test("cutFile() cuts each region as the chunker does, from the region's own start", async () => {
  for (const [name, parts] of Object.entries(AUDIO_FILES)) {
    const bytes = fileOf(parts);
    assert.deepEqual(await cut(bytes), regionByRegion(bytes, regionsOf(parts)), name);
  }
  for (const [name, bytes] of Object.entries(ODD_FILES)) {
    const whole = [{ kind: "whole", end: bytes.length } as const];
    assert.deepEqual(await cut(bytes), regionByRegion(bytes, whole), name);
  }
  assert.deepEqual(await cut(new Uint8Array(0)), []);
});

Deno.test("cutFile() finds the same audio behind a head of any length", async () => {
  const audio = randomBytes(3, 2_500_000);
  const [, known] = await cut(joined([flacHeadOf(10), audio]));
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.nat(100_000), fc.nat(3_000_000)), async (length) => {
      const [head, found] = await cut(joined([flacHeadOf(length), audio]));
      assert.equal(head?.kind, "metadata");
      assert.deepEqual(found, known);
    }),
    { numRuns: 10 },
  );
});

Deno.test("cutFile() may be called for several files at once with one chunker", async () => {
  const files = [1, 2, 3].map((seed) => joined([flacHeadOf(seed), randomBytes(seed, 3_000_000)]));
  const alone: ChunkRegion[][] = [];
  for (const bytes of files) alone.push(await cut(bytes));
  assert.deepEqual(await Promise.all(files.map(cut)), alone);
});

Deno.test("cutFile() reads a MiB at most, little but the file itself, and looks for its layout first", async () => {
  const bytes = joined([flacHeadOf(500_000), randomBytes(1, 6_000_000)]);
  const reads: [offset: number, length: number][] = [];
  const readRange = (offset: number, length: number): Promise<Uint8Array> => {
    reads.push([offset, length]);
    return Promise.resolve(bytes.subarray(offset, offset + length));
  };
  await cutFile(bytes.length, { readRange, chunker, hash });
  const total = reads.reduce((sum, [, length]) => sum + length, 0);
  assert(reads.every(([, length]) => length <= 1024 * 1024));
  assert(total <= bytes.length + 3 * 32 * 1024, `${total} bytes for ${bytes.length}`);
});

Deno.test("cutFile() throws changed for a file that is shorter than it was, and what a read throws", async () => {
  const bytes = randomBytes(1, 3_000_000);
  const short = (offset: number, length: number): Promise<Uint8Array> =>
    Promise.resolve(bytes.subarray(offset, Math.min(offset + length, 2_000_000)));
  await assert.rejects(
    cutFile(bytes.length, { readRange: short, chunker, hash }),
    (error) => error instanceof MusicfsError && error.code === "changed",
  );
  const gone = new Error("gone");
  const fails = (): Promise<Uint8Array> => Promise.reject(gone);
  await assert.rejects(cutFile(5, { readRange: fails, chunker, hash }), gone);
});
