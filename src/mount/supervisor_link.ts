import {
  duplicate,
  setInherited,
  shutDown,
  SOCK_SEQPACKET,
  socketPair,
} from "../base/descriptors.ts";
import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { agreed, libc } from "../base/posix.ts";
import type { MountHolder } from "./holder.ts";
import { selfCommand } from "./self_command.ts";
import {
  hear,
  heard,
  type Report,
  SUPERVISE_COMMAND,
  SUPERVISOR_VARIABLE,
  tell,
} from "./supervisor_protocol.ts";

/** Waits before a parent is started in the place of one that did not live long, in ms. */
const RETRY_MS = [0, 1_000, 5_000, 30_000] as const;

/** A parent that lived this long, in ms, was well: the next is started at once. */
const WELL_MS = 2_000;

const EPIPE = 32;
const ECONNRESET = 104;

/** What the link needs of its daemon. */
export interface SupervisorLinkOptions {
  env: (name: string) => string | undefined;
  clock: Clock;
  log: Log;
  /** As the kernel's mount table has it: where a parent that gives up detaches the mount. */
  mountpoint: string;
  /** The words after the program's name with which this daemon was started. */
  args: readonly string[];
  /** Starts a parent that inherits `socket`; its process id. Throws if it cannot. */
  startParent?: (socket: number) => number;
}

/**
 * The daemon's end of its socket to the supervising parent (`supervisor.ts`), which holds the mount's
 * descriptor and starts a successor when the daemon dies.
 *
 * When the parent is killed, another is started and told all that the first knew. Disposing makes
 * the parent believe that the daemon is gone; in a daemon the end of the process does that.
 */
export class SupervisorLink implements MountHolder, Disposable {
  readonly kind = "supervisor";
  /** The descriptor of a predecessor's mount, close-on-exec; the caller's own. */
  readonly inherited: number | undefined;
  /** Told the process id of a parent that took the place of one that was killed. */
  onReplaced: (pid: number) => void = () => {};
  readonly #options: SupervisorLinkOptions;
  /** Of the start: the executable may be another one by the time that a parent has to be started. */
  readonly #self = selfCommand();
  /** -1 while there is no parent. */
  #socket: number;
  #pid = Deno.ppid;
  /** A descriptor of our own of the mount that is to be held. */
  #held: number | undefined;
  #isReady = false;
  #isStopping = false;
  readonly #closing = new AbortController();
  readonly #watching: Promise<void>;

  private constructor(
    options: SupervisorLinkOptions,
    { socket, inherited }: { socket: number; inherited: number | undefined },
  ) {
    this.#options = options;
    this.#socket = socket;
    this.inherited = inherited;
    if (inherited !== undefined) this.#keep(inherited);
    this.#watching = this.#watch();
  }

  /**
   * Takes up what the parent left for this daemon; undefined if nobody supervises it.
   *
   * To be called before anything starts a child: from here on no child inherits the socket, nor
   * gets its name in the environment. The terminal's Ctrl-C is from here on for the parent alone.
   */
  static open(options: SupervisorLinkOptions): SupervisorLink | undefined {
    const socket = Number(options.env(SUPERVISOR_VARIABLE) ?? NaN);
    if (!Number.isSafeInteger(socket) || socket < 3) return undefined;
    Deno.env.delete(SUPERVISOR_VARIABLE);
    const greeting = heard(socket);
    if (greeting?.report["type"] !== "begin") return undefined;
    setInherited(socket, false);
    libc.setsid();
    const { predecessor } = greeting.report;
    if (predecessor) {
      options.log.warning("Started in the place of a daemon that ended", { ...predecessor });
    }
    return new SupervisorLink(options, { socket, inherited: greeting.descriptor });
  }

  /** The parent's process id; changes when it is replaced. */
  get pid(): number {
    return this.#pid;
  }

  hold(descriptor: number): boolean {
    return this.#keep(descriptor) && this.#tellHeld();
  }

  release(): void {
    this.#forget();
    this.#tell({ type: "release" });
  }

  /** The mount answers: from now on a death is answered with a successor. */
  ready(): void {
    this.#isReady = true;
    this.#tell({ type: "ready" });
  }

  /** The end that comes is meant: the parent ends with this daemon's exit code. */
  stopping(): void {
    this.#isStopping = true;
    this.#tell({ type: "stopping" });
  }

  /** Resolves when nothing of this link is under way any more; after it was disposed of. */
  async ended(): Promise<void> {
    await this.#watching;
  }

  [Symbol.dispose](): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    shutDown(this.#socket);
    this.#forget();
  }

  /** Keeps a descriptor of our own, so that a parent can be given it whatever the caller does. */
  #keep(descriptor: number): boolean {
    const own = duplicate(descriptor);
    this.#forget();
    if (own >= 0) this.#held = own;
    return own >= 0;
  }

  #forget(): void {
    if (this.#held !== undefined) libc.close(this.#held);
    this.#held = undefined;
  }

  #tellHeld(): boolean {
    const { mountpoint } = this.#options;
    return this.#held === undefined || this.#tell({ type: "hold", mountpoint }, this.#held);
  }

  /** Whether it was taken, or will be by the parent that comes in the place of a dead one. */
  #tell(report: Report, descriptor?: number): boolean {
    if (this.#socket < 0) return true;
    const sent = agreed(() => tell(this.#socket, report, descriptor));
    return sent >= 0 || sent === -EPIPE || sent === -ECONNRESET;
  }

  /** Starts a parent whenever the one that is there has ended. */
  async #watch(): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#closing;
    let since = clock.monotonic();
    for (let failures = 0;;) {
      while (await hear(this.#socket));
      libc.close(this.#socket);
      this.#socket = -1;
      for (let isThere = false; !isThere;) {
        if (this.#isStopping || signal.aborted) return;
        if (clock.monotonic() - since >= WELL_MS) failures = 0;
        const waitMs = RETRY_MS[Math.min(failures, RETRY_MS.length - 1)] ?? 0;
        failures += 1;
        await clock.sleep(waitMs, signal).catch(() => undefined);
        if (this.#isStopping || signal.aborted) return;
        since = clock.monotonic();
        isThere = this.#replace();
      }
      log.warning("The supervising parent ended; another was started", { supervisor: this.#pid });
      this.onReplaced(this.#pid);
    }
  }

  /** Whether a parent was started. It finds what it is told in the socket, however late it reads. */
  #replace(): boolean {
    const { log } = this.#options;
    try {
      const pair = socketPair(SOCK_SEQPACKET);
      if (typeof pair === "number") throw cannotStart(`socketpair failed with errno ${-pair}`);
      const [ours, theirs] = pair;
      this.#socket = ours;
      this.#tellHeld();
      if (this.#isReady) this.#tell({ type: "ready" });
      setInherited(theirs, true);
      try {
        this.#pid = (this.#options.startParent ?? ((socket) => this.#startParent(socket)))(theirs);
      } finally {
        libc.close(theirs);
      }
      return true;
    } catch (error) {
      if (this.#socket >= 0) libc.close(this.#socket);
      this.#socket = -1;
      log.error("Cannot start a supervising parent; trying again", { error });
      return false;
    }
  }

  #startParent(socket: number): number {
    const [program, ...words] = this.#self;
    const child = new Deno.Command(program, {
      args: [...words, SUPERVISE_COMMAND, String(socket), String(Deno.pid), ...this.#options.args],
      stdin: "inherit",
      stdout: "inherit",
      stderr: "inherit",
    }).spawn();
    child.unref();
    return child.pid;
  }
}

function cannotStart(why: string): MusicfsError {
  return new MusicfsError("unavailable", `Cannot start a supervising parent: ${why}`, {
    op: "supervisor.start",
    subject: "musicfs",
  });
}
