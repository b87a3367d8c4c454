import fc from "fast-check";
import { HASH_BYTES } from "../../src/chunking/chunk_hash.ts";
import {
  type Chunk,
  type ChunkManifest,
  type ChunkRegion,
  REGION_KINDS,
} from "../../src/chunking/chunk_manifest.ts";
import { CHUNK_BYTES_MAX } from "../../src/chunking/chunk_sizes.ts";

/** A hash that shows which one it is: `n * 16`, `n * 16 + 1`, … */
export function hashOf(n: number, bytes: 16 | 8): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: bytes }, (_, i) => n * 16 + i);
}

/** Bytes that the chunks of all regions hold. */
export function sizeOf(regions: readonly ChunkRegion[]): number {
  return regions.flatMap(({ chunks }) => chunks).reduce((sum, { length }) => sum + length, 0);
}

/** Chunks of any length and hash. */
export function chunksWith(hashBytes: 16 | 8): fc.Arbitrary<Chunk[]> {
  const chunk = fc.record({
    hash: fc.uint8Array({ minLength: hashBytes, maxLength: hashBytes }),
    length: fc.oneof(
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: CHUNK_BYTES_MAX }),
      fc.constant(CHUNK_BYTES_MAX),
    ),
  }, { noNullPrototype: true });
  return fc.array(chunk, { minLength: 1, maxLength: 20 });
}

/** Regions of a file, neighbours of the same kind among them; none for an empty file. */
export function regionsWith(hashBytes: 16 | 8): fc.Arbitrary<ChunkRegion[]> {
  const kind = fc.constantFrom(...REGION_KINDS);
  const region = fc.record({ kind, chunks: chunksWith(hashBytes) }, { noNullPrototype: true });
  return fc.array(region, { maxLength: 5 });
}

const texts = fc.string({ unit: "binary", minLength: 1, maxLength: 40 })
  .map((value) => value.replaceAll("\0", "0"));

/** Any manifest that can be written. */
export const manifests: fc.Arbitrary<ChunkManifest> = fc.constantFrom("xxh128", "xxh64").chain(
  (hash) =>
    fc.record({
      origin: texts,
      path: texts,
      version: fc.oneof(texts, fc.constant("")),
      mtimeNs: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      regions: regionsWith(HASH_BYTES[hash]),
    }, { noNullPrototype: true }).map((fields) => ({
      format: 1,
      hash,
      size: sizeOf(fields.regions),
      ...fields,
    })),
);
