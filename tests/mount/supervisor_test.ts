/** The supervising parent and the daemon's link to it, with daemons that have no mount. */

import assert from "node:assert/strict";
import { GIVEN_UP } from "../../src/mount/exit_codes.ts";
import { wantsSupervisor } from "../../src/mount/supervisor.ts";
import { SupervisorLink } from "../../src/mount/supervisor_link.ts";
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/clock.ts";
import { eventually, within } from "../support/process.ts";
import { tempDir } from "../support/temp_dir.ts";
import { FAKE_DAEMON, type Seen } from "./fake_daemon.ts";

/** Longest wait for a process, in ms: the machine may be loaded. */
const WAIT_MS_MAX = 30_000;

/** A parent of fake daemons, of which each start does one line of `starts`. */
class Parent implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #stderr: Promise<string>;

  private constructor(readonly file: string, args: readonly string[]) {
    const [program, ...words] = FAKE_DAEMON;
    this.#child = new Deno.Command(program, {
      args: [...words, "parent", "mount", file, ...args],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.#stderr = new Response(this.#child.stderr).text();
  }

  static async start(
    dir: string,
    starts: readonly string[],
    ...args: readonly string[]
  ): Promise<Parent> {
    const file = `${dir}/starts`;
    await Deno.writeTextFile(file, starts.join("\n"));
    return new Parent(file, args);
  }

  get pid(): number {
    return this.#child.pid;
  }

  kill(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** SIGKILL, and its end. What it started lives on. */
  async die(): Promise<void> {
    this.kill("SIGKILL");
    await within(this.#child.status, { ms: WAIT_MS_MAX, what: "the parent's end" });
  }

  /** Its end, and that of all that write where it does. */
  async exit(): Promise<{ code: number; stderr: string }> {
    const ended = Promise.all([this.#child.status, this.#stderr]);
    const [{ code }, stderr] = await within(ended, { ms: WAIT_MS_MAX, what: "the parent's end" });
    return { code, stderr };
  }

  /** All that daemons told, once it is enough. */
  async told(isEnough: (seen: readonly Seen[]) => boolean): Promise<Seen[]> {
    let seen: Seen[] = [];
    await eventually(async () => {
      const text = await Deno.readTextFile(`${this.file}.log`).catch(() => "");
      seen = text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
      return isEnough(seen);
    }, { ms: WAIT_MS_MAX, what: "what daemons tell" });
    return seen;
  }

  /** Ends whoever is left; more than once, for they start each other. */
  async [Symbol.asyncDispose](): Promise<void> {
    await eventually(() => killAll(this.file) === 0, { ms: WAIT_MS_MAX, what: "the end of all" });
    await this.exit();
  }
}

/** SIGKILL to all processes that name `file` among their words; how many there were. */
function killAll(file: string): number {
  let count = 0;
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (!Deno.readTextFileSync(`/proc/${name}/cmdline`).includes(file)) continue;
      Deno.kill(Number(name), "SIGKILL");
      count += 1;
    } catch (error) {
      if (!(error instanceof Error)) throw error; // It has just ended.
    }
  }
  return count;
}

async function inodeOf(path: string): Promise<string> {
  return String((await Deno.stat(path)).ino);
}

const env = (variables: Record<string, string>) => (name: string) => variables[name];

Deno.test("wantsSupervisor() says yes to a mount that a person or a process manager starts", () => {
  const mount = ["mount", "/mnt", "--origin", "/music"];
  const asks = (args: readonly string[], variables = {}) =>
    wantsSupervisor(args, { env: env(variables), pid: 7 });
  assert(asks(mount));
  assert(asks([...mount, "--replace"]));
  assert(asks(["mount", "--", "--no-supervise"]), "a folder of that name");
  assert(asks(mount, { NOTIFY_SOCKET: "/run/n", SYSTEMD_EXEC_PID: "6" }), "a child of a service");
  assert(asks(mount, { SYSTEMD_EXEC_PID: "7" }), "a service without notifications");
  assert(!asks(mount, { NOTIFY_SOCKET: "/run/n", SYSTEMD_EXEC_PID: "7" }), "systemd has a store");
  assert(!asks(mount, { MUSICFS_SUPERVISOR: "5" }), "the daemon itself");
  for (const word of ["--no-supervise", "--help", "-h"]) assert(!asks([...mount, word]), word);
  assert(!asks(["status", "/mnt"]));
});

Deno.test("SupervisorLink.open() is content without a parent, whatever the environment says", () => {
  const options = { clock: systemClock, log: silentLog, mountpoint: "/mnt", args: [] };
  for (const value of [undefined, "", "x", "0", "2", "1000000"]) {
    const variables: Record<string, string> = value === undefined ? {} : {
      MUSICFS_SUPERVISOR: value,
    };
    assert.equal(SupervisorLink.open({ ...options, env: env(variables) }), undefined, value);
  }
});

Deno.test("supervise() gives the exit code of a daemon that never answered", async () => {
  for (const [words, code] of [["open exit=2", 2], ["exit=7", 7], ["open kill", 137]] as const) {
    await using dir = await tempDir("supervisor");
    await using parent = await Parent.start(dir.path, [words]);
    assert.deepEqual(await parent.exit(), { code, stderr: "" }, words);
  }
});

Deno.test("supervise() gives a successor what the killed daemon held, and to it alone", async () => {
  await using dir = await tempDir("supervisor");
  const starts = ["open tell hold ready kill", "open tell ready stopping exit=5"];
  await using parent = await Parent.start(dir.path, starts, "--replace", "--", "--replace");
  assert.deepEqual(await parent.exit(), { code: 5, stderr: "" });
  const [first, second] = await parent.told((seen) => seen.length === 2);
  assert(first && second);
  assert.equal(first.inherited, null);
  assert.equal(second.inherited, await inodeOf(parent.file));
  assert(!second.isInheritedOn, "a hook's child would keep the mount");
  assert(!second.namesSocket);
  assert.deepEqual([first.ppid, second.ppid], [parent.pid, parent.pid]);
  assert.deepEqual([first.session, second.session], [first.pid, second.pid], "not the terminal's");
  assert.deepEqual(first.args, ["mount", parent.file, "--replace", "--", "--replace"]);
  assert.deepEqual(second.args, ["mount", parent.file, "--", "--replace"]);
  assert.deepEqual(second.predecessor, { pid: first.pid, code: 137 });
});

Deno.test("supervise() starts a successor without a descriptor where none was held", async () => {
  await using dir = await tempDir("supervisor");
  const starts = ["open hold release ready kill", "open tell ready stopping exit=0"];
  await using parent = await Parent.start(dir.path, starts);
  assert.equal((await parent.exit()).code, 0);
  const [seen] = await parent.told((seen) => seen.length === 1);
  assert.equal(seen?.inherited, null);
});

Deno.test("supervise() gives up where one successor after another ends at once", async () => {
  await using dir = await tempDir("supervisor");
  const starts = ["open hold ready kill", ...Array(6).fill("open tell kill"), "open tell exit=0"];
  await using parent = await Parent.start(dir.path, starts);
  const { code, stderr } = await parent.exit();
  assert.equal(code, GIVEN_UP);
  assert.match(stderr, /^musicfs: The mount of \/[^\n]*starts\.mnt is given up\. [^\n]*\n$/);
  assert.equal((await parent.told(() => true)).length, 6);
});

Deno.test("supervise() says so where the program is gone, and takes the mount away", async () => {
  await using dir = await tempDir("supervisor");
  const program = `${dir.path}/program`;
  const [deno, ...words] = FAKE_DAEMON;
  // A program that is there once: it removes itself.
  const script = `#!/bin/sh\nrm "$0"\nexec '${deno}' ${words.join(" ")} "$@"\n`;
  await Deno.writeTextFile(program, script, { mode: 0o755 });
  const starts = ["open hold ready kill"];
  await using parent = await Parent.start(dir.path, starts, `--program=${program}`);
  const { code, stderr } = await parent.exit();
  assert.equal(code, GIVEN_UP);
  assert.match(stderr, /^musicfs: The mount [^\n]* is given up\. Cannot start a daemon: [^\n]*\n$/);
});

Deno.test("supervise() passes signals on, those for later once the daemon answers", async () => {
  await using dir = await tempDir("supervisor");
  const starts = ["open listen tell until=ready ready until=stop stopping exit=0"];
  await using parent = await Parent.start(dir.path, starts);
  await parent.told((seen) => seen.length === 1);
  parent.kill("SIGHUP");
  parent.kill("SIGINT");
  const early = await parent.told((seen) => seen.at(-1)?.signals.includes("SIGINT") === true);
  assert.deepEqual(early.at(-1)?.signals, ["SIGINT"], "SIGHUP would end it");
  await Deno.writeTextFile(`${parent.file}.ready`, "");
  await parent.told((seen) => seen.at(-1)?.signals.includes("SIGHUP") === true);
  parent.kill("SIGTERM");
  parent.kill("SIGTERM");
  const seen = await parent.told((seen) => (seen.at(-1)?.signals.length ?? 0) >= 3);
  assert.deepEqual(seen.at(-1)?.signals.slice(0, 3), ["SIGINT", "SIGHUP", "SIGTERM"]);
  await Deno.writeTextFile(`${parent.file}.stop`, "");
  assert.equal((await parent.exit()).code, 0);
});

Deno.test("supervise() starts nobody in the place of a daemon once it was told to end", async () => {
  await using dir = await tempDir("supervisor");
  // It does not listen to signals, as one that is still being loaded.
  const starts = ["open hold ready kill", "open tell wait", "open tell exit=9"];
  await using parent = await Parent.start(dir.path, starts);
  await parent.told((seen) => seen.length === 1);
  parent.kill("SIGTERM");
  assert.deepEqual(await parent.exit(), { code: 0, stderr: "" });
  assert.equal((await parent.told(() => true)).length, 1);
});

Deno.test("SupervisorLink starts a parent for a killed one, which goes on as that did", async () => {
  await using dir = await tempDir("supervisor");
  const starts = [
    "open listen hold ready tell until=kill kill",
    "open listen ready tell until=stop stopping exit=0",
  ];
  await using parent = await Parent.start(dir.path, starts);
  const [first] = await parent.told((seen) => seen.length === 1);
  await parent.die();
  const [, replaced] = await parent.told((seen) => seen.length === 2);
  assert(first && replaced);
  const [second] = replaced.parents;
  assert(second !== undefined && second !== parent.pid);
  await Deno.writeTextFile(`${parent.file}.kill`, "");
  const seen = await parent.told((seen) => seen.some(({ pid }) => pid !== first.pid));
  const successor = seen.at(-1);
  assert.equal(successor?.ppid, second);
  assert.equal(successor.inherited, await inodeOf(parent.file));
  // Signals go the same way.
  Deno.kill(second, "SIGHUP");
  await parent.told((seen) => seen.at(-1)?.signals.includes("SIGHUP") === true);
  await Deno.writeTextFile(`${parent.file}.stop`, "");
  await eventually(() => !isRunning(second), { ms: WAIT_MS_MAX, what: "the second parent's end" });
});

Deno.test("SupervisorLink starts a parent for one that was killed before it was opened", async () => {
  await using dir = await tempDir("supervisor");
  const starts = [
    "tell until=go open until=parent hold ready tell kill",
    "open ready tell until=stop stopping exit=0",
  ];
  await using parent = await Parent.start(dir.path, starts);
  await parent.told((seen) => seen.length === 1);
  await parent.die();
  await Deno.writeTextFile(`${parent.file}.go`, "");
  const seen = await parent.told((seen) => new Set(seen.map(({ pid }) => pid)).size === 2);
  assert.equal(seen.at(-1)?.inherited, await inodeOf(parent.file));
  const second = seen.at(-1)?.ppid ?? 0;
  await Deno.writeTextFile(`${parent.file}.stop`, "");
  await eventually(() => !isRunning(second), { ms: WAIT_MS_MAX, what: "the second parent's end" });
});

function isRunning(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(Deno.readTextFileSync(`/proc/${pid}/stat`));
  } catch (error) {
    if (error instanceof Error) return false; // There is no such process.
    throw error;
  }
}
