/**
 * A musicfs that is killed, upgraded and started again while others use its mount: it is known by
 * its cache's lock, not by the process that was started, for that may be its parent, or gone.
 */

import { join } from "node:path";
import { callDaemon, DaemonEndedError, NoDaemonError } from "../../src/mount/control_client.ts";
import { MusicfsError } from "../../src/base/errors.ts";
import { CONTROL_SOCKET } from "../../src/mount/control_protocol.ts";
import { musicfsCommand, musicfsEnv } from "../support/daemon.ts";
import { detach, type Mount, mountsAt } from "../support/mounts.ts";
import { eventually, within } from "../support/process.ts";
import { isAlive, processesNaming, readOrNothing } from "./leaks.ts";

/** Longest that a daemon may take to serve or to end, in ms; a loaded machine of two cores is slow. */
const HOST_MS_MAX = 30_000;

/** Who serves, as the cache's lock says. */
export interface Served {
  pid: number;
  supervisorPid: number | undefined;
}

/** Whoever runs the daemon: a shell, its supervising parent, or systemd. */
export interface Host extends AsyncDisposable {
  readonly mountpoint: string;
  readonly cacheDir: string;
  /** File that all its processes log to. */
  readonly logFile: string;
  /** Words before the command of a program that is to see the mount. */
  readonly prefix: readonly string[];
  /** What is mounted at the mountpoint. */
  mounts(): Mount[];
  /** Starts it; returns when it answers. */
  start(): Promise<void>;
  /** Hands the mount over to another process on purpose, as an upgrade does. */
  upgrade(): Promise<void>;
  /** Ends it: unmounted, no process left. */
  stop(): Promise<void>;
}

export interface ProcessHostOptions {
  /** Folder for mountpoint, cache and log. */
  dir: string;
  /** Default: in `dir`. */
  cacheDir?: string;
  origins: readonly string[];
  /** Has it a supervising parent? */
  supervise: boolean;
  /** More words after `mount MOUNTPOINT`. */
  args?: readonly string[];
  env?: Record<string, string>;
}

/** A daemon that this process has started, with or without a supervising parent. */
export class ProcessHost implements Host {
  readonly mountpoint: string;
  readonly cacheDir: string;
  readonly logFile: string;
  readonly prefix = [];
  readonly #options: ProcessHostOptions;
  /** Of what was started, each until it has ended. */
  readonly #children = new Map<number, Promise<Deno.CommandStatus>>();

  constructor(options: ProcessHostOptions) {
    this.#options = options;
    this.mountpoint = join(options.dir, "mnt");
    this.cacheDir = options.cacheDir ?? join(options.dir, "cache");
    this.logFile = join(options.dir, "musicfs.log");
  }

  mounts(): Mount[] {
    return mountsAt(this.mountpoint);
  }

  async start(env: Record<string, string> = {}): Promise<void> {
    await this.spawn([], env);
    await serving(this, { isSupervised: this.#options.supervise });
  }

  /** Waits for the end of every process that was started here. */
  async ended(): Promise<void> {
    await within(Promise.all(this.#children.values()), {
      ms: HOST_MS_MAX,
      what: "the end of a daemon",
    });
  }

  /** Starts it and waits for nothing. */
  async spawn(words: readonly string[] = [], env: Record<string, string> = {}): Promise<void> {
    const { dir, origins, supervise, args = ["--cache", "on"] } = this.#options;
    // A dead mount there can be neither made nor looked at.
    if (this.mounts().length === 0) {
      await Deno.mkdir(this.mountpoint, { recursive: true });
    }
    const command = [
      ...musicfsCommand(),
      ...["mount", this.mountpoint, "--cache-dir", this.cacheDir],
      ...origins.flatMap((url) => ["--origin", url]),
      ...args,
      ...supervise ? [] : ["--no-supervise"],
      ...words,
    ];
    // The log is a file, so that it is whole whoever of them dies, and nobody need read it.
    const child = new Deno.Command("bash", {
      args: ["-c", 'log=$1; shift; exec "$@" >>"$log" 2>&1', "bash", this.logFile, ...command],
      cwd: dir,
      clearEnv: true,
      env: { ...musicfsEnv(dir), ...this.#options.env, ...env },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    this.#children.set(child.pid, child.status);
    child.status.then(() => this.#children.delete(child.pid));
  }

  async upgrade(): Promise<void> {
    const before = servedBy(this.cacheDir);
    await this.spawn(["--replace"]);
    await succeeded(this, before?.pid);
    await serving(this, { isSupervised: this.#options.supervise });
  }

  async stop(): Promise<void> {
    const served = servedBy(this.cacheDir);
    if (served) signalTo(served.supervisorPid ?? served.pid, "SIGTERM");
    const { dir } = this.#options;
    await eventually(
      () => this.mounts().length === 0 && this.#ours().length === 0,
      { ms: HOST_MS_MAX, what: `the end of musicfs in ${dir}` },
    );
    await this.ended();
  }

  /** Ends all of it however that can be done, and takes the mount away. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (let round = 0; round < 20 && this.#ours().length > 0; round += 1) {
      // Parents first: they would only start another.
      const pids = this.#ours().map(({ pid }) => pid).sort((a, b) => a - b);
      for (const pid of pids) signalTo(pid, "SIGKILL");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await detach(this.mountpoint);
    await this.ended();
  }

  /** The musicfs processes of this mount, whoever started them. */
  #ours(): { pid: number }[] {
    return processesNaming(`\0mount\0${this.mountpoint}\0`);
  }
}

/** Who serves a cache now; undefined while nobody does. */
export function servedBy(cacheDir: string): Served | undefined {
  const text = readOrNothing(() => Deno.readTextFileSync(`${cacheDir}/musicfs.lock`)) ?? "";
  // It is written in one piece, but emptied before.
  if (!text.endsWith("\n")) return undefined;
  const { pid, supervisor_pid }: { pid: number; supervisor_pid: number | null } = JSON.parse(text);
  return isAlive(pid) ? { pid, supervisorPid: supervisor_pid ?? undefined } : undefined;
}

/** Waits until another process than `before` has the cache; who. */
export async function succeeded(
  { cacheDir }: { cacheDir: string },
  before: number | undefined,
): Promise<Served> {
  let found: Served | undefined;
  await eventually(() => {
    found = servedBy(cacheDir);
    return found !== undefined && found.pid !== before;
  }, { ms: HOST_MS_MAX, what: `a successor of process ${before}` });
  if (!found) throw new Error("No successor");
  return found;
}

/** Waits until the daemon answers on its control socket: then it is mounted, too. */
export async function serving(
  host: { cacheDir: string; logFile: string },
  { isSupervised }: { isSupervised: boolean },
): Promise<void> {
  try {
    await eventually(async () => {
      if (isSupervised && servedBy(host.cacheDir)?.supervisorPid === undefined) return false;
      return await ask(host.cacheDir, "status") !== undefined;
    }, { ms: HOST_MS_MAX, what: "an answer of the daemon" });
  } catch (error) {
    const log = readOrNothing(() => Deno.readTextFileSync(host.logFile)) ?? "";
    throw new Error(`musicfs does not serve:\n${log.slice(-3_000)}`, { cause: error });
  }
}

/**
 * A command's result from the daemon of a cache; undefined if there is none, if it ended meanwhile,
 * or if it could not do it.
 */
export async function ask(
  cacheDir: string,
  command: string,
  { args = {}, ms = HOST_MS_MAX }: { args?: unknown; ms?: number } = {},
): Promise<unknown> {
  const signal = AbortSignal.timeout(ms);
  try {
    return await callDaemon(join(cacheDir, CONTROL_SOCKET), command, { args, signal });
  } catch (error) {
    if (error instanceof NoDaemonError || error instanceof DaemonEndedError) return undefined;
    if (error instanceof MusicfsError && error.code !== "invalid") return undefined;
    throw error;
  }
}

/** Sends a signal; a process that is gone has no need of it. */
export function signalTo(pid: number, name: Deno.Signal): void {
  try {
    Deno.kill(pid, name);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
