import fc from "fast-check";
import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import { ChunkList } from "../../src/chunking/chunk_list.ts";
import { CHUNK_BYTES_MAX } from "../../src/chunking/chunk_sizes.ts";
import { goldenBytes } from "./golden_files.ts";
import { chunksWith, hashOf, regionsWith, sizeOf } from "./manifest_arbitraries.ts";

const hashBytes = 16;

/** What tests/golden/chunk_list_1.hex says. */
const golden = ChunkList.empty(6_000_000_000, 16)
  .append([{ hash: hashOf(1, 16), length: 100 }], { kind: "metadata" })
  .append([
    { hash: hashOf(2, 16), length: 70_000 },
    { hash: hashOf(3, 16), length: CHUNK_BYTES_MAX },
  ], { kind: "audio" });

Deno.test("ChunkList.encode() writes format 1 as it was first written", () => {
  assert.equal(golden.encode().toHex(), goldenBytes("chunk_list_1.hex").toHex());
});

Deno.test("ChunkList.decode() reads format 1 as it was first written", () => {
  const list = ChunkList.decode(goldenBytes("chunk_list_1.hex"));
  assert.deepEqual(
    [list.size, list.frontier, list.count, list.whole, list.hashBytes],
    [6_000_000_000, 332_244, 3, false, 16],
  );
  assert.deepEqual([...list.starts], [0, 100, 70_100, 332_244]);
  assert.deepEqual([0, 1, 2].map((i) => list.length(i)), [100, 70_000, CHUNK_BYTES_MAX]);
  assert.deepEqual([0, 1, 2].map((i) => list.hash(i)), [1, 2, 3].map((n) => hashOf(n, 16)));
  assert.deepEqual(list.toRegions(), golden.toRegions());
});

for (const bytes of [16, 8] as const) {
  Deno.test(`ChunkList of ${bytes}-byte hashes survives encoding, regions and all`, () => {
    fc.assert(fc.property(regionsWith(bytes), fc.nat(5_000), (regions, missing) => {
      const size = sizeOf(regions) + missing;
      const list = ChunkList.fromRegions(regions, { size, hashBytes: bytes });
      const copy = ChunkList.decode(list.encode());
      for (const each of [list, copy]) {
        assert.deepEqual(each.toRegions(), regions);
        assert.deepEqual([each.size, each.frontier], [size, size - missing]);
        assert.equal(each.whole, missing === 0);
        assert.equal(each.lastKind, regions.at(-1)?.kind);
      }
      assert.equal(copy.encode().toHex(), list.encode().toHex());
    }));
  });
}

Deno.test("ChunkList.decode() copies, so that the record may be overwritten", () => {
  const record = golden.encode();
  const list = ChunkList.decode(record);
  record.fill(0xff);
  assert.equal(list.encode().toHex(), golden.encode().toHex());
});

Deno.test("ChunkList.decode() reads a record that is not aligned", () => {
  const record = golden.encode();
  for (const at of [1, 2, 3]) {
    const shifted = new Uint8Array(record.length + at);
    shifted.set(record, at);
    assert.deepEqual(ChunkList.decode(shifted.subarray(at)), golden);
  }
});

Deno.test("ChunkList.covering() and indexAt() agree with looking at every chunk", () => {
  const size = 20 * CHUNK_BYTES_MAX;
  const near = fc.tuple(fc.nat(20), fc.integer({ min: -1, max: 1 }));
  const lengths = fc.oneof(fc.nat(3), fc.nat(size));
  fc.assert(fc.property(chunksWith(hashBytes), near, lengths, (chunks, [chunk, by], length) => {
    const list = ChunkList.empty(size, hashBytes).append(chunks);
    const offset = Math.max(0, (list.starts[Math.min(chunk, list.count)] ?? 0) + by);
    const holds = (i: number, from: number, to: number): boolean =>
      list.start(i) < to && list.start(i) + list.length(i) > from;
    const indexes = Array.from(chunks, (_, i) => i);

    const [first, end] = list.covering({ offset, length });

    const expected = indexes.filter((i) => holds(i, offset, offset + length) && length > 0);
    assert.deepEqual(indexes.slice(first, end), expected);
    const at = indexes.find((i) => holds(i, offset, offset + 1)) ?? list.count;
    assert.deepEqual([list.indexAt(offset), first], [at, at]);
  }));
});

Deno.test("ChunkList.append() in any portions gives the same list, and leaves the old one", () => {
  const portions = fc.array(fc.nat(20), { maxLength: 5 });
  fc.assert(fc.property(chunksWith(hashBytes), portions, (chunks, cuts) => {
    const size = sizeOf([{ kind: "whole", chunks }]);
    const empty = ChunkList.empty(size, hashBytes);
    const whole = empty.append(chunks);
    let list = empty;
    let done = 0;
    for (const cut of [...cuts, chunks.length]) {
      const before = list.encode().toHex();
      const longer = list.append(chunks.slice(done, done + cut));
      assert.equal(list.encode().toHex(), before);
      list = longer;
      done += cut;
    }
    assert.equal(list.encode().toHex(), whole.encode().toHex());
    assert(list.whole && list.toRegions().length === 1);
  }));
});

Deno.test("ChunkList.append() starts a region when the kind changes, and only then", () => {
  const chunk = { hash: hashOf(1, 16), length: 10 };
  const list = ChunkList.empty(100, 16)
    .append([chunk], { kind: "metadata" })
    .append([chunk])
    .append([chunk], { kind: "audio" })
    .append([], { kind: "metadata" })
    .append([chunk], { kind: "audio" });
  const regions = list.toRegions().map(({ kind, chunks }) => [kind, chunks.length]);
  assert.deepEqual(regions, [["metadata", 2], ["audio", 2]]);
});

Deno.test("ChunkList.append() refuses chunks that cannot be part of the file", () => {
  const list = ChunkList.empty(100, 16);
  const bad = [
    { hash: hashOf(1, 16), length: 101 },
    { hash: hashOf(1, 16), length: 0 },
    { hash: hashOf(1, 16), length: 1.5 },
    { hash: hashOf(1, 8), length: 1 },
  ];
  for (const chunk of bad) throwsWith("invalid", () => list.append([chunk]));
  const long = { hash: hashOf(1, 16), length: CHUNK_BYTES_MAX + 1 };
  throwsWith("invalid", () => ChunkList.empty(2 ** 40, 16).append([long]));
  throwsWith("invalid", () => ChunkList.empty(-1, 16));
  const empty = [{ kind: "whole" as const, chunks: [] }];
  throwsWith("invalid", () => ChunkList.fromRegions(empty, { size: 0, hashBytes: 16 }));
});

Deno.test("ChunkList of an empty file is whole and covers nothing", () => {
  const list = ChunkList.decode(ChunkList.empty(0, 16).encode());
  assert.deepEqual([list.whole, list.count, list.frontier], [true, 0, 0]);
  assert.deepEqual(list.covering({ offset: 0, length: 1 }), [0, 0]);
  assert.throws(() => list.hash(0), RangeError);
  assert.throws(() => list.length(0), RangeError);
});

Deno.test("ChunkList.decode() throws corrupt wherever a record is cut off or goes on", () => {
  const record = golden.encode();
  for (let length = 0; length < record.length; length += 1) {
    throwsWith("corrupt", () => ChunkList.decode(record.subarray(0, length)));
  }
  throwsWith("corrupt", () => ChunkList.decode(new Uint8Array([...record, 0])));
});

Deno.test("ChunkList.decode() gives a sound list or a MusicfsError for any bytes", () => {
  const record = golden.encode();
  const place = fc.tuple(fc.nat(record.length - 1), fc.nat(255));
  fc.assert(
    fc.property(fc.array(place, { minLength: 1, maxLength: 4 }), (places) => {
      const bytes = record.slice();
      for (const [at, value] of places) bytes[at] = value;
      try {
        assert.equal(ChunkList.decode(bytes).encode().toHex(), bytes.toHex());
      } catch (error) {
        if (!(error instanceof MusicfsError)) throw error;
      }
    }),
    { numRuns: 3_000 },
  );
});

Deno.test("ChunkList.decode() refuses what cannot be, field by field", () => {
  const changes: [at: number, value: number, what: string][] = [
    [0, 0, "format"],
    [1, 32, "bytes of a hash"],
    [2, 1, "region count"],
    [4, 2, "chunk count"],
    [15, 1, "size past 2^53"],
    [16, 0, "frontier"],
    [24, 1, "first region not at chunk 0"],
    [28, 3, "kind"],
    [32, 0, "empty region"],
    [32, 3, "region after the last chunk"],
    [40, 101, "a chunk's length"],
  ];
  for (const [at, value, what] of changes) {
    const record = golden.encode();
    assert.notEqual(record[at], value, what);
    record[at] = value;
    throwsWith("corrupt", () => ChunkList.decode(record), what);
  }
  const beyond = golden.encode();
  new DataView(beyond.buffer).setBigUint64(8, 332_243n, true);
  throwsWith("corrupt", () => ChunkList.decode(beyond), "frontier past the end");
  const newer = golden.encode();
  newer[0] = 2;
  throwsWith("invalid", () => ChunkList.decode(newer), "newer format");
});

function throwsWith(code: string, call: () => unknown, message?: string): void {
  assert.throws(
    call,
    (error) => error instanceof MusicfsError && error.code === code,
    message,
  );
}
