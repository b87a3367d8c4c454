/**
 * A real systemd manager, with the real unit of musicfs in it (`systemd_user.sh`).
 *
 * It lives in a mount namespace of its own: what is mounted there is seen by the programs that
 * `run`, `output` and `spawn` start, and by no other process of the test.
 */

import { dirname, join } from "node:path";
import { musicfsCommand, musicfsEnv } from "./daemon.ts";
import { type Mount, mountsAt } from "./mounts.ts";
import { eventually, type Finished, quoted, run, type RunOptions, within } from "./process.ts";
import type { Need } from "./requirements.ts";

/** What a test under a manager needs. */
export const SYSTEMD_NEEDS: readonly Need[] = ["root", "fuse", "systemd", "unshare"];

const PROJECT_DIR = new URL("../..", import.meta.url).pathname;

/** Longest wait for a manager, and for a unit's change, in ms. A loaded machine is slow. */
const MANAGER_MS_MAX = 60_000;

/** Where `systemd_user.sh` puts the manager's sockets. */
const RUNTIME_DIR = "/run/user/test";

/** A running manager. Its units end with it, and it ends with its scope. */
export class SystemdManager implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;

  private constructor(
    /** `bin/` of it is where units find `musicfs`; `config/` and `cache/` are a user's. */
    readonly dir: string,
    /** A process inside. */
    readonly pid: number,
    child: Deno.ChildProcess,
  ) {
    this.#child = child;
  }

  /**
   * Starts a manager that keeps everything in `dir`, and installs the units for a user, or those for
   * the machine with a user's folders instead of `/etc` and `/var/cache`.
   */
  static async start(dir: string, units: "user" | "system" = "user"): Promise<SystemdManager> {
    await Deno.mkdir(join(dir, "bin"));
    await Deno.mkdir(join(dir, "cache"));
    const words = musicfsCommand().map(quoted).join(" ");
    await Deno.writeTextFile(join(dir, "bin/musicfs"), `#!/bin/sh\nexec ${words} "$@"\n`);
    await Deno.chmod(join(dir, "bin/musicfs"), 0o755);
    await installUnits(dir, units);
    const child = new Deno.Command(join(PROJECT_DIR, "tests/support/systemd_user.sh"), {
      // Ends when its input does, and so at the latest with this process.
      args: ["sh", "-c", "echo $$; exec cat"],
      clearEnv: true,
      env: { ...managerEnv(dir), SYSTEMD_LOG: join(dir, "manager.log") },
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const first = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const { value } = await within(first.read(), { ms: MANAGER_MS_MAX, what: "a manager" });
    await first.cancel();
    const pid = Number(value);
    if (!(pid > 0)) throw new Error(`No manager: ${await textOf(join(dir, "manager.log"))}`);
    return new SystemdManager(dir, pid, child);
  }

  /** `systemctl --user …`. */
  systemctl(...words: string[]): Promise<Finished> {
    return this.run("systemctl", ["--user", "--no-pager", ...words]);
  }

  /** `systemctl --user …` that must succeed; its output. */
  ctl(...words: string[]): Promise<string> {
    return this.output("systemctl", ["--user", "--no-pager", ...words]);
  }

  /** One property of a unit, as `systemctl show` has it. */
  async property(unit: string, name: string): Promise<string> {
    return (await this.ctl("show", unit, `--property=${name}`, "--value")).trim();
  }

  /** The words that start a program inside. */
  inside(program: string, args: readonly string[]): [program: string, ...args: string[]] {
    return ["nsenter", `--target=${this.pid}`, "--mount", "--wd=/", "--", program, ...args];
  }

  /** Runs a program inside to its end. */
  run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
    const [first, ...words] = this.inside(program, args);
    const env = { ...managerEnv(this.dir), XDG_RUNTIME_DIR: RUNTIME_DIR, ...options.env };
    return run(first, words, { ...options, clearEnv: true, env });
  }

  /** Runs a program inside that must succeed; its output. */
  async output(
    program: string,
    args: readonly string[],
    options: RunOptions = {},
  ): Promise<string> {
    const { code, stdout, stderr } = await this.run(program, args, options);
    if (code !== 0) {
      const words = [program, ...args].join(" ");
      throw new Error(`Exit code ${code} from ${words}\n${stdout}${stderr}\n${await this.log()}`);
    }
    return stdout;
  }

  /** Starts a program inside, with pipes; the caller's to end. */
  spawn(program: string, args: readonly string[]): Deno.ChildProcess {
    const [first, ...words] = this.inside(program, args);
    return new Deno.Command(first, {
      args: words,
      clearEnv: true,
      env: { ...managerEnv(this.dir), XDG_RUNTIME_DIR: RUNTIME_DIR },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  }

  /** What is mounted at a path inside. */
  mountsAt(path: string): Mount[] {
    return mountsAt(path, this.pid);
  }

  /** What the manager wrote, and then what the services did. */
  async log(): Promise<string> {
    const manager = await textOf(join(this.dir, "manager.log"));
    return `manager:\n${manager}\nservices:\n${await this.serviceLog()}`;
  }

  /** What all services wrote. */
  serviceLog(): Promise<string> {
    return textOf(join(this.dir, "service.log"));
  }

  /** Stops all units and the manager. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child.stdin.close();
    const { code } = await within(this.#child.status, { ms: MANAGER_MS_MAX, what: "its end" });
    if (code !== 0) throw new Error(`The manager ended with ${code}\n${await this.log()}`);
  }
}

/** An instance of `musicfs@.service`. */
export class MusicfsUnit {
  private constructor(
    readonly manager: SystemdManager,
    readonly mountpoint: string,
    /** As `systemd-escape --path` has the mountpoint. */
    readonly instance: string,
    readonly origins: readonly string[],
  ) {}

  /**
   * Configures an instance that mounts `origins` at `mountpoint`, by default `dir/mnt` of the
   * manager; starts nothing. `env` are more variables for its environment file.
   */
  static async make(
    manager: SystemdManager,
    options: { origins: readonly string[]; mountpoint?: string; env?: Record<string, string> },
  ): Promise<MusicfsUnit> {
    const mountpoint = options.mountpoint ?? join(manager.dir, "mnt");
    await Deno.mkdir(mountpoint, { recursive: true });
    const escaped = await manager.output("systemd-escape", ["--path", mountpoint]);
    const unit = new MusicfsUnit(manager, mountpoint, escaped.trim(), options.origins);
    await unit.setEnv(options.env ?? {});
    return unit;
  }

  /** Writes the environment file anew, for the next start; `env` are more variables. */
  async setEnv(env: Record<string, string>): Promise<void> {
    const all = { MUSICFS_ORIGIN: this.origins.join(" "), MUSICFS_CACHE: "on", ...env };
    const lines = Object.entries(all).map(([name, value]) => `${name}="${value}"\n`);
    const file = join(this.manager.dir, "config/musicfs", `${this.mountpoint}.env`);
    await Deno.mkdir(dirname(file), { recursive: true });
    await Deno.writeTextFile(file, lines.join(""));
  }

  get name(): string {
    return `musicfs@${this.instance}.service`;
  }

  get cacheDir(): string {
    return join(this.manager.dir, "cache/musicfs", this.instance);
  }

  /** Adds `text`, a part of a unit file, to this instance; in force from its next start. */
  async dropIn(text: string): Promise<void> {
    const folder = join(this.manager.dir, "config/systemd/user", `${this.name}.d`);
    await Deno.mkdir(folder, { recursive: true });
    await Deno.writeTextFile(join(folder, `${crypto.randomUUID()}.conf`), text);
    await this.manager.ctl("daemon-reload");
  }

  /** `systemctl start`: returns once the unit is READY. */
  async start(): Promise<void> {
    await this.manager.ctl("start", this.name);
  }

  property(name: string): Promise<string> {
    return this.manager.property(this.name, name);
  }

  /** The daemon's process; 0 while there is none. */
  async pid(): Promise<number> {
    return Number(await this.property("MainPID"));
  }

  /** As "active (running)". */
  async state(): Promise<string> {
    const [active, sub] = [await this.property("ActiveState"), await this.property("SubState")];
    return `${active} (${sub})`;
  }

  /** Restarts that systemd made by itself. */
  async restarts(): Promise<number> {
    return Number(await this.property("NRestarts"));
  }

  /** SIGKILL to the daemon, whichever it is now; its process ID. */
  async kill(): Promise<number> {
    const pid = await this.pid();
    if (pid <= 0) throw new Error(`No daemon to kill\n${await this.manager.log()}`);
    Deno.kill(pid, "SIGKILL");
    return pid;
  }

  /** Waits until the unit is `active` with another daemon than `pid`. */
  async replaced(pid: number): Promise<void> {
    await this.until(async () => {
      const now = await this.pid();
      return now > 0 && now !== pid && await this.property("ActiveState") === "active";
    }, `a successor of ${pid}`);
  }

  /** Waits for what a unit comes to by itself. */
  async until(holds: () => Promise<boolean>, what: string): Promise<void> {
    try {
      await eventually(holds, { ms: MANAGER_MS_MAX, what });
    } catch (error) {
      throw new Error(`${error}\n${await this.state()}\n${await this.manager.log()}`);
    }
  }
}

/** No configuration of this machine's user; folders of its own. */
function managerEnv(dir: string): Record<string, string> {
  return {
    ...musicfsEnv(dir),
    XDG_CONFIG_HOME: join(dir, "config"),
    XDG_CACHE_HOME: join(dir, "cache"),
  };
}

async function installUnits(dir: string, units: "user" | "system"): Promise<void> {
  const from = join(PROJECT_DIR, units === "user" ? "systemd/user" : "systemd");
  const to = join(dir, "config/systemd/user");
  for (const name of ["musicfs@.service", "musicfs-check@.service"]) {
    const text = await Deno.readTextFile(join(from, name));
    const here = text.replaceAll("/usr/bin/musicfs", "musicfs")
      .replaceAll("/etc/musicfs", "%E/musicfs").replaceAll("/var/cache", "%C");
    await Deno.mkdir(join(to, `${name}.d`), { recursive: true });
    await Deno.writeTextFile(join(to, name), here);
    await Deno.writeTextFile(join(to, `${name}.d`, "00-test.conf"), serviceHere(dir));
  }
}

/** Where this machine's units find `musicfs`, and what they write, which no journal takes here. */
function serviceHere(dir: string): string {
  const log = join(dir, "service.log");
  return [
    "[Service]",
    `ExecSearchPath=${dir}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
    `StandardOutput=append:${log}`,
    `StandardError=append:${log}`,
    "",
  ].join("\n");
}

async function textOf(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}
