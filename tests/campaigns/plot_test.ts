import assert from "node:assert/strict";
import { plotSvg } from "./plot.ts";

Deno.test("plotSvg() draws each series from 0 on, the last point at the right edge", () => {
  const svg = plotSvg(
    [{ title: "a < b & c", series: [{ name: "flat", points: [[0, 10], [5, 10], [10, 10]] }] }],
    { title: "Plot", xUnit: "minutes", marks: { at: [5], meaning: "something" } },
  );
  // 60 px on the left and 170 on the right of 860 are for words; 10 of 11 are 10/11 of 130 px.
  assert.match(svg, /d="M60\.0 61\.8L375\.0 61\.8L690\.0 61\.8"/);
  assert.match(svg, /M375\.0 50V180/);
  assert.match(svg, /a &lt; b &amp; c/);
  assert.match(svg, /flat: 10</);
});

Deno.test("plotSvg() of nothing is a plot", () => {
  const marks = { at: [], meaning: "none" };
  const svg = plotSvg([{ title: "", series: [{ name: "", points: [] }] }], {
    title: "",
    xUnit: "",
    marks,
  });
  assert.ok(!svg.includes("NaN") && !svg.includes("Infinity"));
});
