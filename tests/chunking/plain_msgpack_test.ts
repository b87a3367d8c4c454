import fc from "fast-check";
import { Packr } from "msgpackr";
import assert from "node:assert/strict";
import { isPlainMsgpack } from "../../src/chunking/plain_msgpack.ts";

const packr = new Packr({ useRecords: false });

/** Nested arrays of everything that is let through, with counts of every width. */
const { plain } = fc.letrec((tie) => ({
  plain: fc.oneof(
    { maxDepth: 4 },
    fc.integer(),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
    fc.string({ unit: "binary", maxLength: 70_000, size: "max" }),
    fc.uint8Array({ maxLength: 70_000, size: "max" }),
    fc.array(tie("plain"), { maxLength: 20 }),
    fc.nat(70_000).map((length) => new Array(length).fill(1)),
  ),
}));

Deno.test("isPlainMsgpack() lets through arrays, strings, binaries and integers, if complete", () => {
  fc.assert(
    fc.property(
      plain,
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (value, part) => {
        const bytes = new Uint8Array(packr.pack(value));
        assert(isPlainMsgpack(bytes));
        assert(!isPlainMsgpack(bytes.subarray(0, Math.floor(part * bytes.length))));
        assert(!isPlainMsgpack(new Uint8Array([...bytes, 1])));
      },
    ),
    { numRuns: 40 },
  );
});

Deno.test("isPlainMsgpack() refuses every other type", () => {
  const values = [null, true, 1.5, { a: 1 }, new Date(0), new Map([[1, 2]]), [1, [undefined]]];
  for (const value of values) assert(!isPlainMsgpack(packr.pack(value)), String(value));
});

Deno.test("isPlainMsgpack() refuses counts that the bytes cannot hold", () => {
  for (const token of [0xdd, 0xc6, 0xdb]) {
    for (const count of [[0, 0, 0, 2], [0, 255, 255, 255], [255, 255, 255, 255]]) {
      assert(!isPlainMsgpack(new Uint8Array([token, ...count, 1])));
    }
  }
});
