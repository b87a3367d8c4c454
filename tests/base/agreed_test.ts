import assert from "node:assert/strict";
import { agreed } from "../../src/base/posix.ts";

function answers(...given: number[]): () => number {
  return () => given.shift() ?? assert.fail("asked once more than needed");
}

Deno.test("agreed() gives a result at once, and a reason that comes twice in a row", () => {
  assert.equal(agreed(answers(7)), 7);
  assert.equal(agreed(answers(-107, -107)), -107);
  // The first, or the second, was read wrong.
  assert.equal(agreed(answers(-2, -107, -107)), -107);
  assert.equal(agreed(answers(-107, -2, -107, -107)), -107);
  // A call that was cut off, and what came of it.
  assert.equal(agreed(answers(-103, 0)), 0);
});
