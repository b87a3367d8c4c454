/** A real musicfs in a child process: from the sources, or the executable that `MUSICFS_BIN` names. */

import { join } from "node:path";
import { setInherited } from "../../src/base/descriptors.ts";
import { detach, mountsAt } from "./mounts.ts";
import { NotifySocket } from "./notify_socket.ts";
import { eventually, type Finished, run, type RunOptions, within } from "./process.ts";

/** Longest wait for a daemon to mount or to end, in ms. A loaded machine of two cores is slow. */
const DAEMON_MS_MAX = 30_000;

/** Folder of the project, when the tests run in it. */
const PROJECT_DIR = new URL("../..", import.meta.url).pathname;

/** The words that start musicfs, before its own arguments. */
export function musicfsCommand(): [program: string, ...args: string[]] {
  const executable = Deno.env.get("MUSICFS_BIN");
  if (executable) return [Deno.realPathSync(executable)];
  const config = join(PROJECT_DIR, "deno.json");
  // With --cached-only Deno 2.9.6 does not ask the registry about packages that it has anyway.
  // As `deno task start` does.
  const words = ["run", "-A", "--v8-flags=--max-semi-space-size=2", "--cached-only"];
  words.push("--config", config);
  return [Deno.execPath(), ...words, join(PROJECT_DIR, "main.ts")];
}

/**
 * The environment of every musicfs a test starts: no configuration of this machine's user, no
 * systemd around it, Deno's own cache where it was.
 */
export function musicfsEnv(home: string): Record<string, string> {
  const env = Deno.env.toObject();
  const denoDir = env["DENO_DIR"] ??
    join(env["XDG_CACHE_HOME"] ?? join(env["HOME"] ?? "/root", ".cache"), "deno");
  return {
    PATH: env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin",
    HOME: home,
    DENO_DIR: denoDir,
    DENO_NO_UPDATE_CHECK: "1",
    LANG: "C.UTF-8",
    ...(env["TMPDIR"] ? { TMPDIR: env["TMPDIR"] } : {}),
  };
}

/** Runs a musicfs command to its end, in a home folder without configuration. */
export async function musicfs(
  args: readonly string[],
  options: RunOptions & { home?: string } = {},
): Promise<Finished> {
  const [program, ...first] = musicfsCommand();
  return await run(program, [...first, ...args], {
    ...options,
    clearEnv: true,
    env: { ...musicfsEnv(options.home ?? "/nonexistent"), ...options.env },
  });
}

export interface DaemonOptions {
  /** Folder for cache, mountpoint and sockets, unless they are named; the test's own. */
  dir: string;
  /** URLs, asked in this order. */
  origins: readonly string[];
  cacheDir?: string;
  mountpoint?: string;
  /** More words after `mount MOUNTPOINT`. Default `--cache on`: the path most tests are about. */
  args?: readonly string[];
  env?: Record<string, string>;
  /** Whether a parent holds the mount and starts the daemon again. Default: `--no-supervise`. */
  supervise?: boolean;
  /**
   * Started as systemd starts a service that has a store of descriptors, with what its predecessor
   * left there; what it stores itself is `Daemon.takeStored()`.
   */
  store?: { inherited?: number | undefined };
  /** Put before the command: `["setpriv", …]`. */
  prefix?: readonly string[];
  /** Instead of `musicfsCommand()`. */
  command?: readonly string[];
}

/** Starts a daemon and waits until it says `READY=1` and the mount is there. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const daemon = await Daemon.spawn(options);
  try {
    await daemon.ready();
    return daemon;
  } catch (error) {
    await daemon[Symbol.asyncDispose]();
    throw error;
  }
}

/** Words that set what systemd sets for a service, and pass a descriptor on as it does. */
function underSystemd(inherited: number | undefined): string[] {
  const lines = ["export SYSTEMD_EXEC_PID=$$"];
  if (inherited !== undefined) {
    lines.push(
      `exec 3<&${inherited} ${inherited}<&-`,
      "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=musicfs",
    );
  }
  // Not sh: that of Debian knows no descriptors above 9.
  return ["bash", "-c", [...lines, 'exec "$@"'].join("; "), "bash"];
}

let sockets = 0;

/** A child process that was told to mount. Ends with its scope, and with it the mount. */
export class Daemon implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #notify: NotifySocket;
  readonly #logging: Promise<void>;
  #log = "";
  #status: Deno.CommandStatus | undefined;

  private constructor(
    child: Deno.ChildProcess,
    notify: NotifySocket,
    readonly mountpoint: string,
    readonly cacheDir: string,
    readonly isSupervised: boolean,
  ) {
    this.#child = child;
    this.#notify = notify;
    this.#logging = this.#collect();
    this.ended = child.status.then((status) => (this.#status = status));
  }

  /** How the child ended. */
  readonly ended: Promise<Deno.CommandStatus>;

  /** Starts the child and waits for nothing. */
  static async spawn(options: DaemonOptions): Promise<Daemon> {
    const mountpoint = options.mountpoint ?? join(options.dir, "mnt");
    const cacheDir = options.cacheDir ?? join(options.dir, "cache");
    // A dead mount there can be neither made nor looked at.
    if (options.mountpoint === undefined && mountsAt(mountpoint).length === 0) {
      await Deno.mkdir(mountpoint, { recursive: true });
    }
    const notify = new NotifySocket(join(options.dir, `notify-${sockets++}.sock`));
    const [program = "", ...words] = [
      ...options.prefix ?? [],
      ...options.store ? underSystemd(options.store.inherited) : [],
      ...options.command ?? musicfsCommand(),
      "mount",
      mountpoint,
      ...options.origins.flatMap((url) => ["--origin", url]),
      "--cache-dir",
      cacheDir,
      ...options.args ?? ["--cache", "on"],
      ...options.supervise ? [] : ["--no-supervise"],
    ];
    const inherited = options.store?.inherited;
    if (inherited !== undefined) setInherited(inherited, true);
    const child = new Deno.Command(program, {
      args: words,
      cwd: options.dir,
      clearEnv: true,
      env: { ...musicfsEnv(options.dir), NOTIFY_SOCKET: notify.path, ...options.env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    if (inherited !== undefined) setInherited(inherited, false);
    return new Daemon(child, notify, mountpoint, cacheDir, options.supervise ?? false);
  }

  /** Everything the daemon has written so far. */
  get log(): string {
    return this.#log;
  }

  /** The child's process id: with `supervise` the parent's. */
  get childPid(): number {
    return this.#child.pid;
  }

  /** Whether the child has not ended. */
  get isRunning(): boolean {
    return this.#status === undefined;
  }

  /** The process that serves the mount, from the cache's lock; the child may be its supervisor. */
  async pid(): Promise<number> {
    const lock = JSON.parse(await Deno.readTextFile(join(this.cacheDir, "musicfs.lock")));
    return lock.pid;
  }

  /** Resolves once the daemon said `READY=1`; fails if it ends before or takes too long. */
  async ready(): Promise<void> {
    const ended = this.ended.then(async ({ code }) => {
      await this.#logging;
      throw new Error(`The daemon ended with ${code} before READY=1:\n${this.#log}`);
    });
    await within(Promise.race([this.#notify.saw("READY=1"), ended]), {
      ms: DAEMON_MS_MAX,
      what: `READY=1; the daemon wrote:\n${this.#log}`,
    });
    if (mountsAt(this.mountpoint).length === 0) {
      throw new Error(`READY=1 without a mount at ${this.mountpoint}:\n${this.#log}`);
    }
  }

  /** The descriptor of the mount that it stored, for a successor; the caller's own. */
  takeStored(): number | undefined {
    return this.#notify.takeStored();
  }

  /** What the daemon told systemd: `READY=1`, `STOPPING=1`, … */
  get notifications(): readonly string[] {
    return this.#notify.lines;
  }

  signal(signal: Deno.Signal): void {
    if (this.isRunning) this.#child.kill(signal);
  }

  /** SIGTERM, or another signal, and the exit code. */
  async stop(signal: Deno.Signal = "SIGTERM"): Promise<number> {
    this.signal(signal);
    return await this.exitCode();
  }

  /** Waits for the end; the exit code. */
  async exitCode(): Promise<number> {
    const { code } = await within(this.ended, {
      ms: DAEMON_MS_MAX,
      what: `the daemon's end; it wrote:\n${this.#log}`,
    });
    await this.#logging;
    return code;
  }

  /** SIGKILL to the process that serves the mount, and its end: the mount is left dead. */
  async kill(): Promise<void> {
    Deno.kill(await this.pid(), "SIGKILL");
    await this.exitCode();
  }

  /** Ends the child however it can, and detaches what it left mounted. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      if (this.isRunning) this.signal("SIGTERM");
      await within(this.ended, { ms: 10_000, what: "end" }).catch(() => {
        this.signal("SIGCONT");
        this.signal("SIGKILL");
      });
      if (this.isSupervised) await this.#endOrphan();
      await this.exitCode();
    } finally {
      await detach(this.mountpoint);
      await this.#notify[Symbol.asyncDispose]();
    }
  }

  /** Ends a daemon whose parent is gone: it writes where the child did, and has another parent. */
  async #endOrphan(): Promise<void> {
    const pid = await this.pid().catch(() => undefined);
    if (pid === undefined || !isOf(pid, this.mountpoint)) return;
    Deno.kill(pid, "SIGTERM");
    await eventually(() => !isOf(pid, this.mountpoint), { ms: DAEMON_MS_MAX, what: "its end" });
  }

  async #collect(): Promise<void> {
    const take = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
      const text = stream.pipeThrough(new TextDecoderStream());
      for await (const part of text) this.#log += part;
    };
    await Promise.all([take(this.#child.stdout), take(this.#child.stderr)]);
  }
}

/** Whether `pid` is a process that names `mountpoint` among its words. */
function isOf(pid: number, mountpoint: string): boolean {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/cmdline`).split("\0").includes(mountpoint);
  } catch (error) {
    if (error instanceof Error) return false; // There is no such process.
    throw error;
  }
}

/** Waits until nothing is mounted there any more. */
export async function unmounted(path: string): Promise<void> {
  await eventually(() => mountsAt(path).length === 0, {
    ms: DAEMON_MS_MAX,
    what: `${path} unmounted`,
  });
}
