/**
 * A copy of the project in which the program can be broken without harm: sources copied,
 * `node_modules` linked. Tests run in it have their temporary files in it too, so that what a
 * broken program leaves behind can be found and ended.
 */

import { join } from "node:path";
import { detach, mounts } from "../support/mounts.ts";
import { output, shell } from "../support/process.ts";
import { countReport } from "../support/junit_report.ts";

const PROJECT_DIR = new URL("../..", import.meta.url).pathname;

/** Of tests that go by chance: with it the model of readers meets an overwritten chunk. */
const SEED = "446062417";

/** How one test ended. */
export interface Outcome {
  kind: "passed" | "failed" | "absent" | "skipped" | "killed";
  /** Of a failed test, what was thrown. */
  reason: string;
  seconds: number;
}

export class Scratch implements AsyncDisposable {
  readonly #root: string;

  private constructor(root: string) {
    this.#root = root;
  }

  static async make(): Promise<Scratch> {
    // Short, because sockets lie below it: their paths have 107 bytes at most.
    const root = await Deno.makeTempDir({ prefix: "mut-" });
    await Deno.chmod(root, 0o755);
    const scratch = new Scratch(root);
    await Deno.mkdir(scratch.#project);
    await Deno.mkdir(scratch.#temp);
    await Deno.chmod(scratch.#temp, 0o1777);
    // What is deleted, but not committed so, is listed all the same.
    await shell(
      `git ls-files -z --cached --others --exclude-standard | ` +
        `xargs -0 sh -c 'for f; do [ -e "$f" ] && printf "%s\\0" "$f"; done' sh | ` +
        `xargs -0 cp --parents -t '${scratch.#project}'`,
      { cwd: PROJECT_DIR },
    );
    await Deno.symlink(join(PROJECT_DIR, "node_modules"), join(scratch.#project, "node_modules"));
    return scratch;
  }

  get #project(): string {
    return join(this.#root, "p");
  }

  get #temp(): string {
    return join(this.#root, "t");
  }

  /** Changes the only place where `search` stands; the function puts it back. Undefined if it is not one. */
  async change(
    file: string,
    { search, replace }: { search: string; replace: string },
  ): Promise<(() => Promise<void>) | undefined> {
    const path = join(this.#project, file);
    const text = await Deno.readTextFile(path);
    const parts = text.split(search);
    if (parts.length !== 2) return undefined;
    await Deno.writeTextFile(path, parts.join(replace));
    return () => Deno.writeTextFile(path, text);
  }

  /** Runs one test. Its types are not checked: what is broken on purpose may not fit any more. */
  async runTest(
    { file, name }: { file: string; name: string },
    limitS: number,
  ): Promise<Outcome> {
    const report = join(this.#root, "report.xml");
    const began = performance.now();
    // timeout(1) makes a process group of its own, and ends all of it.
    const { code } = await new Deno.Command("timeout", {
      args: [
        ...["-k", "10", String(limitS), Deno.execPath(), "test", "-A", "--no-check"],
        ...[`--junit-path=${report}`, "--filter", name, file],
      ],
      cwd: this.#project,
      env: { TMPDIR: this.#temp, NO_COLOR: "1", MUSICFS_SEED: "1", MUSICFS_TEST_SEED: SEED },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).output();
    const seconds = (performance.now() - began) / 1000;
    const xml = await readAway(report);
    await this.#clearAway();
    // Only a run that came to its end writes a report.
    if (xml === undefined) {
      return { kind: "killed", reason: code === 124 ? "time is over" : `exit ${code}`, seconds };
    }
    const { passed, failed, skipped } = countReport(xml);
    const failure = failed.find((test) => test.name === name) ??
      failed.find((test) => test.name.startsWith(name));
    if (failure) return { kind: "failed", reason: failure.reason, seconds };
    if (skipped.includes(name)) return { kind: "skipped", reason: "", seconds };
    return { kind: passed > 0 && failed.length === 0 ? "passed" : "absent", reason: "", seconds };
  }

  /** Ends the processes and mounts of this copy, which a broken program may leave behind. */
  async #clearAway(): Promise<void> {
    for (const pid of await this.#processes()) {
      try {
        Deno.kill(pid, "SIGKILL");
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
    for (const { mountpoint } of mounts()) {
      if (mountpoint.startsWith(`${this.#root}/`)) await detach(mountpoint);
    }
    await output("sh", ["-c", `rm -rf --one-file-system -- '${this.#temp}'/*`]);
  }

  /** Processes that were started with a path of this copy, or in it. */
  async #processes(): Promise<number[]> {
    const found: number[] = [];
    for await (const { name } of Deno.readDir("/proc")) {
      if (!/^\d+$/.test(name)) continue;
      const command = await readIfThere(`/proc/${name}/cmdline`);
      if (command.includes(`${this.#root}/`)) found.push(Number(name));
    }
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#clearAway();
    await output("rm", ["-rf", "--one-file-system", "--", this.#root]);
  }
}

async function readAway(path: string): Promise<string | undefined> {
  try {
    const text = await Deno.readTextFile(path);
    await Deno.remove(path);
    return text;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** A process may end while it is looked at; Deno says so in more than one way. */
async function readIfThere(path: string): Promise<string> {
  return await Deno.readTextFile(path).catch(() => "");
}
