/** Writes plots as SVG: panels below each other with one axis of time. */

import type { Point } from "./flatness.ts";

export interface Panel {
  title: string;
  series: readonly { name: string; points: readonly Point[] }[];
}

export interface PlotOptions {
  title: string;
  /** What x counts: "minutes". */
  xUnit: string;
  /** Where thin lines stand in all panels, and what they mean. */
  marks: { at: readonly number[]; meaning: string };
}

const WIDTH = 860;
const PANEL_HEIGHT = 130;
const LEFT = 60;
const RIGHT = 170;
const TOP = 50;
const GAP = 34;
const X_TICKS = 6;
const COLOURS = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd"] as const;

/** Panels with their series; each panel's y axis begins at 0, so that what looks flat is flat. */
export function plotSvg(panels: readonly Panel[], options: PlotOptions): string {
  const xs = panels.flatMap(({ series }) => series.flatMap(({ points }) => points.map(([x]) => x)));
  const xMax = Math.max(1e-9, ...xs);
  const height = TOP + panels.length * (PANEL_HEIGHT + GAP) + 20;
  const parts = panels.flatMap((panel, at) =>
    panelLines(panel, { top: TOP + at * (PANEL_HEIGHT + GAP), xMax, marks: options.marks.at })
  );
  const bottom = TOP + panels.length * (PANEL_HEIGHT + GAP) - GAP;
  const ticks = Array.from({ length: X_TICKS + 1 }, (_none, i) => i * xMax / X_TICKS);
  const labels = ticks.map((x) =>
    text(short(x), { x: xAt(x, xMax), y: bottom + 16, anchor: "middle" })
  );
  const heading = `${options.title} (thin lines: ${options.marks.meaning})`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" ` +
    `viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="11">`,
    `<rect width="${WIDTH}" height="${height}" fill="white" />`,
    text(heading, { x: LEFT, y: 20, anchor: "start" }),
    ...parts,
    ...labels,
    text(options.xUnit, { x: WIDTH - RIGHT + 8, y: bottom + 16, anchor: "start" }),
    "</svg>",
    "",
  ].join("\n");
}

function panelLines(
  { title, series }: Panel,
  { top, xMax, marks }: { top: number; xMax: number; marks: readonly number[] },
): string[] {
  const yMax = 1.1 * Math.max(1e-9, ...series.flatMap(({ points }) => points.map(([, y]) => y)));
  const bottom = top + PANEL_HEIGHT;
  const yAt = (y: number): number => bottom - PANEL_HEIGHT * y / yMax;
  const lines = [text(title, { x: LEFT, y: top - 6, anchor: "start" })];
  for (const x of marks) {
    const at = xAt(x, xMax).toFixed(1);
    lines.push(`<path d="M${at} ${top}V${bottom}" stroke="#ddd" />`);
  }
  for (const y of [0, yMax / 2, yMax]) {
    const at = yAt(y);
    lines.push(`<path d="M${LEFT} ${at}H${WIDTH - RIGHT}" stroke="#bbb" />`);
    lines.push(text(short(y), { x: LEFT - 6, y: at + 4, anchor: "end" }));
  }
  for (const [at, { name, points }] of series.entries()) {
    const colour = COLOURS[at % COLOURS.length];
    const path = points.map(([x, y], i) =>
      `${i === 0 ? "M" : "L"}${xAt(x, xMax).toFixed(1)} ${yAt(y).toFixed(1)}`
    );
    lines.push(`<path d="${path.join("")}" fill="none" stroke="${colour}" stroke-width="1.2" />`);
    const last = points.at(-1)?.[1] ?? 0;
    const label = { x: WIDTH - RIGHT + 8, y: top + 12 + 15 * at, anchor: "start", fill: colour };
    lines.push(text(`${name}: ${short(last)}`, label));
  }
  return lines;
}

function xAt(x: number, xMax: number): number {
  return LEFT + (WIDTH - LEFT - RIGHT) * x / xMax;
}

function text(
  words: string,
  { x, y, anchor, fill = "black" }: {
    x: number;
    y: number;
    anchor: string;
    fill?: string | undefined;
  },
): string {
  const escaped = words.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  const place = `x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}"`;
  return `<text ${place} fill="${fill}">${escaped}</text>`;
}

/** At most three digits that mean something. */
function short(value: number): string {
  return String(Number(value.toPrecision(3)));
}
