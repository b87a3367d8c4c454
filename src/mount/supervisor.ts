/**
 * The supervising parent: a process that holds the mount's descriptor while a daemon serves it, and
 * starts the next daemon when one dies. Readers wait meanwhile; they see no error.
 *
 * It lives as long as the mount, so it loads nothing but what it needs.
 */

import { setInherited, shutDown, SOCK_SEQPACKET, socketPair } from "../base/descriptors.ts";
import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import { libc } from "../base/posix.ts";
import { GIVEN_UP } from "./exit_codes.ts";
import { type End, judge } from "./supervision.ts";
import {
  hear,
  type Predecessor,
  type Received,
  SUPERVISOR_VARIABLE,
  tell,
} from "./supervisor_protocol.ts";
import { selfCommand } from "./self_command.ts";

/** Signals that are passed on as they come. */
const STOP_SIGNALS = ["SIGTERM", "SIGINT"] as const;

/** Signals that end a daemon which does not listen to them yet: passed on once it is ready. */
const LATER_SIGNALS = ["SIGHUP", "SIGUSR1"] as const;

/** Exit code where no daemon could be started at all. */
const FAILED = 1;

/** Waits before a program that could not be started is tried again, in ms: it may be being replaced. */
const START_RETRY_MS = [100, 400, 1_500, 3_000] as const;

/** What the parent works with. */
export interface SuperviseOptions {
  /** The words after the program's name that start a daemon: `mount`, MOUNTPOINT, … */
  args: readonly string[];
  clock: Clock;
  /** Prints a line on stderr. */
  print: (line: string) => void;
  /** The program; default: this one. */
  self?: readonly string[];
}

/** A daemon that runs. */
interface Daemon {
  pid: number;
  /** Our end of the socket to it. */
  socket: number;
  /** undefined if it is not our child: its end is the socket's. */
  status: Promise<Deno.CommandStatus> | undefined;
  isSuccessor: boolean;
  /** When it said that it answers. */
  readyAtMs: number | undefined;
  isMeant: boolean;
}

/**
 * Whether a process that was started with these words is to be a parent: it is a `mount`, nobody
 * asked for none, and neither a parent nor systemd, which holds the descriptor itself, started it.
 */
export function wantsSupervisor(
  args: readonly string[],
  { env, pid }: { env: (name: string) => string | undefined; pid: number },
): boolean {
  if (args[0] !== "mount" || env(SUPERVISOR_VARIABLE)) return false;
  if (env("NOTIFY_SOCKET") && Number(env("SYSTEMD_EXEC_PID")) === pid) return false;
  const options = optionsOf(args);
  return !["--help", "-h", "--no-supervise"].some((word) => options.includes(word));
}

/** Starts a daemon, and successors as they are needed; the exit code, once there is to be none. */
export async function supervise(options: SuperviseOptions): Promise<number> {
  using parent = new Supervisor(options);
  return await parent.run(() => parent.start(undefined));
}

/** Takes the place of a parent that was killed: the daemon `pid` has the other end of `socket`. */
export async function superviseRunning(
  options: SuperviseOptions & { socket: number; pid: number },
): Promise<number> {
  const { socket, pid } = options;
  setInherited(socket, false);
  using parent = new Supervisor(options);
  const status = undefined;
  const isSuccessor = false;
  const daemon = { pid, socket, status, isSuccessor, readyAtMs: undefined, isMeant: false };
  return await parent.run(() => Promise.resolve(daemon));
}

class Supervisor implements Disposable {
  readonly #options: SuperviseOptions;
  /** Of our own start: another executable may lie there by the time of the next. */
  readonly #self: readonly string[];
  readonly #listeners = new Map<Deno.Signal, () => void>();
  readonly #later = new Set<Deno.Signal>();
  /** The daemon that runs, for signals. */
  #daemon: Daemon | undefined;
  #descriptor: number | undefined;
  #mountpoint: string | undefined;
  #everReady = false;
  #isStopAsked = false;
  #failures = 0;
  /** Why no daemon could be started. */
  #whyNone: string | undefined;

  constructor(options: SuperviseOptions) {
    this.#options = options;
    this.#self = options.self ?? selfCommand();
    for (const signal of STOP_SIGNALS) this.#listen(signal, () => this.#stop(signal));
    for (const signal of LATER_SIGNALS) this.#listen(signal, () => this.#passLater(signal));
  }

  /** Follows the daemon that `first` gives, then its successors. */
  async run(first: () => Promise<Daemon | undefined>): Promise<number> {
    let daemon = await first();
    if (daemon === undefined) {
      this.#options.print(`musicfs: ${this.#whyNone}`);
      return FAILED;
    }
    while (daemon !== undefined) {
      const end = await this.#follow(daemon);
      const verdict = judge(end, {
        everReady: this.#everReady,
        isHolding: this.#descriptor !== undefined,
        isStopAsked: this.#isStopAsked,
        failures: this.#failures,
      });
      if (verdict.then === "exit") {
        if (verdict.detaches) await this.#detach();
        return verdict.code;
      }
      if (verdict.then === "giveUp") break;
      this.#failures = verdict.failures;
      daemon = await this.start({ pid: daemon.pid, code: end.code });
      if (this.#isStopAsked && daemon === undefined) {
        await this.#detach();
        return 0;
      }
    }
    return await this.#giveUp();
  }

  /** A daemon; undefined if none can be started. */
  async start(predecessor: Predecessor | undefined): Promise<Daemon | undefined> {
    for (const waitMs of [...START_RETRY_MS, undefined]) {
      if (this.#isStopAsked) return undefined;
      try {
        const daemon = this.#spawn(predecessor);
        this.#whyNone = undefined;
        return daemon;
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        this.#whyNone = `Cannot start a daemon: ${error.message}`;
        if (waitMs !== undefined) await this.#options.clock.sleep(waitMs);
      }
    }
    return undefined;
  }

  [Symbol.dispose](): void {
    for (const [signal, listener] of this.#listeners) Deno.removeSignalListener(signal, listener);
    this.#release();
  }

  #spawn(predecessor: Predecessor | undefined): Daemon {
    const pair = socketPair(SOCK_SEQPACKET);
    if (typeof pair === "number") throw cannotStart(`socketpair failed with errno ${-pair}`);
    const [ours, theirs] = pair;
    let isStarted = false;
    try {
      tell(ours, { type: "begin", predecessor: predecessor ?? null }, this.#descriptor);
      setInherited(theirs, true);
      const isSuccessor = predecessor !== undefined;
      const { args } = this.#options;
      const [program = "", ...words] = this.#self;
      const child = new Deno.Command(program, {
        args: [...words, ...isSuccessor ? withoutReplace(args) : args],
        env: { [SUPERVISOR_VARIABLE]: String(theirs) },
        stdin: "inherit",
        stdout: "inherit",
        stderr: "inherit",
      }).spawn();
      isStarted = true;
      const { pid, status } = child;
      const state = { isSuccessor, readyAtMs: undefined, isMeant: false };
      return this.#daemon = { pid, socket: ours, status, ...state };
    } finally {
      libc.close(theirs);
      if (!isStarted) libc.close(ours);
    }
  }

  /** Waits for the daemon's end. */
  async #follow(daemon: Daemon): Promise<End> {
    this.#daemon = daemon;
    const listening = this.#hearAll(daemon);
    const status = await (daemon.status ?? listening);
    this.#daemon = undefined;
    const endedAtMs = this.#options.clock.monotonic();
    // Whoever else has the other end by mistake does not keep us; what was told is heard before.
    shutDown(daemon.socket);
    await listening;
    libc.close(daemon.socket);
    const { readyAtMs, isSuccessor, isMeant } = daemon;
    const servedMs = readyAtMs === undefined ? undefined : endedAtMs - readyAtMs;
    const isDeath = !status || status.signal !== null;
    return { code: status?.code ?? null, isDeath, isSuccessor, servedMs, isMeant };
  }

  async #hearAll(daemon: Daemon): Promise<undefined> {
    for (;;) {
      const received = await hear(daemon.socket);
      if (received === undefined) return undefined;
      this.#take(received, daemon);
    }
  }

  #take({ report, descriptor }: Received, daemon: Daemon): void {
    switch (report["type"]) {
      case "hold":
        this.#release();
        this.#descriptor = descriptor;
        if (typeof report["mountpoint"] === "string") this.#mountpoint = report["mountpoint"];
        return;
      case "release":
        return this.#release();
      case "ready":
        daemon.readyAtMs ??= this.#options.clock.monotonic();
        this.#everReady = true;
        for (const signal of this.#later) this.#pass(signal);
        this.#later.clear();
        return;
      case "stopping":
        daemon.isMeant = true;
        return;
      default:
        if (descriptor !== undefined) libc.close(descriptor);
    }
  }

  #release(): void {
    if (this.#descriptor !== undefined) libc.close(this.#descriptor);
    this.#descriptor = undefined;
  }

  /** Takes away what is left of the mount; one that somebody serves is left alone. */
  async #detach(): Promise<void> {
    this.#release();
    if (this.#mountpoint === undefined) return;
    const { clearStaleMount } = await import("./check_mount.ts");
    await clearStaleMount(this.#mountpoint, { clock: this.#options.clock });
  }

  async #giveUp(): Promise<number> {
    await this.#detach();
    const where = this.#mountpoint === undefined ? "" : ` of ${this.#mountpoint}`;
    const why = this.#whyNone ??
      "One daemon after another ended right after its start. What they wrote above says why";
    this.#options.print(`musicfs: The mount${where} is given up. ${why}`);
    return GIVEN_UP;
  }

  #listen(signal: Deno.Signal, listener: () => void): void {
    Deno.addSignalListener(signal, listener);
    this.#listeners.set(signal, listener);
  }

  #stop(signal: Deno.Signal): void {
    this.#isStopAsked = true;
    this.#pass(signal);
  }

  #passLater(signal: Deno.Signal): void {
    if (this.#daemon?.readyAtMs === undefined) this.#later.add(signal);
    else this.#pass(signal);
  }

  #pass(signal: Deno.Signal): void {
    if (this.#daemon === undefined) return;
    try {
      Deno.kill(this.#daemon.pid, signal);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error; // It has just ended.
    }
  }
}

/** A successor has a descriptor; there is nobody left whose mount it could take. */
function withoutReplace(args: readonly string[]): string[] {
  const count = optionsOf(args).length;
  return args.filter((word, at) => at >= count || word !== "--replace");
}

/** The words before `--`, after which there are no options. */
function optionsOf(args: readonly string[]): readonly string[] {
  const end = args.indexOf("--");
  return end < 0 ? args : args.slice(0, end);
}

function cannotStart(why: string): MusicfsError {
  return new MusicfsError("unavailable", `Cannot start a daemon: ${why}`, {
    op: "supervisor.start",
    subject: "musicfs",
  });
}
