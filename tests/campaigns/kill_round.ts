/**
 * One place where daemons die: a library of known bytes, a cache, a mount, and rounds in which a
 * daemon is killed at work and the next one must need no help.
 */

import { join } from "node:path";
import { failpointsIn } from "../support/failpoints.ts";
import { run } from "../support/process.ts";
import { comesWithin, type Faults, passes } from "./campaign.ts";
import { TimedReader } from "./clients.ts";
import { ask, ProcessHost, servedBy, serving, signalTo, succeeded } from "./host.ts";
import { VERSIONS_MAX, writeKnown } from "./known_bytes.ts";

/** 1.2 MB each, at the mean. */
const FILES = 24;

/** Files that one reader reads, and that are read after each round. */
const READER_FILES = 4;

/** What the cache may hold: less than the files take, so that it evicts, too. */
const MAX_SIZE = "20M";

/** Latest time of a death, in ms; a daemon that has not come to its failpoint dies then, too. */
const DEATH_MS_MAX = 500;
/** Longest wait for a daemon's mount, when it may die before, in ms. */
const START_MS_MAX = 5_000;

/** A successor that lives longer is no quick death; five of these in a row and the mount is given up. */
const SETTLED_MS = 2_400;
const QUICK_DEATHS_MAX = 3;

const SCAN = { checksum: false, acceptDeletions: true };

const FAILPOINT_MS_MAX = 1_000;

export type Death = "time" | "failpoint" | "failpoint not reached";

/** What rounds add up to. */
export interface RoundCounts {
  deaths: Record<Death, number>;
  /** Failpoints that killed, and how often. */
  failpoints: Record<string, number>;
  /** Errors of readers whose daemon nobody supervised: the mount was dead. */
  errorsOfTheDead: number;
  readBytes: number;
  checkedChunks: number;
  missingChunks: number;
  /** From the start of a daemon, or the death of one that is supervised, to the next that serves. */
  restartMs: number[];
}

export interface KillPlaceOptions {
  dir: string;
  random: () => number;
  faults: Faults;
  counts: RoundCounts;
}

/** Counts of no round yet. */
export function noRounds(): RoundCounts {
  const deaths = { time: 0, failpoint: 0, "failpoint not reached": 0 };
  return {
    deaths,
    failpoints: {},
    errorsOfTheDead: 0,
    readBytes: 0,
    checkedChunks: 0,
    missingChunks: 0,
    restartMs: [],
  };
}

/** A mount whose daemons die; ends with its scope. */
export class KillPlace implements AsyncDisposable {
  readonly #options: KillPlaceOptions;
  readonly #origin: string;
  /** Of each file, by its name. */
  readonly #versions = new Map<string, number>();
  #host: ProcessHost;
  #isSupervised = false;
  #isServing = false;
  /** Failpoints that work comes to, and how often in one go. */
  #failpoints: readonly [name: string, hits: number][] = [];
  /** Of those that serve: since when, and how many before died young. */
  #servingSince = 0;
  #quickDeaths = 0;

  private constructor(options: KillPlaceOptions) {
    this.#options = options;
    this.#origin = join(options.dir, "origin");
    this.#host = this.#hostOf(false);
  }

  static async make(options: KillPlaceOptions): Promise<KillPlace> {
    const place = new KillPlace(options);
    await Deno.mkdir(options.dir);
    for (let i = 0; i < FILES; i += 1) await place.#write(`album ${i % 3}/${i}.flac`, 1);
    await place.#findFailpoints();
    return place;
  }

  /** File that all its daemons log to. */
  get logFile(): string {
    return this.#host.logFile;
  }

  /** A daemon dies at work, and nobody helps the next one. */
  async round(isSupervised: boolean): Promise<void> {
    if (isSupervised !== this.#isSupervised) await this.#changeTo(isSupervised);
    const isByFailpoint = !isSupervised && this.#options.random() < 0.5;
    const point = isByFailpoint ? await this.#startToDie() : undefined;
    if (!isByFailpoint && !this.#isServing) await this.#start();
    const readers = [await this.#reader(), await this.#reader()];
    try {
      const work = this.#work({ isAll: isByFailpoint });
      await this.#die(point);
      await work;
      for (const reader of readers) await this.#judge(reader, { isMounted: isSupervised });
    } finally {
      for (const reader of readers) await reader[Symbol.asyncDispose]();
    }
    if (!isSupervised) {
      await this.#host.ended();
      await this.#checkLock();
      await this.#start();
    }
    await this.#check();
  }

  /** Ends what serves. */
  async stop(): Promise<void> {
    if (this.#isServing) await this.#host.stop();
    this.#isServing = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#host[Symbol.asyncDispose]();
  }

  #hostOf(supervise: boolean): ProcessHost {
    return new ProcessHost({
      dir: this.#options.dir,
      origins: [this.#origin],
      supervise,
      args: ["--cache", "on", "--max-size", MAX_SIZE],
    });
  }

  async #changeTo(isSupervised: boolean): Promise<void> {
    await this.stop();
    this.#isSupervised = isSupervised;
    this.#host = this.#hostOf(isSupervised);
  }

  async #start(): Promise<void> {
    const began = performance.now();
    await this.#host.start();
    this.#options.counts.restartMs.push(performance.now() - began);
    this.#isServing = true;
    this.#servingSince = performance.now();
    this.#quickDeaths = 0;
  }

  /** Has a daemon do all there is to do, and say which failpoints it comes to. */
  async #findFailpoints(): Promise<void> {
    const names = await failpointsIn("");
    const env = { MUSICFS_FAILPOINTS: names.map((name) => `${name}=print`).join(";") };
    await this.#host.start(env);
    const readers = [await this.#reader(), await this.#reader()];
    for (const reader of readers) await reader.ended();
    await this.#work({ isAll: true });
    await this.#host.stop();
    const log = await Deno.readTextFile(this.#host.logFile);
    const said = log.matchAll(/Failpoint (\S+) reached/g);
    const hits = Map.groupBy([...said], ([, name = ""]) => name);
    this.#failpoints = [...hits].map(([name, { length }]) => [name, length]);
  }

  /** Starts a daemon that kills itself at a place in the code, perhaps before it serves; where. */
  async #startToDie(): Promise<string> {
    await this.stop();
    const [point, hits] = this.#pick(this.#failpoints);
    // Often early: work of this round may come to it less often than that of the first.
    const passed = Math.floor(this.#options.random() ** 3 * hits);
    await this.#host.spawn([], { MUSICFS_FAILPOINTS: `${point}=${passed}*off->kill` });
    const isOver = AbortSignal.timeout(START_MS_MAX);
    const end = this.#host.ended();
    while (!isOver.aborted && this.#host.mounts().length === 0) {
      if (await comesWithin(end, 10)) break;
    }
    return point;
  }

  /** What makes a daemon write while it is read from: scans, edits, gc. */
  async #work({ isAll }: { isAll: boolean }): Promise<void> {
    const { random } = this.#options;
    const { cacheDir } = this.#host;
    const tasks: Promise<unknown>[] = [];
    if (isAll || random() < 0.4) {
      for (let i = 0; i < 2; i += 1) tasks.push(this.#edit());
    }
    if (isAll || random() < 0.5) tasks.push(ask(cacheDir, "scan", { args: SCAN }));
    if (isAll || random() < 0.4) {
      const maxSizeBytes = Math.floor((2 + 12 * random()) * 2 ** 20);
      tasks.push(ask(cacheDir, "gc", { args: { maxSizeBytes, dryRun: false } }));
    }
    await Promise.all(tasks);
  }

  async #edit(): Promise<void> {
    const name = this.#pick([...this.#versions.keys()]);
    await this.#write(name, 1 + (this.#versions.get(name) ?? 0) % VERSIONS_MAX);
  }

  async #write(name: string, version: number): Promise<void> {
    this.#versions.set(name, version);
    await writeKnown(this.#origin, name, version);
  }

  /** Has the daemon die, by its failpoint or when its time has come. */
  async #die(point: string | undefined): Promise<void> {
    const { random, counts } = this.#options;
    const { cacheDir } = this.#host;
    let death: Death = "time";
    if (point !== undefined) {
      const isReached = await comesWithin(this.#host.ended(), FAILPOINT_MS_MAX);
      death = isReached ? "failpoint" : "failpoint not reached";
      if (isReached) counts.failpoints[point] = 1 + (counts.failpoints[point] ?? 0);
    } else await passes(random() * DEATH_MS_MAX);
    if (this.#isSupervised) await this.#settle();
    counts.deaths[death] += 1;
    const served = servedBy(cacheDir);
    if (served) signalTo(served.pid, "SIGKILL");
    if (this.#isSupervised) {
      const began = performance.now();
      await succeeded(this.#host, served?.pid);
      await serving(this.#host, { isSupervised: true });
      this.#servingSince = performance.now();
      counts.restartMs.push(this.#servingSince - began);
    } else this.#isServing = false;
  }

  /** Lets a successor live on if too many have died young, as a daemon that cannot live would. */
  async #settle(): Promise<void> {
    if (this.#quickDeaths === QUICK_DEATHS_MAX) {
      await passes(this.#servingSince + SETTLED_MS - performance.now());
    }
    const isQuick = performance.now() - this.#servingSince < SETTLED_MS;
    this.#quickDeaths = isQuick ? this.#quickDeaths + 1 : 0;
  }

  /** What the next daemon serves must be right, all of it. */
  async #check(): Promise<void> {
    const { faults, counts } = this.#options;
    const { cacheDir } = this.#host;
    const mounted = this.#host.mounts().length;
    if (mounted !== 1) faults.add(`${mounted} mounts are there`);
    await ask(cacheDir, "scan", { args: SCAN });
    await using reader = await this.#reader();
    await this.#judge(reader, { isMounted: true });
    const verified = await ask(cacheDir, "verify", { args: { repair: false } }) as
      | Record<string, number>
      | undefined;
    if (!verified) return faults.add("verify got no answer");
    counts.checkedChunks += verified["checked_chunks"] ?? 0;
    // Who dies while it evicts leaves records of chunks that are gone: they are fetched again.
    counts.missingChunks += verified["missing_chunks"] ?? 0;
    if (verified["bad_chunks"] !== 0 || verified["bad_extent_blocks"] !== 0) {
      faults.add(`verify: ${JSON.stringify(verified)}`);
    }
  }

  /** The dead hold no lock; `flock` takes it only if nobody has it, and gives it back. */
  async #checkLock(): Promise<void> {
    const path = join(this.#host.cacheDir, "musicfs.lock");
    const { code } = await run("flock", ["--nonblock", path, "true"]);
    if (code !== 0) this.#options.faults.add("the lock is held though its daemon is dead");
  }

  async #reader(): Promise<TimedReader> {
    const names = Array.from(
      { length: READER_FILES },
      () => this.#pick([...this.#versions.keys()]),
    );
    return await TimedReader.start({
      mountpoint: this.#host.mountpoint,
      names: [...new Set(names)],
      seed: Math.floor(this.#options.random() * 2 ** 32),
      passes: 1,
    });
  }

  async #judge(reader: TimedReader, { isMounted }: { isMounted: boolean }): Promise<void> {
    const { counts, faults } = this.#options;
    const seen = await reader.ended();
    counts.readBytes += seen.bytes;
    if (isMounted) { for (const line of seen.lines) faults.add(line); }
    else counts.errorsOfTheDead += seen.errors;
    if (seen.wrong > 0 && !isMounted) faults.add(`wrong bytes: ${seen.lines.join("; ")}`);
  }

  #pick<T>(from: readonly T[]): T {
    const found = from[Math.floor(this.#options.random() * from.length)];
    if (found === undefined) throw new Error("Nothing to pick from");
    return found;
  }
}
