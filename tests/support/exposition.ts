/**
 * A strict reader of Prometheus' text format 0.0.4: it refuses what the format allows and Prometheus
 * takes, but nobody means (a family in two places, a sample of another family, a counter that is not
 * called `_total`).
 */

export interface ParsedSample {
  name: string;
  labels: Readonly<Record<string, string>>;
  value: number;
}

export interface ParsedFamily {
  type: "counter" | "gauge" | "histogram";
  help: string;
  samples: ParsedSample[];
}

/** All families by name. Throws an `Error` that names the line for what is wrong. */
export function parseExposition(text: string): Map<string, ParsedFamily> {
  if (!text.endsWith("\n")) throw new Error("The last line has no end");
  const families = new Map<string, ParsedFamily>();
  const seen = new Set<string>();
  let current: { name: string; family: ParsedFamily } | undefined;
  let help: { name: string; text: string } | undefined;
  for (const line of text.slice(0, -1).split("\n")) {
    const refuse = (why: string): Error => new Error(`${why}: ${line}`);
    const [, keyword, name = "", rest = ""] =
      /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(line) ?? [];
    if (keyword === "HELP") {
      if (families.has(name) || help) throw refuse("HELP out of place");
      help = { name, text: rest };
    } else if (keyword === "TYPE") {
      if (help?.name !== name) throw refuse("TYPE without its HELP");
      if (rest !== "counter" && rest !== "gauge" && rest !== "histogram") throw refuse("No type");
      if ((rest === "counter") !== name.endsWith("_total")) throw refuse("_total is for counters");
      current = { name, family: { type: rest, help: help.text, samples: [] } };
      families.set(name, current.family);
      help = undefined;
    } else {
      if (!current || help) throw refuse("A sample without HELP and TYPE");
      const sample = parseSample(line);
      if (!sample) throw refuse("No sample");
      const suffix = sample.name.slice(current.name.length);
      const suffixes = current.family.type === "histogram" ? ["_bucket", "_sum", "_count"] : [""];
      if (!sample.name.startsWith(current.name) || !suffixes.includes(suffix)) {
        throw refuse(`Not of ${current.name}`);
      }
      const key = line.slice(0, line.lastIndexOf(" "));
      if (seen.has(key)) throw refuse("Twice");
      seen.add(key);
      if (sample.value < 0 && current.family.type !== "gauge") throw refuse("Less than nothing");
      current.family.samples.push(sample);
    }
  }
  for (const [name, family] of families) checkFamily(name, family);
  return families;
}

/** The one figure with exactly these labels. Throws if there is none. */
export function valueOf(
  families: ReadonlyMap<string, ParsedFamily>,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number {
  const family = families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, ""));
  const wanted = JSON.stringify(Object.entries(labels).sort());
  const found = family?.samples.find((sample) =>
    sample.name === name && JSON.stringify(Object.entries(sample.labels).sort()) === wanted
  );
  if (!found) throw new Error(`No ${name} with ${wanted}`);
  return found.value;
}

function parseSample(line: string): ParsedSample | undefined {
  const [, name, , pairs = "", number = ""] =
    /^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(.*)\})? (\S+)$/.exec(line) ?? [];
  if (name === undefined) return undefined;
  const labels: Record<string, string> = {};
  let rest = pairs;
  while (rest !== "") {
    const pair = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\[\\n"])*)"(,(?=.)|$)/.exec(rest);
    const [all = "", key = "", value = ""] = pair ?? [];
    if (!pair || key in labels) return undefined;
    labels[key] = value.replace(/\\(.)/g, (_, letter) => letter === "n" ? "\n" : letter);
    rest = rest.slice(all.length);
  }
  const value = number === "+Inf" ? Infinity : number === "-Inf" ? -Infinity : Number(number);
  if (!/^([+-]Inf|NaN|-?\d+(\.\d+)?(e[+-]?\d+)?)$/.test(number)) return undefined;
  return { name, labels, value };
}

function checkFamily(name: string, { type, samples }: ParsedFamily): void {
  if (samples.length === 0) throw new Error(`${name} has no samples`);
  if (type !== "histogram") return;
  const groups = Map.groupBy(samples, ({ labels: { le: _, ...rest } }) => JSON.stringify(rest));
  for (const [labels, group] of groups) {
    const buckets = group.filter((sample) => sample.name === `${name}_bucket`);
    const ends = buckets.map(({ labels: { le } }) => le === "+Inf" ? Infinity : Number(le));
    const counts = buckets.map(({ value }) => value);
    const isSorted = (list: number[], isStrict: boolean): boolean =>
      list.every((value, i) =>
        i === 0 || value > (list[i - 1] ?? 0) || (!isStrict && value === list[i - 1])
      );
    const count = group.find((sample) => sample.name === `${name}_count`)?.value;
    const hasSum = group.some((sample) => sample.name === `${name}_sum`);
    if (!isSorted(ends, true) || ends.at(-1) !== Infinity) throw new Error(`${name}${labels}: le`);
    if (!isSorted(counts, false)) throw new Error(`${name}${labels}: its buckets shrink`);
    if (!hasSum || count !== counts.at(-1)) throw new Error(`${name}${labels}: count or sum`);
  }
}
