import assert from "node:assert/strict";
import { countVerdicts, judge, median, type Row, tableOf } from "./report.ts";

const row: Row = {
  title: "1 MiB direct",
  unit: "MiB/s",
  figures: { musicfs: 2800, limit: 3500 },
  targets: [
    { beside: "limit", bound: "at least", value: 0.7 },
    { beside: "rclone", bound: "at least", value: 2.5 },
    { bound: "at most", value: 2000 },
  ],
  note: "cached",
};

Deno.test("judge() divides by the peer, and tells short from not measured", () => {
  const judgements = row.targets.map((target) => judge(row, target));
  assert.deepEqual(judgements, [
    { ratio: 0.8, target: "≥ 0.7 × limit", verdict: "ok" },
    { ratio: undefined, target: "≥ 2.5 × rclone", verdict: "not measured" },
    { ratio: 2800, target: "≤ 2000 MiB/s", verdict: "short" },
  ]);
  assert.deepEqual(countVerdicts([row, row]), { "ok": 2, "short": 2, "not measured": 2 });
});

Deno.test("judge() takes the bound itself as reached", () => {
  const even: Row = { ...row, figures: { musicfs: 7, limit: 10 } };
  assert.equal(judge(even, { beside: "limit", bound: "at least", value: 0.7 }).verdict, "ok");
  assert.equal(judge(even, { bound: "at most", value: 7 }).verdict, "ok");
});

Deno.test("tableOf() has a line for each target, and the notes", () => {
  assert.equal(
    tableOf([row]),
    [
      "              unit   musicfs  limit  rclone  sshfs  disk  ratio  target",
      "1 MiB direct  MiB/s    2,800  3,500       -      -     -   0.80  ≥ 0.7 × limit   ok",
      "                                                              -  ≥ 2.5 × rclone  NOT MEASURED",
      "                                                          2,800  ≤ 2000 MiB/s    SHORT",
      "",
      "1 MiB direct: cached",
      "",
    ].join("\n"),
  );
});

Deno.test("median() is the middle, whatever the order", () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 3, 2]), 2);
  assert.throws(() => median([]), RangeError);
});
