/**
 * `deno task campaign:random-reads`: random reads by several processes while the origin fails and is
 * edited, chunks are damaged, the cache evicts, its disk fills, and the daemon is killed. Every byte
 * must be one of a version of its file, everything that is read through one handle of the same one,
 * and no read may take longer than the daemon's limit.
 */

import { join } from "node:path";
import { randomNumbers } from "../support/churn.ts";
import { mulberry32 } from "../chunking/golden_inputs.ts";
import { type Link, startLink } from "../support/link_proxy.ts";
import { eventually } from "../support/process.ts";
import { Saboteur } from "../support/saboteur.ts";
import { type SmallDisk, smallDisk } from "../support/small_disk.ts";
import { tempDir } from "../support/temp_dir.ts";
import { startFolder } from "../network/remote.ts";
import { campaignOptions, Faults, interruption, passes, say, wholeNumber } from "./campaign.ts";
import { ask, ProcessHost, servedBy, signalTo, succeeded } from "./host.ts";
import { VERSIONS_MAX, versionsOf, writeKnown } from "./known_bytes.ts";
import { KnownReaders, type ReadTotals } from "./known_readers.ts";

const FILES = 32;
const ALBUM_FILES = 8;

/** Not all versions that are read fit; the disk has room for that, and not for much more. */
const CACHE_BYTES = 64 * 1024 * 1024;
const DISK_BYTES = 160 * 1024 * 1024;

const READ_TIMEOUT_MS = 4_000;

/**
 * Beyond `read_timeout`: a reader is answered, and gets its turn on a machine of two cores. What a
 * daemon owed that was killed begins anew at its successor, with a `read_timeout` of its own.
 */
const OVER_MS_MAX = 2_000;

/** Longest pause between two of the things that are done, in ms. */
const PAUSE_MS_MAX = 2_000;

export interface RandomReadsOptions {
  reads: number;
  processes: number;
  /** Has the daemon a parent that starts it again? Then it is killed, too. */
  supervise: boolean;
  seed: number;
  /** It ends after so long, however many reads there were; default: it does not. */
  ms?: number;
  /** How far beyond `read_timeout` a read may go; default: `OVER_MS_MAX`. */
  overMs?: number;
}

export interface RandomReadsReport extends ReadTotals {
  /** How often each thing was done to it. */
  done: Record<string, number>;
  faults: number;
  seconds: number;
}

/** What the faults are done to. */
interface Scene {
  host: ProcessHost;
  link: Link;
  disk: SmallDisk;
  saboteur: Saboteur;
  library: EditedLibrary;
  /** In [0, 1). */
  random: () => number;
}

/** What can be done, how often of a hundred times, and for how long at most, in ms. */
const ACTIONS: Readonly<
  Record<string, { weight: number; ms: number; act: (scene: Scene) => Promise<Undo> }>
> = {
  edit: { weight: 30, ms: 0, act: ({ library }) => library.edit().then(() => nothing) },
  damage: { weight: 24, ms: 0, act: ({ saboteur }) => saboteur.strike().then(() => nothing) },
  gc: {
    weight: 10,
    ms: 0,
    act: async ({ host, random }) => {
      const maxSizeBytes = Math.floor(CACHE_BYTES * (0.3 + 0.7 * random()));
      await ask(host.cacheDir, "gc", { args: { maxSizeBytes, dryRun: false } });
      return nothing;
    },
  },
  "disk full": {
    weight: 8,
    ms: 3_000,
    act: async ({ disk }) => {
      await disk.fill();
      return () => disk.free();
    },
  },
  "link cut": {
    weight: 8,
    ms: 1_500,
    act: async ({ link }) => {
      await link.cut();
      return () => link.restore();
    },
  },
  "link cut for long": {
    weight: 2,
    ms: 1.5 * READ_TIMEOUT_MS,
    act: async ({ link }) => {
      await link.cut();
      return () => link.restore();
    },
  },
  "link dropped": {
    weight: 6,
    ms: 2_500,
    act: async ({ link }) => {
      await link.drop();
      return () => link.restore();
    },
  },
  "link slow": {
    weight: 7,
    ms: 3_000,
    act: async ({ link }) => {
      await link.shape({ delayMs: 60, jitterMs: 60, mbit: 40 });
      return () => link.shape({});
    },
  },
  reload: {
    weight: 2,
    ms: 0,
    act: ({ host }) => {
      const served = servedBy(host.cacheDir);
      if (served) signalTo(served.pid, "SIGHUP");
      return Promise.resolve(nothing);
    },
  },
};

const KILL = {
  weight: 4,
  ms: 0,
  act: async ({ host }: Scene): Promise<Undo> => {
    const served = servedBy(host.cacheDir);
    if (!served) return nothing;
    signalTo(served.pid, "SIGKILL");
    await succeeded(host, served.pid);
    return nothing;
  },
};

type Undo = () => Promise<void>;

/** For what needs no undoing. */
const nothing: Undo = () => Promise.resolve();

/** The origin's files, and the version that each of them has. */
class EditedLibrary {
  readonly paths: readonly string[];
  readonly #versions = new Map<string, number>();

  constructor(readonly root: string, readonly random: () => number) {
    this.paths = Array.from(
      { length: FILES },
      (_none, i) =>
        `Album ${Math.floor(i / ALBUM_FILES)}/${String(i % ALBUM_FILES).padStart(2, "0")} — é.flac`,
    );
  }

  async write(): Promise<void> {
    for (const path of this.paths) await this.#put(path, 1);
  }

  /** Gives a file its next version; none once it has had all. */
  async edit(): Promise<void> {
    const path = this.paths[Math.floor(this.random() * this.paths.length)] ?? "";
    const version = this.versionOf(path) + 1;
    if (version <= VERSIONS_MAX) await this.#put(path, version);
  }

  versionOf(path: string): number {
    return this.#versions.get(path) ?? 0;
  }

  async #put(path: string, version: number): Promise<void> {
    await writeKnown(this.root, path, version);
    this.#versions.set(path, version);
  }
}

/** Runs the campaign; what it found. Leaves nothing behind, also when it fails. */
export async function randomReads(
  options: RandomReadsOptions,
  signal: AbortSignal,
): Promise<RandomReadsReport> {
  const { reads, processes, supervise, seed, ms, overMs = OVER_MS_MAX } = options;
  const faults = new Faults();
  const random = randomNumbers(seed);
  const began = performance.now();
  await using dir = await tempDir("campaign-random-reads");
  const library = new EditedLibrary(join(dir.path, "origin"), random);
  await library.write();
  await using disk = await smallDisk(DISK_BYTES);
  await using server = await startFolder(library.root);
  await using link = await startLink(server.port);
  const limits = ["--max-size", `${CACHE_BYTES}`, "--read-timeout", `${READ_TIMEOUT_MS}ms`];
  const host = new ProcessHost({
    dir: dir.path,
    cacheDir: join(disk.path, "cache"),
    origins: [server.url(link.port)],
    supervise,
    args: ["--cache", "on", "--poll-interval", "2s", ...limits],
  });
  await using _host = host;
  await host.start();
  await eventually(() => isListed(host, library), { ms: 60_000, what: "the library" });
  await using readers = await KnownReaders.start({
    mount: host.mountpoint,
    paths: library.paths,
    processes,
    reads: Math.ceil(reads / processes),
    seed,
    limitMs: READ_TIMEOUT_MS + overMs + (supervise ? READ_TIMEOUT_MS : 0),
  });
  const saboteur = new Saboteur(host.cacheDir, mulberry32(seed));
  const scene: Scene = { host, link, disk, saboteur, library, random };
  const ended = new AbortController();
  readers.done.finally(() => ended.abort());
  const limit = ms === undefined ? [] : [AbortSignal.timeout(ms)];
  const both = AbortSignal.any([signal, ended.signal, ...limit]);
  const done = await makeTrouble(scene, { readers, supervise, faults, signal: both });
  const total = await readers.stop();
  for (const line of readers.lines) faults.add(line);
  if (total.otherErrors > 0) faults.add(`${total.otherErrors} errors: ${total.lastError}`);
  await assertLatest(scene, faults);
  await host.stop();
  const seconds = Math.round((performance.now() - began) / 1_000);
  return { ...total, done, faults: faults.count, seconds };
}

/** Does one thing after another until the readers are done; how often each. */
async function makeTrouble(
  scene: Scene,
  { readers, supervise, faults, signal }: {
    readers: KnownReaders;
    supervise: boolean;
    faults: Faults;
    signal: AbortSignal;
  },
): Promise<Record<string, number>> {
  const actions = Object.entries({ ...ACTIONS, ...(supervise ? { kill: KILL } : {}) });
  const sum = actions.reduce((total, [, { weight }]) => total + weight, 0);
  const done: Record<string, number> = Object.fromEntries(actions.map(([name]) => [name, 0]));
  let told = performance.now();
  while (!signal.aborted) {
    let at = scene.random() * sum;
    const chosen = actions.find(([, { weight }]) => (at -= weight) < 0) ?? actions[0];
    if (!chosen) break;
    const [name, { ms, act }] = chosen;
    try {
      const undo = await act(scene);
      done[name] = (done[name] ?? 0) + 1;
      if (ms > 0) await passes(ms * (0.2 + 0.8 * scene.random()), signal);
      await undo();
    } catch (error) {
      faults.add(`${name}: ${error}`);
      break;
    }
    await passes(PAUSE_MS_MAX * scene.random(), signal);
    if (performance.now() - told < 30_000) continue;
    told = performance.now();
    say(`${readers.readsSoFar} reads, ${faults.count} faults, ${JSON.stringify(done)}`);
  }
  return done;
}

/** Whether all names are there. */
async function isListed({ mountpoint }: ProcessHost, { paths }: EditedLibrary): Promise<boolean> {
  for (const path of paths) {
    try {
      await Deno.lstat(join(mountpoint, path));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  }
  return true;
}

/** Once all is quiet, every file is what it is at the origin. */
async function assertLatest({ host, library }: Scene, faults: Faults): Promise<void> {
  await eventually(async () =>
    await ask(host.cacheDir, "scan", {
      args: { checksum: false, acceptDeletions: false },
    }) !== undefined, { ms: 60_000, what: "a scan once all is quiet" });
  for (const path of library.paths) {
    const newest = library.versionOf(path);
    const read = async (): Promise<number[]> =>
      versionsOf(path, 0, await Deno.readFile(join(host.mountpoint, path)));
    try {
      await eventually(async () => (await read()).includes(newest), { ms: 20_000, what: path });
    } catch (error) {
      faults.add(`${path} is not of version ${newest} in the end: ${error}`);
    }
  }
}

async function main(): Promise<number> {
  const words = campaignOptions(Deno.args, {
    reads: "1000000",
    processes: "32",
    supervise: "yes",
  });
  using interrupted = interruption();
  const report = await randomReads({
    reads: wholeNumber(words.reads),
    processes: wholeNumber(words.processes),
    supervise: words.supervise === "yes",
    seed: words.seed,
  }, interrupted.signal);
  say(JSON.stringify(report, undefined, 2));
  return report.faults === 0 && report.wrong === 0 && report.overLimit === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main());
