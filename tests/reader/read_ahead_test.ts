import fc from "fast-check";
import assert from "node:assert/strict";
import {
  EXTENT_BLOCK_BYTES,
  FETCH_BYTES_MAX,
  SEQUENTIAL_BYTES_MIN,
} from "../../src/base/limits.ts";
import {
  planReadAhead,
  READ_AHEAD_START,
  type ReadAheadState,
  WINDOW_BYTES_MAX,
} from "../../src/reader/read_ahead.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

/** Runs reads through the plan; all that is fetched ahead, in order. */
function follow(
  reads: Iterable<readonly [offset: number, length: number]>,
  size: number,
): { state: ReadAheadState; fetched: { offset: number; length: number }[] } {
  let state = READ_AHEAD_START;
  const fetched: { offset: number; length: number }[] = [];
  for (const [offset, length] of reads) {
    const plan = planReadAhead(state, { offset, length }, size);
    state = plan.state;
    fetched.push(...plan.prefetch);
  }
  return { state, fetched };
}

function* sequence(from: number, to: number, step: number): Iterable<readonly [number, number]> {
  for (let at = from; at < to; at += step) yield [at, Math.min(step, to - at)];
}

Deno.test("planReadAhead() fetches nothing ahead for a tag reader", () => {
  const size = 30 * MiB;
  const reads = [
    ...sequence(0, 256 * KiB, 128 * KiB),
    ...sequence(size - 256 * KiB, size, 128 * KiB),
    ...sequence(12 * MiB, 12 * MiB + 512 * KiB, 64 * KiB),
  ];
  assert.deepEqual(follow(reads, size).fetched, []);
});

Deno.test("planReadAhead() starts after 1 MiB in sequence and doubles up to 8 MiB", () => {
  const size = 100 * MiB;
  let state = READ_AHEAD_START;
  const windows: number[] = [];
  for (const [offset, length] of sequence(0, 40 * MiB, 128 * KiB)) {
    const { state: next, prefetch } = planReadAhead(state, { offset, length }, size);
    if (offset + length < SEQUENTIAL_BYTES_MIN) assert.deepEqual(prefetch, []);
    if (next.window !== state.window) windows.push(next.window / MiB);
    if (next.window > 0) assert(next.ahead - next.next >= next.window / 2);
    state = next;
  }
  assert.deepEqual(windows, [1, 2, 4, 8]);
});

Deno.test("planReadAhead() takes the kernel's requests in any order for a sequence", () => {
  const size = 100 * MiB;
  const inOrder = [...sequence(0, 24 * MiB, 128 * KiB)];
  const swapped = inOrder.map((_, i) => inOrder[i ^ 3] ?? [0, 1] as const);
  const total = (of: { length: number }[]): number =>
    of.reduce((sum, { length }) => sum + length, 0);
  const expected = total(follow(inOrder, size).fetched);
  assert(Math.abs(total(follow(swapped, size).fetched) - expected) <= WINDOW_BYTES_MAX);
});

Deno.test("planReadAhead() starts anew after a seek", () => {
  const size = 100 * MiB;
  const { state } = follow(sequence(0, 8 * MiB, 128 * KiB), size);
  const plan = planReadAhead(state, { offset: 60 * MiB, length: 128 * KiB }, size);
  assert.equal(plan.jumped, true);
  assert.deepEqual(plan.prefetch, []);
  assert.equal(plan.state.window, 0);
});

Deno.test("planReadAhead() goes on where the reader overtook what it knows of", () => {
  const size = 100 * MiB;
  const { state } = follow(sequence(0, 8 * MiB, 128 * KiB), size);
  const plan = planReadAhead(state, { offset: state.ahead, length: 128 * KiB }, size);
  assert.equal(plan.jumped, false);
  assert(plan.prefetch.length > 0);
});

Deno.test("planReadAhead() asks for whole blocks within the file, each at most once in a run", () => {
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
      const plan = planReadAhead(state, range, size);
      if (plan.jumped) asked = 0;
      for (const piece of plan.prefetch) {
        const end = piece.offset + piece.length;
        assert(piece.length >= 1 && piece.length <= FETCH_BYTES_MAX);
        assert(piece.offset >= asked, "asked for twice");
        assert(piece.offset >= Math.min(at, size), "behind the reader");
        assert(end <= size && end <= plan.state.next + WINDOW_BYTES_MAX + EXTENT_BLOCK_BYTES);
        assert.equal(piece.offset % EXTENT_BLOCK_BYTES, 0);
        assert(end === size || end % EXTENT_BLOCK_BYTES === 0);
        asked = end;
      }
      state = plan.state;
    }
  }));
});
