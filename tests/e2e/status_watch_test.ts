/** `musicfs status --watch`, through a daemon's death and return. */

import assert from "node:assert/strict";
import { musicfs, musicfsCommand, musicfsEnv, startDaemon } from "../support/daemon.ts";
import { eventually, within } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";

const MS_MAX = 60_000;

interface Told {
  time_ms: number;
  pid: number | null;
  mountpoint?: string;
  error?: string;
  tasks?: { name: string; state: string; restarts: number }[];
}

/** `musicfs status --watch` in a process of its own. */
class Watcher implements AsyncDisposable {
  readonly lines: string[] = [];
  readonly child: Deno.ChildProcess;
  readonly #reading: Promise<void>;
  #status: Deno.CommandStatus | undefined;
  readonly ended: Promise<Deno.CommandStatus>;

  constructor(cacheDir: string, words: readonly string[] = ["--json"]) {
    const [program, ...first] = musicfsCommand();
    const watch = ["status", "--watch", "--interval", "100ms", "--cache-dir", cacheDir];
    this.child = new Deno.Command(program, {
      args: [...first, ...watch, ...words],
      clearEnv: true,
      env: musicfsEnv("/nonexistent"),
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.ended = this.child.status.then((status) => this.#status = status);
    this.#reading = this.#read();
  }

  /** Waits for an object of which that is true. */
  async sees(what: (told: Told) => boolean): Promise<Told> {
    let found: Told | undefined;
    await eventually(() => {
      found = this.lines.map((line): Told => JSON.parse(line)).find(what);
      return found !== undefined;
    }, { ms: MS_MAX, what: `${what}; came: ${this.lines.slice(-3).join("\n")}` });
    assert(found);
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#status) this.child.kill("SIGKILL");
    await this.ended;
    await this.#reading;
  }

  async #read(): Promise<void> {
    let text = "";
    for await (const part of this.child.stdout.pipeThrough(new TextDecoderStream())) {
      const whole = (text + part).split("\n");
      text = whole.pop() ?? "";
      this.lines.push(...whole);
    }
  }
}

testWith(
  ["fuse", "fusermount3"],
  "status --watch goes on when its daemon is killed and comes back, until Ctrl-C",
  async () => {
    await using dir = await tempDir("watch");
    const origin = `${dir.path}/music`;
    await writeNoise(`${origin}/a.flac`, { bytes: 4096, seed: 1 });
    const options = { dir: dir.path, origins: [origin] };
    const cacheDir = `${dir.path}/cache`;
    await Deno.mkdir(cacheDir);
    await using watcher = new Watcher(cacheDir);
    await watcher.sees(({ pid, error }) =>
      pid === null && /Cannot reach a daemon/.test(error ?? "")
    );
    let killed: number;
    {
      await using daemon = await startDaemon(options);
      killed = await daemon.pid();
      const told = await watcher.sees(({ pid }) => pid === killed);
      assert.equal(told.mountpoint, daemon.mountpoint);
      assert(told.tasks?.some(({ name, state }) => name === "flush" && state === "running"));
      assert(Math.abs(told.time_ms - Date.now()) < MS_MAX);
      await daemon.kill();
    }
    const seen = watcher.lines.length;
    await eventually(() => watcher.lines.slice(seen).some((line) => line.includes('"error":')), {
      ms: MS_MAX,
      what: "word of the death",
    });
    await using daemon = await startDaemon(options);
    const successor = await daemon.pid();
    await watcher.sees(({ pid }) => pid === successor && pid !== killed);
    watcher.child.kill("SIGINT");
    const { code } = await within(watcher.ended, { ms: MS_MAX, what: "the watcher's end" });
    assert.equal(code, 0);
    assert.equal(await daemon.stop(), 0);
  },
);

testWith(
  ["fuse", "fusermount3"],
  "status --watch tells of a daemon that hangs, and ends when nobody reads it",
  async () => {
    await using dir = await tempDir("watch");
    const origin = `${dir.path}/music`;
    await writeNoise(`${origin}/a.flac`, { bytes: 4096, seed: 1 });
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
    await using watcher = new Watcher(daemon.cacheDir, []);
    const shows = async (text: RegExp): Promise<void> =>
      await eventually(() => text.test(watcher.lines.join("\n")), {
        ms: MS_MAX,
        what: `${text} in ${watcher.lines.slice(-30).join("\n")}`,
      });
    await shows(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\nmounted {2}/m);
    Deno.kill(await daemon.pid(), "SIGSTOP");
    try {
      await shows(/^The daemon does not answer within 5 s; waiting$/m);
    } finally {
      Deno.kill(await daemon.pid(), "SIGCONT");
    }
    const [program, ...first] = musicfsCommand();
    const words = [...first, "status", "--watch", "--interval", "100ms", "--cache-dir"];
    const unread = new Deno.Command(program, {
      args: [...words, daemon.cacheDir],
      clearEnv: true,
      env: musicfsEnv("/nonexistent"),
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    await unread.stdout.cancel();
    const { code } = await within(unread.status, { ms: MS_MAX, what: "the end" });
    assert.equal(code, 0);
    for (
      const [words, message] of [
        [["--watch", "--interval", "1ms"], /--interval cannot be "1ms"/],
        [["--interval", "1s"], /--interval goes with --watch/],
      ] as const
    ) {
      const refused = await musicfs(["status", "--cache-dir", daemon.cacheDir, ...words]);
      assert.equal(refused.code, 2);
      assert.match(refused.stderr, message);
    }
    assert.equal(await daemon.stop(), 0);
  },
);
