import fc from "fast-check";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { CdcChunker, FASTCDC_WASM_BASE64, WINDOW_BYTES } from "../../src/chunking/cdc_chunker.ts";
import { DEFAULT_CHUNK_SIZES } from "../../src/chunking/chunk_sizes.ts";
import { MusicfsError } from "../../src/base/errors.ts";
import { goldenRows } from "./golden_files.ts";
import { type InputKind, inputOf, randomBytes } from "./golden_inputs.ts";

interface CutVector {
  kind: InputKind;
  bytes: number;
  sizes: [min: number, average: number, max: number];
  lengths: number[];
}

const chunker = new CdcChunker();
const seeds = fc.nat(0xffff_ffff);

Deno.test("CdcChunker cuts where the Rust crate fastcdc does", () => {
  const rows = goldenRows<CutVector>("fastcdc_v2020.jsonl");
  assert.equal(rows.length, 280);
  const chunkers = new Map<string, CdcChunker>();
  for (const { kind, bytes, sizes, lengths } of rows) {
    const [min, average, max] = sizes;
    const name = sizes.join("/");
    const own = chunkers.get(name) ?? new CdcChunker({ min, average, max });
    chunkers.set(name, own);
    assert.deepEqual(own.chunkLengths(inputOf(kind, bytes)), lengths, `${kind} ${bytes} ${name}`);
  }
  assert.deepEqual([...chunkers.keys()], ["16384/65536/262144", "2048/8192/32768"]);
});

Deno.test("CdcChunker chunks cover the bytes and keep to the sizes, but for the last", () => {
  const { min, max } = DEFAULT_CHUNK_SIZES;
  fc.assert(
    fc.property(seeds, fc.nat(1_500_000), (seed, length) => {
      const lengths = chunker.chunkLengths(randomBytes(seed, length));
      assert.equal(lengths.reduce((sum, chunk) => sum + chunk, 0), length);
      for (const [i, chunk] of lengths.entries()) {
        assert(chunk <= max && chunk >= (i === lengths.length - 1 ? 1 : min), `${i}: ${chunk}`);
      }
    }),
    { numRuns: 40 },
  );
});

Deno.test("CdcChunker keeps to its bounds to the byte", () => {
  const { min, max } = DEFAULT_CHUNK_SIZES;
  const lengthsOf = (length: number): number[] => chunker.chunkLengths(new Uint8Array(length));
  // What never differs has no cut points: every chunk is as long as may be.
  assert.deepEqual([0, 1, max, max + 1, 2 * max, 2 * max + min].map(lengthsOf), [
    [],
    [1],
    [max],
    [max, 1],
    [max, max],
    [max, max, min],
  ]);
  // No cut point is seen in the first `min` bytes, whatever is in them.
  for (const seed of [1, 2, 3, 4, 5]) {
    for (const length of [1, min - 1, min]) {
      assert.deepEqual(chunker.chunkLengths(randomBytes(seed, length)), [length]);
    }
  }
});

Deno.test("CdcChunker.chunkLengthsOf() cuts alike however the bytes are sliced", () => {
  // Longer than the window, so that every slicing meets its end somewhere else.
  const bytes = randomBytes(1, WINDOW_BYTES + 1_000_000);
  const expected = chunker.chunkLengths(bytes);
  const slice = fc.oneof(fc.nat(3), fc.nat(70_000), fc.nat(2_000_000));
  fc.assert(
    fc.property(fc.array(slice, { maxLength: 60 }), (slices) => {
      const parts: Uint8Array[] = [];
      let at = 0;
      for (const length of slices) {
        parts.push(bytes.subarray(at, at + length));
        at = Math.min(at + length, bytes.length);
      }
      parts.push(bytes.subarray(at));
      assert.deepEqual(chunker.chunkLengthsOf(parts), expected);
    }),
    { numRuns: 40 },
  );
});

Deno.test("CdcChunker.cutAll() cuts a file read part by part as if it were whole", () => {
  const bytes = randomBytes(2, 3_000_000);
  const expected = chunker.chunkLengths(bytes);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 700_000 }), (partBytes) => {
      const lengths: number[] = [];
      let kept = 0;
      for (let read = 0; read < bytes.length;) {
        const part = bytes.subarray(read, read + partBytes);
        chunker.window.set(part, kept);
        read += part.length;
        kept += part.length;
        const cut = chunker.cutAll(kept, { last: read === bytes.length });
        const done = cut.reduce((sum, length) => sum + length, 0);
        chunker.window.copyWithin(0, done, kept);
        kept -= done;
        lengths.push(...cut);
      }
      assert.equal(kept, 0);
      assert.deepEqual(lengths, expected);
    }),
    { numRuns: 30 },
  );
});

Deno.test("CdcChunker finds the old chunks again after an insert, a delete and a move", () => {
  // Of 1,500 random edits (4,500 cuts), the mean was 1.9 chunks lost of 40, the most 10.
  const lost: number[] = [];
  const edit = fc.record({
    seed: seeds,
    at: fc.nat(2_999_999),
    length: fc.integer({ min: 1, max: 50_000 }),
  }, { noNullPrototype: true });
  fc.assert(
    fc.property(edit, ({ seed, at, length }) => {
      const bytes = randomBytes(seed, 3_000_000);
      const head = bytes.subarray(0, at);
      const inserted = [head, randomBytes(seed + 1, length), bytes.subarray(at)];
      const deleted = [head, bytes.subarray(at + length)];
      const moved = [bytes.subarray(at), head];
      const known = chunksOf([bytes]);
      for (const slices of [inserted, deleted, moved]) {
        lost.push(known.difference(chunksOf(slices)).size);
      }
    }),
    { numRuns: 15 },
  );
  assert(Math.max(...lost) <= 20, `${lost}`);
  assert(lost.reduce((sum, n) => sum + n, 0) / lost.length <= 4, `${lost}`);
});

Deno.test("CdcChunker.cut() cuts the same wherever in the window the bytes lie", () => {
  const bytes = randomBytes(3, DEFAULT_CHUNK_SIZES.max);
  const [expected] = chunker.chunkLengths(bytes);
  assert(expected !== undefined && expected < bytes.length);
  for (const offset of [1, 2, 3, 4095, 65_536, WINDOW_BYTES - bytes.length]) {
    chunker.window.set(bytes, offset);
    assert.equal(chunker.cut(offset, bytes.length), expected);
  }
  assert.equal(chunker.cut(WINDOW_BYTES, 0), 0);
});

Deno.test("CdcChunker.cut() refuses bytes outside its window", () => {
  for (const [offset, length] of [[-1, 10], [0, -1], [0, WINDOW_BYTES + 1], [1, WINDOW_BYTES]]) {
    assert.throws(() => chunker.cut(offset ?? 0, length ?? 0), RangeError);
  }
  assert.throws(() => chunker.cut(NaN, 1), RangeError);
});

Deno.test("CdcChunker refuses sizes that FastCDC cannot cut to", () => {
  const { min, average, max } = DEFAULT_CHUNK_SIZES;
  const bad = [
    { min: min + 1, average, max },
    { min: 32, average, max },
    { min, average: average + 2, max },
    { min, average, max: average / 2 },
    { min: average * 2, average, max },
    { min, average, max: WINDOW_BYTES + 2 },
    { min: 64, average: 128, max },
    { min, average: NaN, max },
  ];
  for (const sizes of bad) {
    assert.throws(
      () => new CdcChunker(sizes),
      (error) => error instanceof MusicfsError && error.code === "invalid",
      JSON.stringify(sizes),
    );
  }
});

Deno.test("CdcChunker's inlined program is what fastcdc.wat assembles to", () => {
  // Both digests were taken together; tests/golden/README.md has the command that assembles.
  const text = Deno.readFileSync(new URL("../../src/chunking/fastcdc.wat", import.meta.url));
  const program = Uint8Array.fromBase64(FASTCDC_WASM_BASE64);
  assert.equal(program.length, 323);
  assert.deepEqual([sha256(text), sha256(program)], [
    "f7d7009cf78d4e0127b7d278ff6c843915e94a512f807172100eb7c06d195c3d",
    "bf6a3f48a6bf61458d3439187ee625edfc4eb3c678923bc4bb68054aa20ac16e",
  ]);
});

/** Digests of the chunks that `slices`, one after another, are cut into. */
function chunksOf(slices: readonly Uint8Array[]): Set<string> {
  const bytes = new Uint8Array(slices.reduce((sum, slice) => sum + slice.length, 0));
  let filled = 0;
  for (const slice of slices) {
    bytes.set(slice, filled);
    filled += slice.length;
  }
  const digests = new Set<string>();
  let at = 0;
  for (const length of chunker.chunkLengths(bytes)) {
    digests.add(sha256(bytes.subarray(at, at + length)));
    at += length;
  }
  return digests;
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
