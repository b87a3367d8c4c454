/** What is measured beside musicfs: the limit in C, and rclone. Both end with their scope. */

import { join } from "node:path";
import { detach, mountsAt } from "../support/mounts.ts";
import { eventually, output, run, within } from "../support/process.ts";

export const RCLONE_VERSION = "v1.76.0";

/** Longest wait for a peer to mount or to end, in ms. */
const PEER_MS_MAX = 30_000;

/** Compiles a program of this folder into `dir`; its path. Needs gcc. */
export async function compiled(name: string, dir: string): Promise<string> {
  const source = new URL(`${name}.c`, import.meta.url).pathname;
  const program = join(dir, name);
  await output("gcc", ["-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source]);
  return program;
}

/** A program in the foreground that serves a mount until it is unmounted. */
export class Served implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #errors: Promise<string>;
  #ending: Promise<void> | undefined;

  private constructor(child: Deno.ChildProcess, readonly mountpoint: string) {
    this.#child = child;
    this.#errors = new Response(child.stderr).text();
  }

  /** Starts the program and waits until its mount is there. */
  static async start(
    command: readonly [string, ...string[]],
    mountpoint: string,
  ): Promise<Served> {
    await Deno.mkdir(mountpoint, { recursive: true });
    const [program, ...args] = command;
    const child = new Deno.Command(program, {
      args,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const served = new Served(child, mountpoint);
    try {
      let ended = false;
      void child.status.then(() => (ended = true));
      await eventually(() => ended || mountsAt(mountpoint).length > 0, {
        ms: PEER_MS_MAX,
        what: `${program} mounted at ${mountpoint}`,
      });
      if (ended) throw new Error(`${command.join(" ")} ended: ${await served.#errors}`);
      return served;
    } catch (error) {
      await served[Symbol.asyncDispose]();
      throw error;
    }
  }

  get pid(): number {
    return this.#child.pid;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#ending ??= this.#end();
  }

  async #end(): Promise<void> {
    await detach(this.mountpoint);
    // An unmount ends both; one that was never mounted needs the signal.
    const ended = within(this.#child.status, { ms: 3_000, what: "end" });
    await ended.catch(() => this.#child.kill("SIGKILL"));
    await this.#child.status;
    await this.#errors;
  }
}

/** The limit, with one file `f` whose bytes are those of `data`; undefined without root. */
export async function startLimit(
  { dir, data }: { dir: string; data: string },
): Promise<Served | undefined> {
  if (Deno.uid() !== 0) return undefined;
  const mountpoint = join(dir, "limit");
  const program = await compiled("fuse_limit", dir);
  const served = await Served.start([program, mountpoint, data], mountpoint);
  await raiseReadAhead(mountpoint);
  return served;
}

/** rclone with the VFS cache of `dir`, over a folder. */
export async function startRclone(
  { program, origin, dir, name }: { program: string; origin: string; dir: string; name: string },
): Promise<Served> {
  const mountpoint = join(dir, `rclone-${name}`);
  const cache = join(dir, `rclone-${name}-cache`);
  const words = ["--vfs-cache-mode", "full", "--cache-dir", cache, "--config", "/dev/null"];
  const command = [program, "mount", origin, mountpoint, "--read-only", ...words] as const;
  return await Served.start(command, mountpoint);
}

/** Where rclone is: `$RCLONE`, Go's own folder, `PATH`; with its version. */
export async function findRclone(): Promise<{ program: string; version: string } | undefined> {
  const home = Deno.env.get("HOME") ?? "/root";
  const candidates = [Deno.env.get("RCLONE"), join(home, "go/bin/rclone"), "rclone"];
  for (const program of candidates) {
    if (!program) continue;
    const { code, stdout } = await run("env", [program, "version"]);
    if (code === 0) return { program, version: stdout.split("\n")[0]?.split(" ")[1] ?? "?" };
  }
  return undefined;
}

/** `go install` of the version that is compared with; about 2.5 minutes. */
export async function installRclone(): Promise<void> {
  const target = `github.com/rclone/rclone@${RCLONE_VERSION}`;
  await output("go", ["install", target], { limitMs: 1_200_000 });
}

/** What musicfs sets for a mount whose bytes are near, so that only the daemons differ. */
async function raiseReadAhead(mountpoint: string): Promise<void> {
  const device = (await output("mountpoint", ["-d", mountpoint])).trim();
  await Deno.writeTextFile(`/sys/class/bdi/${device}/read_ahead_kb`, "1024\n");
}
