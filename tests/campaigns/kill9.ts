/**
 * `deno task campaign:kill9`: the daemon is killed again and again while programs read through its
 * mount, and none of them notices.
 *
 * Who reads: ffmpeg decodes tracks, `sha256sum -c` runs over them, a player reads at the speed of
 * music and another reader at twenty times that; both time each call. What the kernel has of a file is
 * forgotten before it is read, or the daemon would not be asked.
 */

import { randomNumbers } from "../support/churn.ts";
import { eventually, within } from "../support/process.ts";
import { tempDir } from "../support/temp_dir.ts";
import {
  campaignOptions,
  Faults,
  interruption,
  load,
  oneOf,
  passes,
  say,
  wholeNumber,
} from "./campaign.ts";
import { ask, type Host, servedBy, serving, signalTo, succeeded } from "./host.ts";
import { type Crowd, startCrowd } from "./crowd.ts";
import { errorsIn, leftIn } from "./leaks.ts";
import { type Stage, type StageOptions, startStage } from "./stage.ts";

/** Time between two deaths, in ms. */
const BETWEEN_MS = { least: 2_000, most: 5_000 };

/** Longest that a read may take, in ms, whatever became of the daemon. */
const READ_MS_MAX = 2_000;

/** A killed parent is replaced within this, in ms. */
const PARENT_MS_MAX = 10_000;

/** Between two lines on how far it is, in events. */
const SAY_EVERY = 20;

type Event = "kill" | "upgrade" | "kill parent";

export interface Kill9Options extends StageOptions {
  rounds: number;
  upgrades: number;
  parentKills: number;
  /** Default: 2 to 5 s, as the issue has it. */
  betweenMs?: { least: number; most: number };
  /** Longest that a read may take, in ms. Default: the 2 s. */
  readMsMax?: number;
}

export interface Kill9Report {
  counts: Record<Event, number>;
  /** From a kill to a successor that has the lock, in ms. */
  successorMs: { median: number; longest: number };
  /** Share of the bytes that the daemons had to fetch, of those that they counted. */
  coldShare: number;
  crowd: Awaited<ReturnType<Crowd["stop"]>>;
  faults: number;
  seconds: number;
  /** Of the machine, before and after; two cores do what two programs want. */
  load: readonly [before: number, after: number];
}

async function main(): Promise<number> {
  const words = campaignOptions(Deno.args, {
    rounds: "100",
    under: "supervisor",
    origin: "local",
    cache: "on",
    upgrades: "10",
    "parent-kills": "10",
  });
  using interrupted = interruption();
  const under = oneOf(words.under, ["supervisor", "systemd", "nobody"]);
  const report = await kill9({
    rounds: wholeNumber(words.rounds),
    under,
    origin: oneOf(words.origin, ["local", "s3"]),
    cache: oneOf(words.cache, ["on", "auto"]),
    upgrades: under === "nobody" ? 0 : wholeNumber(words.upgrades),
    parentKills: under === "supervisor" ? wholeNumber(words["parent-kills"]) : 0,
    seed: words.seed,
  }, interrupted.signal);
  say(JSON.stringify(report, undefined, 2));
  return report.faults === 0 ? 0 : 1;
}

/** Runs the campaign; what it found. Leaves nothing behind, also when it fails. */
export async function kill9(options: Kill9Options, signal: AbortSignal): Promise<Kill9Report> {
  const random = randomNumbers(options.seed);
  const faults = new Faults();
  const before = load();
  await using dir = await tempDir("campaign-kill9");
  let report: Omit<Kill9Report, "faults" | "load">;
  {
    await using stage = await startStage(dir.path, options);
    const crowd = await startCrowd(stage, { seed: options.seed, faults });
    await using _crowd = crowd;
    const began = performance.now();
    const run = new Deaths(stage, faults);
    const { least, most } = options.betweenMs ?? BETWEEN_MS;
    for (const [at, event] of shuffled(eventsOf(options), random).entries()) {
      if (at > 0 && at % SAY_EVERY === 0) say(`${at} events, ${faults.count} faults`);
      await passes(least + random() * (most - least), signal);
      if (signal.aborted) break;
      await run.happen(event);
    }
    await passes(least, signal);
    report = {
      ...run.report(),
      crowd: await crowd.stop(),
      seconds: Math.round((performance.now() - began) / 1_000),
    };
    run.checkMount();
    await stage.host.stop();
    for (const line of errorsIn(stage.host.logFile)) faults.add(line);
  }
  for (const line of await leftIn(dir.path)) faults.add(line);
  const { longestReadMs } = report.crowd;
  if (longestReadMs > (options.readMsMax ?? READ_MS_MAX)) {
    faults.add(`a read took ${longestReadMs} ms`);
  }
  return { ...report, faults: faults.count, load: [before, load()] };
}

function eventsOf({ rounds, upgrades, parentKills }: Kill9Options): Event[] {
  return [
    ...Array<Event>(rounds).fill("kill"),
    ...Array<Event>(upgrades).fill("upgrade"),
    ...Array<Event>(parentKills).fill("kill parent"),
  ];
}

/** Kills who serves a mount, or has it replaced, and watches that somebody goes on. */
class Deaths {
  readonly #stage: Stage;
  readonly #faults: Faults;
  readonly #mount: string;
  readonly #counts: Record<Event, number> = { kill: 0, upgrade: 0, "kill parent": 0 };
  readonly #successorMs: number[] = [];
  readonly #bytes = { cache: 0, origin: 0 };

  constructor(stage: Stage, faults: Faults) {
    this.#stage = stage;
    this.#faults = faults;
    this.#mount = mountIdentity(stage.host);
  }

  async happen(event: Event): Promise<void> {
    this.#counts[event] += 1;
    await this.#countBytes();
    try {
      if (event === "kill") await this.#kill();
      else if (event === "kill parent") await this.#killParent();
      else await this.#stage.host.upgrade();
    } catch (error) {
      this.#faults.add(`${event}: ${error instanceof Error ? error.message : error}`);
    }
    this.checkMount();
  }

  /** The mount must be the one that was there at first, and the only one. */
  checkMount(): void {
    const { host, isSurviving } = this.#stage;
    const now = mountIdentity(host);
    if (isSurviving && now !== this.#mount) {
      this.#faults.add(`mounted was ${this.#mount}, now ${now}`);
    }
  }

  report(): Pick<Kill9Report, "counts" | "successorMs" | "coldShare"> {
    const times = this.#successorMs.toSorted((a, b) => a - b);
    const { cache, origin } = this.#bytes;
    return {
      counts: this.#counts,
      successorMs: {
        median: Math.round(times[times.length >> 1] ?? 0),
        longest: Math.round(times.at(-1) ?? 0),
      },
      coldShare: Number((origin / Math.max(1, cache + origin)).toFixed(3)),
    };
  }

  async #kill(): Promise<void> {
    const { host, isSurviving } = this.#stage;
    const served = servedBy(host.cacheDir);
    if (!served) throw new Error("nobody serves");
    const began = performance.now();
    signalTo(served.pid, "SIGKILL");
    if (!isSurviving) await host.start();
    await succeeded(host, served.pid);
    this.#successorMs.push(performance.now() - began);
    // Or on a slow machine the next death would come before this one has lived.
    await serving(host, { isSupervised: served.supervisorPid !== undefined });
  }

  async #killParent(): Promise<void> {
    const { host } = this.#stage;
    const before = servedBy(host.cacheDir);
    if (before?.supervisorPid === undefined) throw new Error("no parent");
    signalTo(before.supervisorPid, "SIGKILL");
    await eventually(() => {
      const now = servedBy(host.cacheDir);
      return now?.supervisorPid !== undefined && now.supervisorPid !== before.supervisorPid;
    }, { ms: PARENT_MS_MAX, what: "another parent" });
    const now = servedBy(host.cacheDir);
    if (now?.pid !== before.pid) {
      throw new Error(`its daemon was ${before.pid}, now ${now?.pid}`);
    }
  }

  /** What a daemon counted, before it is gone with it. */
  async #countBytes(): Promise<void> {
    const status = await within(ask(this.#stage.host.cacheDir, "status"), {
      ms: PARENT_MS_MAX,
      what: "an answer of the daemon",
    }).catch(() => undefined);
    if (!status) return;
    const { reads } = status as { reads: { from_cache_bytes: number; from_origin_bytes: number } };
    this.#bytes.cache += reads.from_cache_bytes;
    this.#bytes.origin += reads.from_origin_bytes;
  }
}

/** Ids and devices of the mounts at the mountpoint, as text; one, if all is well. */
function mountIdentity(host: Host): string {
  return host.mounts().map(({ id, device }) => `${id} (${device})`).join(", ");
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const left = [...items];
  return items.flatMap(() => left.splice(Math.floor(random() * left.length), 1));
}

if (import.meta.main) Deno.exit(await main());
