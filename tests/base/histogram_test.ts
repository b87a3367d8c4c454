import assert from "node:assert/strict";
import { BUCKET_SECONDS, Histogram, HISTOGRAM_NUMBERS } from "../../src/base/histogram.ts";

/** Where one observation is counted: the upper end of its bucket in us. */
function bucketOf(us: number): number {
  const histogram = new Histogram();
  histogram.observe(us / 1000);
  const bucket = histogram.cumulative().indexOf(1);
  return bucket < 0 ? Infinity : Math.round((BUCKET_SECONDS[bucket] ?? 0) * 1e6);
}

Deno.test("Histogram.observe() counts in the first bucket that ends no earlier", () => {
  const cases = [[0, 8], [-5, 8], [8, 8], [8.01, 16], [16, 16], [17, 32], [1_000, 1_024]];
  cases.push([1_024, 1_024], [1_025, 2_048], [2 ** 25, 2 ** 25], [2 ** 25 + 1, Infinity]);
  cases.push([2 ** 33, Infinity], [2 ** 32 + 1, Infinity]);
  for (const [us = 0, end] of cases) assert.equal(bucketOf(us), end, `${us} us`);
});

Deno.test("Histogram adds up what it was told, for another thread, too", () => {
  const shared = new SharedArrayBuffer(HISTOGRAM_NUMBERS * 8);
  const ours = new Histogram(new Float64Array(shared));
  const theirs = new Histogram(new Float64Array(shared));
  for (const ms of [0.004, 1, 1, 60_000]) ours.observe(ms);
  assert.equal(theirs.count, 4);
  assert.equal(theirs.sumSeconds, 60.002_004);
  const counts = theirs.cumulative();
  assert.deepEqual([counts[0], counts[7], counts.at(-1)], [1, 3, 3]);
  assert.equal(counts.length, BUCKET_SECONDS.length);
});
