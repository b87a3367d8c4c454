/**
 * Figures as Prometheus reads them: the text format, version 0.0.4.
 * Source: https://prometheus.io/docs/instrumenting/exposition_formats/
 */

import { BUCKET_SECONDS, type Histogram } from "../base/histogram.ts";

/** The `Content-Type` of {@linkcode exposition}. */
export const EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8";

export type Labels = Readonly<Record<string, string>>;

/** One figure of a family, told from the others by its labels. */
export interface Sample {
  labels?: Labels;
  value: number;
}

/** Figures of one name. Names and units follow https://prometheus.io/docs/practices/naming/. */
export type Family =
  & {
    name: string;
    /** A sentence without its full stop. */
    help: string;
  }
  & (
    | { type: "counter" | "gauge"; samples: readonly Sample[] }
    | { type: "histogram"; samples: readonly { labels?: Labels; histogram: Histogram }[] }
  );

/** All families as text; those without a figure are left out. */
export function exposition(families: readonly Family[]): string {
  return families.filter(({ samples }) => samples.length > 0).map(familyText).join("");
}

function familyText(family: Family): string {
  const { name, help, type } = family;
  const lines = [`# HELP ${name} ${escaped(help)}`, `# TYPE ${name} ${type}`];
  if (family.type === "histogram") {
    for (const { labels = {}, histogram } of family.samples) {
      lines.push(...histogramLines(name, { labels, histogram }));
    }
  } else {
    for (const { labels = {}, value } of family.samples) lines.push(line(name, labels, value));
  }
  return lines.map((text) => `${text}\n`).join("");
}

function histogramLines(
  name: string,
  { labels, histogram }: { labels: Labels; histogram: Histogram },
): string[] {
  const counts = histogram.cumulative();
  // Another thread may be counting: what is told must add up all the same.
  const count = Math.max(histogram.count, counts.at(-1) ?? 0);
  return [
    ...BUCKET_SECONDS.map((seconds, bucket) =>
      line(`${name}_bucket`, { ...labels, le: String(seconds) }, counts[bucket] ?? 0)
    ),
    line(`${name}_bucket`, { ...labels, le: "+Inf" }, count),
    line(`${name}_sum`, labels, histogram.sumSeconds),
    line(`${name}_count`, labels, count),
  ];
}

function line(name: string, labels: Labels, value: number): string {
  const pairs = Object.entries(labels).map(([key, text]) => `${key}="${quoted(text)}"`);
  return `${name}${pairs.length > 0 ? `{${pairs.join(",")}}` : ""} ${numberText(value)}`;
}

function numberText(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  return String(value);
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function quoted(text: string): string {
  return escaped(text).replaceAll('"', '\\"');
}
