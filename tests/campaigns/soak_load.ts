/** A busy hour of a library: everything that happens to a mount, at the same time. */

import { tagScan } from "../support/listening.ts";
import { output } from "../support/process.ts";
import type { Faults } from "./campaign.ts";
import { Looped, TimedReader, type Timing } from "./clients.ts";
import { ask, type Host } from "./host.ts";
import { VERSIONS_MAX, writeKnown } from "./known_bytes.ts";
import { TRACK_BYTES_PER_SECOND } from "./tracks.ts";

/** 1.2 MB each at the mean; the cache takes about half of them. */
const FILES = 60;
const FILES_IN_A_FOLDER = 12;

/** Mount options of a soak: a cache that has to evict. */
export const SOAK_ARGS: readonly string[] = ["--cache", "on", "--max-size", "36M"];

/** What `gc` is asked to leave, in bytes. */
const GC_BYTES = 24 * 2 ** 20;

/** Pauses between two of each, in ms. */
const PAUSE_MS = { edit: 1_000, tags: 15_000, find: 3_000, scan: 20_000, gc: 30_000 } as const;

/** Of readers, in tracks at once. */
const SPEEDS = [1, 4, 20] as const;

export interface SoakCounts {
  edits: number;
  tagScans: number;
  finds: number;
  scans: number;
  gcs: number;
  readers: Timing[];
}

/** Writes the library; its files. */
export async function writeSoakLibrary(origin: string): Promise<string[]> {
  const names = Array.from(
    { length: FILES },
    (_none, i) => `album ${Math.floor(i / FILES_IN_A_FOLDER)}/${i}.flac`,
  );
  for (const name of names) await writeKnown(origin, name, 1);
  return names;
}

/** Everything at once; ends with its scope. */
export class SoakLoad implements AsyncDisposable {
  readonly #loops: Looped[] = [];
  readonly #readers: TimedReader[] = [];
  readonly #host: Host;
  readonly #faults: Faults;

  private constructor(host: Host, faults: Faults) {
    this.#host = host;
    this.#faults = faults;
  }

  static async start(
    host: Host,
    { origin, names, random, faults }: {
      origin: string;
      names: readonly string[];
      random: () => number;
      faults: Faults;
    },
  ): Promise<SoakLoad> {
    const load = new SoakLoad(host, faults);
    for (const speed of SPEEDS) {
      load.#readers.push(
        await TimedReader.start({
          prefix: host.prefix,
          mountpoint: host.mountpoint,
          names,
          bytesPerSecond: speed * TRACK_BYTES_PER_SECOND,
          seed: Math.floor(random() * 2 ** 32),
        }),
      );
    }
    const versions = names.map(() => 1);
    load.#loop("edit", async () => {
      const at = Math.floor(random() * names.length);
      const version = versions[at] = 1 + (versions[at] ?? 0) % VERSIONS_MAX;
      await writeKnown(origin, names[at] ?? "", version);
    });
    load.#loop("tags", async () => {
      await tagScan(host.mountpoint, { threads: 2 });
    });
    load.#loop("find", async () => {
      const found = await output("find", [host.mountpoint, "-name", "*.flac", "-printf", "x"]);
      if (found.length !== names.length) throw new Error(`${found.length} files are there`);
    });
    load.#loop("scan", async () => {
      await ask(host.cacheDir, "scan", { args: { checksum: false, acceptDeletions: false } });
    });
    load.#loop("gc", async () => {
      await ask(host.cacheDir, "gc", { args: { maxSizeBytes: GC_BYTES, dryRun: false } });
    });
    return load;
  }

  /** Ends all of it; what was done. */
  async stop(): Promise<SoakCounts> {
    await Promise.all(this.#loops.map((loop) => loop.stop()));
    const readers: Timing[] = [];
    for (const reader of this.#readers) {
      const { lines, ...timing } = await reader.stop();
      for (const line of lines) this.#faults.add(`reader: ${line}`);
      readers.push(timing);
    }
    const rounds = (name: string): number =>
      this.#loops.find((loop) => loop.name === name)?.rounds ?? 0;
    return {
      edits: rounds("edit"),
      tagScans: rounds("tags"),
      finds: rounds("find"),
      scans: rounds("scan"),
      gcs: rounds("gc"),
      readers,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#loops.map((loop) => loop.stop()));
    for (const reader of this.#readers) await reader[Symbol.asyncDispose]();
  }

  #loop(name: keyof typeof PAUSE_MS, once: () => Promise<void>): void {
    const onError = (error: unknown): void =>
      this.#faults.add(`${name}: ${error instanceof Error ? error.message : error}`);
    this.#loops.push(new Looped(name, { once, onError, pauseMs: PAUSE_MS[name] }));
  }
}
