/** What every group of rows is handed. */

import { join } from "node:path";
import { Daemon } from "../support/daemon.ts";
import { eventually, output } from "../support/process.ts";
import type { Row } from "./report.ts";

export interface BenchOptions {
  /** Size of the file that the read rows read, in MiB. */
  fileMebibytes: number;
  /** Every figure is the median of so many. */
  rounds: number;
  /** Length of one fio run, in s. */
  seconds: number;
  /** Numbers of files known at a mount, ascending. */
  knownFiles: readonly number[];
}

export interface Bench {
  /** Fresh, removed at the end. */
  dir: string;
  options: BenchOptions;
  rclone: string | undefined;
  /** Ends what is in it also when the run is broken off. */
  stack: AsyncDisposableStack;
  /** Says what is being done. */
  tell(line: string): void;
  /** Adds a row and shows it. */
  add(row: Row): void;
}

/** Has `resource` end with the run; if the run was broken off meanwhile it ends at once. */
export async function keep<T extends AsyncDisposable>(bench: Bench, resource: T): Promise<T> {
  if (!bench.stack.disposed) return bench.stack.use(resource);
  await resource[Symbol.asyncDispose]();
  throw new Error("The run was broken off");
}

/** What a musicfs that is measured mounts. */
export interface MusicfsOptions {
  origin: string;
  cache?: "on" | "off" | "auto";
  /** Credentials. */
  env?: Record<string, string>;
}

/** A musicfs that is measured. Ends with its own scope or with the run, whichever comes first. */
export class Musicfs implements AsyncDisposable {
  readonly #daemon: Daemon;
  #ending: Promise<void> | undefined;

  private constructor(daemon: Daemon) {
    this.#daemon = daemon;
  }

  /**
   * Starts one over `origin`, with a cache and a mountpoint that go by `name`, and waits for
   * nothing. A cache that is there already is taken up.
   */
  static async spawn(
    bench: Bench,
    name: string,
    { origin, cache = "on", env = {} }: MusicfsOptions,
  ): Promise<Musicfs> {
    const mountpoint = join(bench.dir, `mnt-${name}`);
    await Deno.mkdir(mountpoint, { recursive: true });
    const daemon = await Daemon.spawn({
      dir: bench.dir,
      origins: [origin],
      cacheDir: cacheDirOf(bench, name),
      mountpoint,
      args: ["--cache", cache],
      env,
    });
    return await keep(bench, new Musicfs(daemon));
  }

  get mountpoint(): string {
    return this.#daemon.mountpoint;
  }

  get cacheDir(): string {
    return this.#daemon.cacheDir;
  }

  /** Resolves when it said `READY=1` and its mount is there. */
  ready(): Promise<void> {
    return this.#daemon.ready();
  }

  /** The process that serves the mount. */
  pid(): Promise<number> {
    return this.#daemon.pid();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#ending ??= this.#daemon[Symbol.asyncDispose]();
  }
}

/** Starts a musicfs as `Musicfs.spawn` does, and waits until it is ready. */
export async function startMusicfs(
  bench: Bench,
  name: string,
  options: MusicfsOptions,
): Promise<Musicfs> {
  const musicfs = await Musicfs.spawn(bench, name, options);
  await musicfs.ready();
  return musicfs;
}

export function cacheDirOf(bench: Bench, name: string): string {
  return join(bench.dir, `cache-${name}`);
}

/** Waits until every byte that was read lies in chunks: no extent is left. */
export async function allInChunks(cacheDir: string): Promise<void> {
  await eventually(
    async () => (await output("find", [join(cacheDir, "extents"), "-type", "f"])) === "",
    { ms: 60_000, what: `every extent of ${cacheDir} turned into chunks` },
  );
}
