import fc from "fast-check";
import assert from "node:assert/strict";
import type { ByteRange } from "../../src/base/bytes.ts";
import { EXTENT_BLOCK_BYTES, FETCH_BYTES_MAX } from "../../src/base/limits.ts";
import { isHandedOut, NEXT_TRACK_START, nextTrackPiece } from "../../src/reader/next_track.ts";
import { KiB, MiB } from "./rig.ts";

function all(size: number, budgets: readonly number[]): { found: ByteRange[]; done: boolean } {
  let state = NEXT_TRACK_START;
  const found: ByteRange[] = [];
  for (const budget of budgets) {
    for (;;) {
      const next = nextTrackPiece(state, { size, budget });
      if (!next) break;
      state = next.state;
      found.push(next.piece);
    }
  }
  return { found, done: isHandedOut(state, size) };
}

Deno.test("nextTrackPiece() gives the head, the tail, and then what the budget allows in order", () => {
  const { found, done } = all(10 * MiB, [100 * KiB, 300 * KiB, 2.5 * MiB]);
  assert.deepEqual(found, [
    { offset: 0, length: 256 * KiB },
    { offset: 10 * MiB - 128 * KiB, length: 128 * KiB },
    { offset: 256 * KiB, length: MiB },
    { offset: 256 * KiB + MiB, length: MiB },
  ]);
  assert.equal(done, false);
});

Deno.test("nextTrackPiece() hands out every byte once, in whole blocks", () => {
  const sizes = fc.oneof(fc.integer({ min: 1, max: 700 * KiB }), fc.integer({ min: 1, max: 9e6 }));
  fc.assert(fc.property(sizes, fc.array(fc.nat(10e6)), (size, budgets) => {
    const { found, done } = all(size, [...budgets, 20e6]);
    assert(done);
    let end = 0;
    for (const { offset, length } of found.toSorted((a, b) => a.offset - b.offset)) {
      assert.equal(offset, end);
      assert(length <= FETCH_BYTES_MAX && offset % EXTENT_BLOCK_BYTES === 0);
      end = offset + length;
    }
    assert.equal(end, size);
  }));
});
