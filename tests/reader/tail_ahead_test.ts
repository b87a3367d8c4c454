import assert from "node:assert/strict";
import { EXTENT_BLOCK_BYTES } from "../../src/base/limits.ts";
import { TailAhead } from "../../src/reader/tail_ahead.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import { KiB, MiB } from "./rig.ts";

const SIZE = 20 * MiB + 5_000;

function version(id: number, size = SIZE): FileVersion {
  const source = { origin: "nas", path: `${id}.flac`, version: "v1" };
  return { id, size, mtimeNs: 0n, sources: [source] };
}

const HEAD = { offset: 0, length: 64 * KiB };

function tailOf(size: number, bytes: number): { offset: number; length: number } {
  return { offset: size - bytes, length: bytes };
}

/** Reads heads of files `[from, end)`, and `tail` bytes of tails; how many tails were foretold. */
function scan(
  tails: TailAhead,
  [from, end]: [number, number],
  { tail, size = SIZE, report = true }: { tail: number; size?: number; report?: boolean },
): number {
  let foretold = 0;
  for (let id = from; id < end; id += 1) {
    const range = tails.headRead(version(id, size), HEAD);
    tails.read(id, HEAD);
    tails.headDone(id);
    if (range) {
      foretold += 1;
      assert.equal(range.offset % EXTENT_BLOCK_BYTES, 0);
      assert.equal(range.offset + range.length, size);
      assert(range.length <= 256 * KiB + EXTENT_BLOCK_BYTES);
    }
    if (tail > 0) tails.read(id, tailOf(size, tail));
    if (report && id % 4 === 0) tails.reported();
  }
  return foretold;
}

Deno.test("TailAhead foretells tails after three, just as long as they are read", () => {
  const tails = new TailAhead();
  assert.equal(scan(tails, [0, 3], { tail: 128 * KiB }), 0);
  const range = tails.headRead(version(3), HEAD);
  const start = Math.floor((SIZE - 128 * KiB) / EXTENT_BLOCK_BYTES) * EXTENT_BLOCK_BYTES;
  assert.deepEqual(range, { offset: start, length: SIZE - start });
  assert.equal(scan(tails, [10, 60], { tail: 128 * KiB }), 50);
});

Deno.test("TailAhead costs readers of heads nothing", () => {
  assert.equal(scan(new TailAhead(), [0, 100], { tail: 0 }), 0);
});

Deno.test("TailAhead costs who reads on from the head to the end nothing", () => {
  const tails = new TailAhead();
  for (let id = 0; id < 50; id += 1) {
    const size = 1 * MiB;
    assert.equal(tails.headRead(version(id, size), HEAD), undefined);
    for (let offset = 0; offset < size; offset += 64 * KiB) {
      tails.read(id, { offset, length: 64 * KiB });
    }
  }
});

Deno.test("TailAhead stops soon when heads go without tails, and begins again with them", () => {
  const tails = new TailAhead();
  scan(tails, [0, 50], { tail: 128 * KiB });
  assert(scan(tails, [50, 100], { tail: 0 }) <= 12);
  assert.equal(scan(tails, [100, 150], { tail: 0 }), 0);
  assert(scan(tails, [150, 200], { tail: 128 * KiB }) > 20);
});

Deno.test("TailAhead bounds what it foretells while nothing is told of it", () => {
  const tails = new TailAhead();
  scan(tails, [0, 20], { tail: 128 * KiB });
  assert(scan(tails, [20, 200], { tail: 0, report: false }) <= 12);
});

Deno.test("TailAhead foretells nothing of a file whose head and tail meet", () => {
  const tails = new TailAhead();
  scan(tails, [0, 20], { tail: 128 * KiB });
  assert.equal(tails.headRead(version(30, 512 * KiB), HEAD), undefined);
});

Deno.test("TailAhead does not take files that were fetched ahead for read until they are", () => {
  const tails = new TailAhead();
  scan(tails, [0, 20], { tail: 128 * KiB });
  for (let id = 100; id < 130; id += 1) {
    assert(tails.headRead(version(id), HEAD, { isAhead: true }));
  }
  // Thirty that nobody has opened are no reason to doubt the habit; as many that were opened are.
  assert(tails.headRead(version(200), HEAD));
  for (let id = 100; id < 130; id += 1) tails.headDone(id);
  assert.equal(tails.headRead(version(201), HEAD), undefined);
});
