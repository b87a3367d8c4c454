import fc from "fast-check";
import assert from "node:assert/strict";
import { retryWaitMs } from "../../src/fetch/retry.ts";

Deno.test("retryWaitMs() stays within a quarter of 100, 500, 2000, 2000, … ms", () => {
  const chances = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  fc.assert(fc.property(fc.nat(50), chances, (round, chance) => {
    const middle = [100, 500][round] ?? 2_000;
    assert(Math.abs(retryWaitMs(round, chance) - middle) <= middle / 4);
  }));
});
