import assert from "node:assert/strict";
import { type Point, slopeOf } from "./flatness.ts";

const line = (slope: number): Point[] =>
  Array.from({ length: 60 }, (_none, i) => [i, 7 + slope * i]);

Deno.test("slopeOf() finds how fast a line rises or falls", () => {
  assert.equal(slopeOf(line(3)), 3);
  assert.equal(slopeOf(line(-0.5)), -0.5);
  assert.equal(slopeOf(line(0)), 0);
});

Deno.test("slopeOf() is not moved by peaks", () => {
  const points = line(2).map(([x, y], i): Point => [x, i % 7 === 3 ? y + 500 : y]);
  assert.ok(Math.abs(slopeOf(points) - 2) < 0.1);
});

Deno.test("slopeOf() of too few points is 0", () => {
  assert.equal(slopeOf([]), 0);
  assert.equal(slopeOf([[1, 5]]), 0);
  assert.equal(slopeOf([[1, 5], [1, 9]]), 0);
});
