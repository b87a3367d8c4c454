/** A server beside a test: its process, the processes it forked, its log. */

import { eventually, within } from "../process.ts";
import type { RunningServer } from "./compose.ts";

/** Longest wait for a server to answer, in ms; MinIO takes 1 to 2 s here, far more on a busy machine. */
const READY_MS_MAX = 60_000;

/** Time between SIGTERM and SIGKILL, in ms. */
const TERM_MS_MAX = 5_000;

export interface ServerCommand {
  /** For messages: "minio". */
  name: string;
  program: string;
  args: readonly string[];
  /** Added to a nearly empty environment. */
  env?: Record<string, string>;
  /** File that stdout and stderr go to, appended. */
  logFile: string;
  /** Whether it answers; asked until it does. */
  isReady: () => Promise<boolean>;
}

/**
 * One server. It can be stopped and started again with the same ports and data, and it dies with the
 * thread that started it, also when a test run is killed.
 */
export class ServerProcess implements RunningServer {
  readonly #command: ServerCommand;
  #child: Deno.ChildProcess | undefined;

  private constructor(command: ServerCommand) {
    this.#command = command;
  }

  /** Starts it and waits until it answers. */
  static async start(command: ServerCommand): Promise<ServerProcess> {
    const server = new ServerProcess(command);
    await server.start();
    return server;
  }

  get isRunning(): boolean {
    return this.#child !== undefined;
  }

  /** The listening process. */
  get pid(): number {
    if (!this.#child) throw new Error(`${this.#command.name} is stopped`);
    return this.#child.pid;
  }

  /** What it has written so far. */
  log(): string {
    return Deno.readTextFileSync(this.#command.logFile);
  }

  async start(): Promise<void> {
    if (this.#child) return;
    const { name, program, args, env, logFile, isReady } = this.#command;
    // The shell sends the output to the file, so that no reader here can hold the server up.
    const script = 'log=$1; shift; exec setpriv --pdeathsig KILL -- "$@" >>"$log" 2>&1';
    const child = new Deno.Command("bash", {
      args: ["-c", script, "bash", logFile, program, ...args],
      cwd: "/",
      clearEnv: true,
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/nonexistent", ...env },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    this.#child = child;
    let ended: Deno.CommandStatus | undefined;
    const gone = child.status.then((status) => (ended = status));
    try {
      await eventually(async () => {
        if (ended) throw new Error(`it ended with ${ended.code}`);
        return await isReady();
      }, { ms: READY_MS_MAX, what: "an answer" });
    } catch (error) {
      await this.kill();
      await gone;
      const log = await Deno.readTextFile(logFile);
      throw new Error(`${name} does not start:\n${log.slice(-3_000)}`, { cause: error });
    }
  }

  /** SIGTERM, later SIGKILL, to it and to every process it forked; returns when all are gone. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** SIGKILL to all of it. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** SIGSTOP to all of it: connections stay open and nothing answers. */
  freeze(): void {
    for (const pid of [this.pid, ...descendants(this.pid)]) signal(pid, "SIGSTOP");
  }

  thaw(): void {
    for (const pid of [this.pid, ...descendants(this.pid)]) signal(pid, "SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  async #end(first: "SIGTERM" | "SIGKILL"): Promise<void> {
    const child = this.#child;
    if (!child) return;
    this.#child = undefined;
    // Found before the parent ends: an orphan no longer tells whose it was.
    const pids = [child.pid, ...descendants(child.pid)];
    for (const pid of pids) signal(pid, first);
    for (const pid of pids) signal(pid, "SIGCONT");
    const all = async (): Promise<void> => {
      await child.status;
      await eventually(() => !pids.slice(1).some(isAlive), { ms: TERM_MS_MAX, what: "ends" });
    };
    try {
      await within(all(), { ms: TERM_MS_MAX, what: `end of ${this.#command.name}` });
    } catch {
      for (const pid of pids) signal(pid, "SIGKILL");
      await all();
    }
  }
}

/** Processes below `pid`, from `/proc/PID/task/TID/children`. */
function descendants(pid: number): number[] {
  const found: number[] = [];
  const queue = [pid];
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    const children = childrenOf(next);
    found.push(...children);
    queue.push(...children);
  }
  return found;
}

function childrenOf(pid: number): number[] {
  try {
    return [...Deno.readDirSync(`/proc/${pid}/task`)].flatMap(({ name }) =>
      Deno.readTextFileSync(`/proc/${pid}/task/${name}/children`)
        .split(" ").filter((word) => word !== "").map(Number)
    );
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

function isAlive(pid: number): boolean {
  try {
    // A zombie whose parent has yet to ask for it holds neither ports nor connections.
    return !/^State:\s+[ZX]/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
  } catch (error) {
    if (isGone(error)) return false;
    throw error;
  }
}

function signal(pid: number, name: Deno.Signal): void {
  try {
    Deno.kill(pid, name);
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}

/** ENOENT for a name below `/proc`, ESRCH for a process that ends while it is looked at. */
function isGone(error: unknown): boolean {
  if (error instanceof Deno.errors.NotFound) return true;
  // Deno gives some of these a code and to others only the system's text.
  return error instanceof Error &&
    ("code" in error && error.code === "ESRCH" || error.message.includes("(os error 3)"));
}
