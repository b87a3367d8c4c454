/**
 * A program for tests of the supervising parent: as `parent` and `__supervise` it is the parent of
 * itself; as `mount FILE` a daemon that has no mount and does what FILE says.
 *
 * `--program=PATH` has the parent start that instead. Each start does the words of FILE's next line:
 * - `open`: the link to its parent; `hold` (a descriptor of FILE), `release`, `ready`, `stopping`.
 * - `listen`: to signals, which are told when they come.
 * - `tell`: appends what it sees to `FILE.log`, as JSON on a line.
 * - `until=WORD`: waits for `FILE.WORD`; `until=parent`: until its parent was replaced.
 * - `wait`: for good; `exit=N`; `kill`: SIGKILL to itself.
 */

import { libc, O_RDONLY, openFile, statDescriptor } from "../../src/base/posix.ts";
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/clock.ts";
import { supervise, superviseRunning } from "../../src/mount/supervisor.ts";
import { SupervisorLink } from "../../src/mount/supervisor_link.ts";

const F_GETFD = 1;
const CONFIG = new URL("../../deno.json", import.meta.url).pathname;

/** The words that start this program. */
export const FAKE_DAEMON: readonly [string, ...string[]] = [
  Deno.execPath(),
  ...["run", "-A", "--no-check", "--cached-only", "--config", CONFIG],
  new URL(import.meta.url).pathname,
];

/** What a start of a daemon wrote. */
export interface Seen {
  pid: number;
  ppid: number;
  args: readonly string[];
  /** Inode of the descriptor that it inherited; null without one. */
  inherited: string | null;
  /** Whether a child of it would have it, too. */
  isInheritedOn: boolean;
  /** Whether its environment still names the socket. */
  namesSocket: boolean;
  /** Its session: its own id if it leads one. */
  session: number;
  signals: readonly string[];
  predecessor: unknown;
  /** Process ids of parents that took the place of others. */
  parents: readonly number[];
}

async function main([name, ...words]: string[]): Promise<number> {
  const print = (line: string): void => {
    Deno.stderr.writeSync(new TextEncoder().encode(`${line}\n`));
  };
  const program = words.find((word) => word.startsWith("--program="))?.slice("--program=".length);
  const self = program === undefined ? FAKE_DAEMON : [program];
  const options = { clock: systemClock, print, self };
  if (name === "parent") return await supervise({ ...options, args: words });
  if (name === "__supervise") {
    const [socket, pid, ...args] = words;
    return await superviseRunning({ ...options, socket: Number(socket), pid: Number(pid), args });
  }
  return await new FakeDaemon(words[0] ?? "").run();
}

class FakeDaemon {
  readonly #signals: string[] = [];
  readonly #parents: number[] = [];
  #link: SupervisorLink | undefined;
  #warned: unknown = null;

  constructor(readonly file: string) {}

  async run(): Promise<number> {
    for (const word of this.#words()) {
      const code = await this.#do(word);
      if (code !== undefined) return code;
    }
    throw new Error("No end was written down for this start");
  }

  /** Those of the next line, which is noted as done. */
  #words(): string[] {
    const [line = "", ...rest] = Deno.readTextFileSync(this.file).split("\n");
    Deno.writeTextFileSync(this.file, rest.join("\n"));
    return line.split(" ");
  }

  async #do(word: string): Promise<number | undefined> {
    const [verb, value] = word.split("=");
    switch (verb) {
      case "open":
        return void this.#open();
      case "listen":
        for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"] as const) {
          Deno.addSignalListener(signal, () => {
            this.#signals.push(signal);
            this.#tell();
          });
        }
        return;
      case "hold":
        return void this.#link?.hold(openFile(this.file, O_RDONLY));
      case "ready":
      case "release":
      case "stopping":
        return void this.#link?.[verb]();
      case "tell":
        return void this.#tell();
      case "until":
        while (value === "parent" ? this.#parents.length === 0 : !this.#isThere(value ?? "")) {
          await systemClock.sleep(5);
        }
        return;
      case "wait":
        await systemClock.sleep(60_000);
        return 99;
      case "exit":
        return Number(value);
      case "kill":
        Deno.kill(Deno.pid, "SIGKILL");
        return await new Promise(() => {});
      default:
        throw new Error(`What is "${word}"?`);
    }
  }

  #isThere(word: string): boolean {
    try {
      Deno.statSync(`${this.file}.${word}`);
      return true;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  }

  #open(): void {
    this.#link = SupervisorLink.open({
      env: (name) => Deno.env.get(name),
      clock: systemClock,
      log: { ...silentLog, warning: (_message, fields) => (this.#warned = fields) },
      mountpoint: `${this.file}.mnt`,
      args: Deno.args,
      startParent: (socket) => {
        const [program, ...words] = FAKE_DAEMON;
        const args = [...words, "__supervise", String(socket), String(Deno.pid), ...Deno.args];
        const child = new Deno.Command(program, { args }).spawn();
        child.unref();
        return child.pid;
      },
    });
    if (this.#link) {
      this.#link.onReplaced = (pid) => {
        this.#parents.push(pid);
        this.#tell();
      };
    }
  }

  #tell(): void {
    const inherited = this.#link?.inherited;
    const status = inherited === undefined ? undefined : statDescriptor(inherited);
    const stat = Deno.readTextFileSync("/proc/self/stat");
    const seen: Seen = {
      pid: Deno.pid,
      ppid: Deno.ppid,
      args: Deno.args,
      inherited: typeof status === "object" ? String(status.ino) : null,
      isInheritedOn: inherited !== undefined && libc.fcntl(inherited, F_GETFD, 0n) === 0,
      namesSocket: Deno.env.has("MUSICFS_SUPERVISOR"),
      session: Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[3]),
      predecessor: this.#warned,
      signals: this.#signals,
      parents: this.#parents,
    };
    Deno.writeTextFileSync(`${this.file}.log`, JSON.stringify(seen) + "\n", { append: true });
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
