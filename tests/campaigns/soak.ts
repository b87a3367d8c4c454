/**
 * `deno task campaign:soak`: half an hour of everything at once, and nothing grows.
 *
 * In the first third the mount changes hands once a minute, by turns on purpose (`--replace`) and by
 * kill -9; then one daemon serves. The second half is judged, when that one has had its time to grow
 * to its size: its caches of chunks and descriptors fill for minutes. What a hand-over leaves behind
 * would show in the parent, and as mounts and processes at the end.
 */

import { join } from "node:path";
import { randomNumbers } from "../support/churn.ts";
import { eventually, output } from "../support/process.ts";
import { tempDir } from "../support/temp_dir.ts";
import { campaignOptions, Faults, interruption, oneOf, passes, say } from "./campaign.ts";
import { type Point, slopeOf } from "./flatness.ts";
import { type Host, ProcessHost, servedBy, signalTo, succeeded } from "./host.ts";
import { errorsIn, leftIn } from "./leaks.ts";
import { type Panel, plotSvg } from "./plot.ts";
import { type Sample, sampleOf, tableOf } from "./samples.ts";
import { SOAK_ARGS, type SoakCounts, SoakLoad, writeSoakLibrary } from "./soak_load.ts";

const HAND_OVER_MS = 60_000;

/** Longest wait for a daemon that has come to rest, in ms. */
const QUIET_MS_MAX = 30_000;

/** A daemon that took a mount over has these more than the first one; what is kept for speed is not counted. */
const DESCRIPTORS_MORE_MAX = 4;

/**
 * Most that a figure may grow an hour. Of descriptors and the like: the rarest thing that happens
 * here, a `gc`, happens 120 times an hour. Of memory, in MiB: the most frequent is 3,600 edits, and
 * who loses one file's chunk list, names or a read buffer at each grows by more than 14 KiB each.
 * It is a bound above what was measured, 29 and 34 MiB an hour (docs/reliability.md), and no proof
 * that memory levels off: for that a soak must run for hours.
 */
const GROWTH_MAX = {
  rss: 48,
  anonymous: 48,
  otherDescriptors: 40,
  sockets: 20,
  threads: 4,
  watches: 20,
  parentAnonymous: 10,
  parentDescriptors: 4,
  index: 10,
  openHandles: 40,
} as const;

type Judged = keyof typeof GROWTH_MAX;

export interface SoakOptions {
  minutes: number;
  sampleMs: number;
  isSupervised: boolean;
  seed: number;
}

export interface SoakReport {
  samples: readonly Sample[];
  /** When the mount changed hands, in seconds. */
  handOvers: readonly number[];
  counts: SoakCounts;
  /** Of the second half, an hour. */
  growth: Record<Judged, number>;
  faults: number;
}

/** Runs it; leaves nothing behind, also when it fails. */
export async function soak(options: SoakOptions, signal: AbortSignal): Promise<SoakReport> {
  const random = randomNumbers(options.seed);
  const faults = new Faults();
  await using dir = await tempDir("campaign-soak");
  let seen: Omit<SoakReport, "growth" | "faults">;
  {
    const origin = join(dir.path, "origin");
    const names = await writeSoakLibrary(origin);
    const supervise = options.isSupervised;
    await using host = new ProcessHost({
      dir: dir.path,
      origins: [origin],
      supervise,
      args: SOAK_ARGS,
    });
    await host.start();
    const before = await quiet(host, origin);
    await using load = await SoakLoad.start(host, { origin, names, random, faults });
    const watched = await watch(host, { options, origin, faults, signal });
    seen = { ...watched, counts: await load.stop() };
    await isBack(host, { origin, before, faults });
    await host.stop();
    for (const line of errorsIn(host.logFile)) faults.add(line);
  }
  for (const line of await leftIn(dir.path)) faults.add(line);
  for (const { wrong } of seen.counts.readers) if (wrong > 0) faults.add(`${wrong} wrong files`);
  return { ...seen, growth: growthOf(seen.samples), faults: faults.count };
}

/** A look at a daemon that nobody uses. */
async function quiet(host: Host, origin: string): Promise<Sample> {
  let sample: Sample | undefined;
  await eventually(async () => {
    sample = await sampleOf(host, { seconds: 0, origin });
    return sample !== undefined;
  }, { ms: QUIET_MS_MAX, what: "a look at the daemon" });
  if (!sample) throw new Error("No sample");
  return sample;
}

/** Waits until nothing is open any more that was opened for readers. */
async function isBack(
  host: Host,
  { origin, before, faults }: { origin: string; before: Sample; faults: Faults },
): Promise<void> {
  const allowed = judgedOf(before).otherDescriptors + DESCRIPTORS_MORE_MAX;
  let now = await quiet(host, origin);
  try {
    await eventually(async () => {
      now = await quiet(host, origin);
      return now.openHandles === 0 && judgedOf(now).otherDescriptors <= allowed;
    }, { ms: QUIET_MS_MAX, what: "as few descriptors as before" });
  } catch (error) {
    faults.add(`${error}: ${JSON.stringify({ before, now })}`);
  }
}

/** Takes samples until the time is over, and hands the mount over in the first third. */
async function watch(
  host: Host,
  { options, origin, faults, signal }: {
    options: SoakOptions;
    origin: string;
    faults: Faults;
    signal: AbortSignal;
  },
): Promise<Pick<SoakReport, "samples" | "handOvers">> {
  const samples: Sample[] = [];
  const handOvers: number[] = [];
  const began = performance.now();
  const allMs = options.minutes * 60_000;
  const everyMs = Math.min(HAND_OVER_MS, allMs / 8);
  for (let sinceMs = 0; sinceMs < allMs && !signal.aborted;) {
    const sample = await sampleOf(host, { seconds: sinceMs / 1_000, origin });
    if (sample) samples.push(sample);
    if (sample && sample.mounts !== 1) faults.add(`${sample.mounts} mounts are there`);
    const isDue = sinceMs > everyMs * (handOvers.length + 1);
    const isEarly = handOvers.length === 0 || sinceMs < allMs / 3;
    if (isDue && isEarly && options.isSupervised) {
      handOvers.push(sinceMs / 1_000);
      await changeHands(host, { isKill: handOvers.length % 2 === 0, faults });
    }
    const nextMs = (Math.floor(sinceMs / options.sampleMs) + 1) * options.sampleMs;
    await passes(nextMs - (performance.now() - began), signal);
    sinceMs = performance.now() - began;
  }
  return { samples, handOvers };
}

async function changeHands(
  host: Host,
  { isKill, faults }: { isKill: boolean; faults: Faults },
): Promise<void> {
  try {
    if (!isKill) return await host.upgrade();
    const served = servedBy(host.cacheDir);
    if (!served) throw new Error("nobody serves");
    signalTo(served.pid, "SIGKILL");
    await succeeded(host, served.pid);
  } catch (error) {
    faults.add(`hand-over: ${error instanceof Error ? error.message : error}`);
  }
}

/** What is kept open for speed has bounds of its own, and is as much as there is room for. */
function judgedOf(sample: Sample): Record<Judged, number> {
  return { ...sample, otherDescriptors: sample.descriptors - sample.keptDescriptors };
}

function growthOf(samples: readonly Sample[]): SoakReport["growth"] {
  const half = (samples.at(-1)?.seconds ?? 0) / 2;
  const judged = samples.filter(({ seconds }) => seconds > half);
  const slope = (name: Judged): number => {
    const points = judged.map((sample): Point => [sample.seconds / 3_600, judgedOf(sample)[name]]);
    return Number(slopeOf(points).toFixed(1));
  };
  return Object.fromEntries(
    Object.keys(GROWTH_MAX).map((name) => [name, slope(name as Judged)]),
  ) as Record<Judged, number>;
}

/** What grows too fast, as text; none if all is well. */
export function judgementOf({ growth }: Pick<SoakReport, "growth">): string[] {
  return (Object.keys(GROWTH_MAX) as Judged[])
    .filter((name) => growth[name] > GROWTH_MAX[name])
    .map((name) => `${name} grows by ${growth[name]} an hour; ${GROWTH_MAX[name]} are allowed`);
}

function panelsOf(samples: readonly Sample[]): Panel[] {
  const series = (name: string, of: (sample: Sample) => number): Panel["series"][number] => ({
    name,
    points: samples.map((sample): Point => [sample.seconds / 60, of(sample)]),
  });
  return [
    {
      title: "memory of the daemon, MiB",
      series: [
        series("resident", ({ rss }) => rss),
        series("anonymous", ({ anonymous }) => anonymous),
        series("parent's", ({ parentAnonymous }) => parentAnonymous),
      ],
    },
    {
      title: "descriptors, handles that readers have open",
      series: [
        series("daemon's", ({ descriptors }) => descriptors),
        series("kept for speed", ({ keptDescriptors }) => keptDescriptors),
        series("parent's", ({ parentDescriptors }) => parentDescriptors),
        series("handles", ({ openHandles }) => openHandles),
      ],
    },
    {
      title: "threads, sockets, inotify watches, mounts",
      series: [
        series("threads", ({ threads }) => threads),
        series("sockets", ({ sockets }) => sockets),
        series("watches", ({ watches }) => watches),
        series("mounts", ({ mounts }) => mounts),
      ],
    },
    {
      title: "on disk, MiB",
      series: [series("cache", ({ cache }) => cache), series("index", ({ index }) => index)],
    },
  ];
}

async function write(report: SoakReport, { folder }: { folder: string }): Promise<void> {
  const { samples, handOvers } = report;
  const svg = plotSvg(panelsOf(samples), {
    title: "musicfs under a mixed load",
    xUnit: "minutes",
    marks: { at: handOvers.map((s) => s / 60), meaning: "the mount changes hands" },
  });
  await Deno.writeTextFile(join(folder, "soak.tsv"), tableOf(samples));
  await Deno.writeTextFile(join(folder, "soak.svg"), svg);
  await output(Deno.execPath(), ["fmt", "--quiet", join(folder, "soak.svg")]);
}

async function main(): Promise<number> {
  const words = campaignOptions(Deno.args, {
    minutes: "30",
    under: "supervisor",
    out: new URL("../../docs", import.meta.url).pathname,
  });
  using interrupted = interruption();
  const report = await soak({
    minutes: Number(words.minutes),
    sampleMs: Math.min(10_000, Number(words.minutes) * 1_000),
    isSupervised: oneOf(words.under, ["supervisor", "nobody"]) === "supervisor",
    seed: words.seed,
  }, interrupted.signal);
  await write(report, { folder: words.out });
  const { samples, handOvers, counts, growth, faults } = report;
  const about = { samples: samples.length, handOvers: handOvers.length, counts, growth, faults };
  say(JSON.stringify(about, undefined, 2));
  const judgement = judgementOf(report);
  for (const line of judgement) say(`NOT FLAT: ${line}`);
  if (judgement.length === 0) say("flat");
  return judgement.length === 0 && faults === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main());
