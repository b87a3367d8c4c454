import fc from "fast-check";
import assert from "node:assert/strict";
import { RecentRanges } from "../../src/reader/recent_ranges.ts";
import { assertSameBytes, noise } from "./rig.ts";

const SIZE = 4_000;

Deno.test("RecentRanges gives right bytes or says what is missing, and stays within its bound", () => {
  const step = fc.record({
    id: fc.integer({ min: 1, max: 3 }),
    offset: fc.nat(SIZE - 1),
    length: fc.integer({ min: 1, max: 900 }),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const recent = new RecentRanges(3_000);
    const files = new Map([1, 2, 3].map((id) => [id, noise(SIZE, id)]));
    for (const [i, { id, offset, length }] of steps.entries()) {
      const bytes = files.get(id)?.subarray(offset, offset + length) ?? new Uint8Array();
      if (i % 3 < 2) recent.put(id, offset, bytes);
      assert(recent.bytes <= 3_000);
      const into = new Uint8Array(bytes.length);
      const missing = recent.fill(id, { offset, bytes: into });
      let end = offset;
      for (const gap of missing) {
        assert(gap.length > 0 && gap.offset >= end);
        end = gap.offset + gap.length;
        into.set(files.get(id)?.subarray(gap.offset, end) ?? [], gap.offset - offset);
      }
      assert(end <= offset + bytes.length);
      assertSameBytes(into, bytes);
      assert.deepEqual(recent.missing(id, { offset, length: bytes.length }), missing);
    }
  }));
});

Deno.test("RecentRanges forgets what came first, whatever was used last", () => {
  const recent = new RecentRanges(300);
  for (let i = 0; i < 3; i += 1) recent.put(1, 100 * i, noise(100, i + 1).slice());
  assert.deepEqual(recent.fill(1, { offset: 0, bytes: new Uint8Array(100) }), []);
  recent.put(1, 300, noise(100, 4).slice());
  assert.deepEqual(recent.missing(1, { offset: 0, length: 400 }), [{ offset: 0, length: 100 }]);
});
