/** Row B2, over many kinds of damage; `deno task test:damage` tries 192. */

import assert from "node:assert/strict";
import { damagedIndexes } from "../campaigns/damaged_index.ts";
import { testWith } from "../support/requirements.ts";
import { rounds, seed } from "../support/scale.ts";

testWith(
  ["fuse", "fusermount3", "diff", "find"],
  "cached tracks play from a cache whose index is damaged, with the origin gone",
  async () => {
    const cases = rounds({ ci: 3, long: 192 });
    const { signal } = new AbortController();
    const report = await damagedIndexes({ cases, places: 2, seed: seed() }, signal);
    assert.deepEqual(report.faults, []);
    assert.equal(report.cases, cases);
    assert(report.rebuilt > 0, "no damage was found");
  },
);
