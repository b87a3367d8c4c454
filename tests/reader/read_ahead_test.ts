import fc from "fast-check";
import assert from "node:assert/strict";
import type { ByteRange } from "../../src/base/bytes.ts";
import {
  EXTENT_BLOCK_BYTES,
  FETCH_BYTES_MAX,
  SEQUENTIAL_BYTES_MIN,
  SMALL_FETCH_BYTES_MAX,
} from "../../src/base/limits.ts";
import {
  afterRead,
  isInSequence,
  nextPiece,
  READ_AHEAD_START,
  type ReadAheadState,
  WINDOW_BYTES_MAX,
  windowBeyond,
  windowOf,
} from "../../src/reader/read_ahead.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

/** A read, and all that is then fetched ahead. */
function step(
  state: ReadAheadState,
  range: ByteRange,
  size: number,
): { state: ReadAheadState; fetched: ByteRange[] } {
  const fetched: ByteRange[] = [];
  let next = afterRead(state, range);
  for (;;) {
    const piece = nextPiece(next, { size, windowMax: WINDOW_BYTES_MAX });
    if (!piece) return { state: next, fetched };
    fetched.push(piece);
    next = { ...next, ahead: piece.offset + piece.length };
  }
}

/** Runs reads through the plan; all that is fetched ahead, in order. */
function follow(
  reads: Iterable<readonly [offset: number, length: number]>,
  size: number,
): { state: ReadAheadState; fetched: ByteRange[] } {
  let state = READ_AHEAD_START;
  const all: ByteRange[] = [];
  for (const [offset, length] of reads) {
    const { state: next, fetched } = step(state, { offset, length }, size);
    state = next;
    all.push(...fetched);
  }
  return { state, fetched: all };
}

function* sequence(from: number, to: number, step: number): Iterable<readonly [number, number]> {
  for (let at = from; at < to; at += step) yield [at, Math.min(step, to - at)];
}

Deno.test("nextPiece() fetches nothing ahead for a tag reader", () => {
  const size = 30 * MiB;
  const reads = [
    ...sequence(0, 256 * KiB, 128 * KiB),
    ...sequence(size - 256 * KiB, size, 128 * KiB),
    ...sequence(12 * MiB, 12 * MiB + 320 * KiB, 64 * KiB),
  ];
  assert.deepEqual(follow(reads, size).fetched, []);
});

Deno.test("nextPiece() keeps a small fetch ahead before 1 MiB, then 4 times what was read", () => {
  const size = 100 * MiB;
  let state = READ_AHEAD_START;
  for (const [offset, length] of sequence(0, 40 * MiB, 128 * KiB)) {
    const { state: next, fetched } = step(state, { offset, length }, size);
    const end = offset + length;
    const ahead = Math.max(0, next.ahead - end);
    for (const piece of fetched) assert(piece.length <= FETCH_BYTES_MAX);
    if (end < 384 * KiB) assert.equal(ahead, 0);
    else if (end < SEQUENTIAL_BYTES_MIN) assert(ahead <= SMALL_FETCH_BYTES_MAX && ahead > 0);
    else {
      const window = Math.min(4 * end, WINDOW_BYTES_MAX);
      assert(ahead <= window && ahead > window - FETCH_BYTES_MAX, `${ahead} at ${end}`);
    }
    state = next;
  }
});

Deno.test("windowOf() holds 20 s of 10 Mbit/s once 8 MiB were read", () => {
  const { state } = follow(sequence(0, 8 * MiB, 128 * KiB), 100 * MiB);
  const seconds = (windowOf(state, WINDOW_BYTES_MAX) - FETCH_BYTES_MAX) * 8 / 10e6;
  assert(seconds > 25, `${seconds}`);
});

Deno.test("nextPiece() takes the kernel's requests in any order for a sequence", () => {
  const size = 100 * MiB;
  const inOrder = [...sequence(0, 24 * MiB, 128 * KiB)];
  const swapped = inOrder.map((_, i) => inOrder[i ^ 3] ?? [0, 1] as const);
  const total = (of: ByteRange[]): number => of.reduce((sum, { length }) => sum + length, 0);
  const expected = total(follow(inOrder, size).fetched);
  assert(Math.abs(total(follow(swapped, size).fetched) - expected) <= 2 * MiB);
});

Deno.test("nextPiece() starts anew after a seek", () => {
  const size = 100 * MiB;
  const { state } = follow(sequence(0, 8 * MiB, 128 * KiB), size);
  assert.equal(isInSequence(state, 60 * MiB), false);
  const after = step(state, { offset: 60 * MiB, length: 128 * KiB }, size);
  assert.deepEqual(after.fetched, []);
  assert.equal(after.state.run, 128 * KiB);
});

Deno.test("nextPiece() goes on where the reader overtook what it knows of", () => {
  const size = 100 * MiB;
  const { state } = follow(sequence(0, 8 * MiB, 128 * KiB), size);
  const after = step(state, { offset: state.ahead, length: 128 * KiB }, size);
  assert(after.state.run > 8 * MiB);
  assert(after.fetched.length > 0);
});

Deno.test("windowBeyond() reaches past the end for a reader of most of the file alone", () => {
  const place = { size: 30 * MiB, windowMax: WINDOW_BYTES_MAX };
  const beyond = (reads: Iterable<readonly [number, number]>): number =>
    windowBeyond(follow(reads, place.size).state, place);
  assert.equal(beyond(sequence(0, 20 * MiB, 128 * KiB)), 30 * MiB);
  assert.equal(beyond(sequence(0, 512 * KiB, 128 * KiB)), 0);
  assert.equal(beyond(sequence(27 * MiB, 30 * MiB, 128 * KiB)), 0);
  assert.equal(beyond([[0, 64 * KiB], [30 * MiB - 128 * KiB, 128 * KiB]]), 0);
});

Deno.test("nextPiece() asks for whole blocks within the file, each at most once in a run", () => {
  const sizes = fc.integer({ min: 1, max: 64 * MiB });
  const steps = fc.array(
    fc.record({
      /** Mostly on, sometimes back or away. */
      move: fc.oneof(
        { weight: 8, arbitrary: fc.constant(0) },
        { weight: 2, arbitrary: fc.integer({ min: -512 * KiB, max: 512 * KiB }) },
        { weight: 1, arbitrary: fc.integer({ min: -64 * MiB, max: 64 * MiB }) },
      ),
      length: fc.integer({ min: 1, max: MiB }),
    }),
    { maxLength: 80 },
  );
  fc.assert(fc.property(sizes, steps, (size, moves) => {
    let state = READ_AHEAD_START;
    let at = 0;
    let asked = 0;
    for (const { move, length } of moves) {
      const offset = Math.min(Math.max(0, at + move), size - 1);
      const range = { offset, length: Math.min(length, size - offset) };
      at = offset + range.length;
      if (!isInSequence(state, offset)) asked = 0;
      const after = step(state, range, size);
      for (const piece of after.fetched) {
        const end = piece.offset + piece.length;
        assert(piece.length >= 1 && piece.length <= FETCH_BYTES_MAX);
        assert(piece.offset >= asked, "asked for twice");
        assert(piece.offset >= Math.min(at, size), "behind the reader");
        assert(end <= size && end <= after.state.next + WINDOW_BYTES_MAX + EXTENT_BLOCK_BYTES);
        assert.equal(piece.offset % EXTENT_BLOCK_BYTES, 0);
        assert(end === size || end % EXTENT_BLOCK_BYTES === 0);
        asked = end;
      }
      state = after.state;
    }
  }));
});
