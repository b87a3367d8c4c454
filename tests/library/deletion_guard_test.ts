import fc from "fast-check";
import assert from "node:assert/strict";
import { judgeDeletions, type MissingFiles } from "../../src/library/deletion_guard.ts";

const usual: MissingFiles = {
  gone: 0,
  confirmed: 0,
  of: 100,
  anythingLeft: true,
  accepted: false,
};

Deno.test("judgeDeletions() holds more than half and at least ten, until confirmed in full", () => {
  const table: readonly [change: Partial<MissingFiles>, verdict: string][] = [
    [{ gone: 50 }, "apply"],
    [{ gone: 51 }, "hold"],
    [{ gone: 51, confirmed: 50 }, "hold"],
    [{ gone: 51, confirmed: 51 }, "apply"],
    [{ gone: 51, accepted: true }, "apply"],
    [{ gone: 9, of: 10 }, "apply"],
    [{ gone: 10, of: 11 }, "hold"],
    [{ gone: 10, of: 20 }, "apply"],
    [{ gone: 1, of: 1, anythingLeft: false }, "hold"],
    [{ gone: 9, of: 9 }, "apply"],
    [{ gone: 99, confirmed: 99 }, "apply"],
    [{ gone: 100, confirmed: 100 }, "hold"],
    [{ gone: 100, accepted: true }, "apply"],
    [{ gone: 100, confirmed: 100, anythingLeft: false }, "hold"],
    [{ gone: 100, anythingLeft: false, accepted: true }, "apply"],
    [{ gone: 0, of: 0, anythingLeft: false }, "hold"],
  ];
  for (const [change, verdict] of table) {
    assert.equal(judgeDeletions({ ...usual, ...change }), verdict, JSON.stringify(change));
  }
});

Deno.test("judgeDeletions() never empties an origin without the user's word", () => {
  const counts = fc.record({ gone: fc.nat(), confirmed: fc.nat(), of: fc.nat() });
  fc.assert(fc.property(counts, (some) => {
    const missing = { ...some, anythingLeft: false, accepted: false };
    assert.equal(judgeDeletions(missing), "hold");
  }));
});
