/** Random reads under faults, in short; `deno task campaign:random-reads` makes 10^6. */

import assert from "node:assert/strict";
import { randomReads } from "../campaigns/random_reads.ts";
import { REMOTE_NEEDS } from "../network/remote.ts";
import { testWith } from "../support/requirements.ts";
import { rounds, seed } from "../support/scale.ts";

testWith(
  ["root", "mount", "gcc", ...REMOTE_NEEDS.sftp],
  "random reads under faults, edits, damage, a full disk and kills give no wrong byte, and none hangs",
  async () => {
    const reads = rounds({ ci: 20_000, long: 200_000 });
    const { signal } = new AbortController();
    // However slow the machine is.
    const ms = rounds({ ci: 10_000, long: 600_000 });
    // That no read hangs is seen here; how long they take, on a machine that does nothing else.
    const overMs = 60_000;
    const options = { reads, processes: 8, supervise: true, seed: seed(), ms, overMs };
    const report = await randomReads(options, signal);
    const { wrong, overLimit, otherErrors, faults } = report;
    const seen = JSON.stringify(report);
    assert.deepEqual({ wrong, overLimit, otherErrors, faults }, {
      wrong: 0,
      overLimit: 0,
      otherErrors: 0,
      faults: 0,
    }, seen);
    assert(report.reads > 100, seen);
    assert(Object.values(report.done).some((count) => count > 0), seen);
  },
);
