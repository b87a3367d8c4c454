/** What a daemon tells while it runs: `musicfs events`, and hooks. */

import assert from "node:assert/strict";
import { join } from "node:path";
import * as v from "valibot";
import { encodeLine } from "../../src/mount/control_protocol.ts";
import { type DaemonEvent, DaemonEventSchema } from "../../src/mount/daemon_events.ts";
import {
  type Daemon,
  musicfs,
  musicfsCommand,
  musicfsEnv,
  startDaemon,
} from "../support/daemon.ts";
import { eventually, output, shell, within } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";

const NEEDS = ["fuse", "fusermount3", "find"] as const;

const MS_MAX = 60_000;

/** `musicfs events --json` in a process of its own. */
class Follower implements AsyncDisposable {
  readonly events: DaemonEvent[] = [];
  readonly child: Deno.ChildProcess;
  readonly #reading: Promise<void>;
  #stderr = "";

  constructor(cacheDir: string) {
    const [program, ...first] = musicfsCommand();
    this.child = new Deno.Command(program, {
      args: [...first, "events", "--json", "--cache-dir", cacheDir],
      clearEnv: true,
      env: musicfsEnv("/nonexistent"),
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#reading = this.#read();
  }

  /** Follows, and is sure to miss nothing from now on. */
  static async start(cacheDir: string): Promise<Follower> {
    const follower = new Follower(cacheDir);
    await follower.sees(({ event }) => event === "connected");
    return follower;
  }

  async sees(what: (event: DaemonEvent) => boolean): Promise<void> {
    await eventually(() => this.events.some(what), {
      ms: MS_MAX,
      what: `${what}; came: ${JSON.stringify(this.events.slice(-20))} ${this.#stderr}`,
    });
  }

  async ends(): Promise<{ code: number; stderr: string }> {
    const { code } = await within(this.child.status, { ms: MS_MAX, what: "the follower's end" });
    await this.#reading;
    return { code, stderr: this.#stderr };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // It has ended.
    }
    await this.ends();
  }

  async #read(): Promise<void> {
    const lines = async (): Promise<void> => {
      let text = "";
      for await (const part of this.child.stdout.pipeThrough(new TextDecoderStream())) {
        const whole = (text + part).split("\n");
        text = whole.pop() ?? "";
        for (const line of whole) this.events.push(v.parse(DaemonEventSchema, JSON.parse(line)));
      }
    };
    const errors = async (): Promise<void> => {
      for await (const part of this.child.stderr.pipeThrough(new TextDecoderStream())) {
        this.#stderr += part;
      }
    };
    await Promise.all([lines(), errors()]);
  }
}

testWith(
  NEEDS,
  "events tells of files, of an origin that goes and comes, and of the end",
  async () => {
    await using dir = await tempDir("events");
    const origin = join(dir.path, "origin");
    await shell(`mkdir -p origin/A && for i in 1 2 3 4 5 6; do echo $i >origin/A/$i.flac; done`, {
      cwd: dir.path,
    });
    const args = ["--cache", "on", "--poll-interval", "500ms"];
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin], args });
    await output("find", [daemon.mountpoint]);
    const { cacheDir } = daemon;
    await using first = await Follower.start(cacheDir);
    await using second = await Follower.start(cacheDir);
    await shell("echo new >A/new.flac; echo longer >>A/1.flac; rm A/2.flac", { cwd: origin });
    for (const follower of [first, second]) {
      await follower.sees((event) => event.event === "added" && event.path === "A/new.flac");
      await follower.sees((event) => event.event === "changed" && event.path === "A/1.flac");
      await follower.sees((event) => event.event === "removed" && event.path === "A/2.flac");
      await follower.sees((event) => event.event === "scan_ended" && event.state === "complete");
    }
    await Deno.rename(join(origin, "A/3.flac"), join(origin, "B.flac"));
    await first.sees((event) =>
      event.event === "moved" && event.path === "B.flac" && event.from === "A/3.flac"
    );
    await Deno.rename(origin, `${origin}-away`);
    await first.sees((event) => event.event === "origin_down" && event.origin === origin);
    await Deno.rename(`${origin}-away`, origin);
    await first.sees((event) => event.event === "origin_up" && event.offline_s > 0);
    second.child.kill("SIGINT");
    assert.deepEqual(await second.ends(), { code: 0, stderr: "" });
    assert.equal(await daemon.stop(), 0);
    assert.deepEqual(await first.ends(), { code: 0, stderr: "" });
    assert.deepEqual(first.events.at(-1)?.event, "stopping");
    assert(first.events.every(({ time_ms }) => Math.abs(time_ms - Date.now()) < 600_000));
  },
);

testWith(NEEDS, "events ends with a closed pipe, and says when the daemon was killed", async () => {
  await using dir = await tempDir("events");
  const origin = join(dir.path, "origin");
  await Deno.mkdir(origin);
  const args = ["--cache", "on", "--poll-interval", "500ms"];
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin], args });
  const { cacheDir } = daemon;
  const none = await musicfs(["events", "--cache-dir", origin]);
  assert.deepEqual([none.code, none.stdout], [1, ""]);
  assert.match(none.stderr, /^musicfs: No daemon serves the cache [^\n]+\n$/);
  const command = musicfsCommand().map((word) => `'${word}'`).join(" ");
  const env = musicfsEnv("/nonexistent");
  // Scans tell something every half second, so the closed pipe shows.
  const piped = await shell(
    `set +o pipefail; { ${command} events --cache-dir '${cacheDir}'; echo "code $?" >&2; } 2>&1 | head -n 1`,
    { clearEnv: true, env },
  );
  assert.match(piped, /^\S+Z +connected +to daemon \d+ at /);
  await using follower = await Follower.start(cacheDir);
  await daemon.kill();
  const { code, stderr } = await follower.ends();
  assert.equal(code, 1);
  assert.match(stderr, /^musicfs: The daemon ended without a word[^\n]*\n$/);
});

testWith(
  NEEDS,
  "clients that do not read cost the daemon nothing while 20,000 files change",
  async () => {
    await using dir = await tempDir("events");
    const origin = join(dir.path, "origin");
    await shell(`mkdir origin && cd origin && mkdir $(seq 20)`, { cwd: dir.path });
    const args = ["--cache", "on", "--poll-interval", "1s"];
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin], args });
    const silent: Deno.Conn[] = [];
    for (let i = 0; i < 2; i += 1) {
      const connection = await Deno.connect({
        transport: "unix",
        path: join(daemon.cacheDir, "control.sock"),
      });
      silent.push(connection);
      await connection.write(encodeLine({ version: 1, id: 1, command: "events", args: {} }));
    }
    await using follower = await Follower.start(daemon.cacheDir);
    await shell(
      `for d in *; do (cd $d && seq -f '%05g ${
        "x".repeat(180)
      }.flac' 1000 | xargs -d '\\n' touch); done`,
      {
        cwd: origin,
      },
    );
    const counts = (): Record<string, number> => {
      const groups = Map.groupBy(follower.events, ({ event }) => event).entries();
      return Object.fromEntries(groups.map(([event, { length }]) => [event, length]));
    };
    await eventually(() => counts()["added"] === 20_000, { ms: MS_MAX, what: "20,000 files" })
      .catch((error) => assert.fail(`${error}: ${JSON.stringify(counts())} ${daemon.log}`));
    assert(!follower.events.some(({ event }) => event === "lost"));
    assert(await residentBytes(daemon) < 600 * 1024 * 1024);
    for (const connection of silent) connection.close();
    assert.equal(await daemon.stop(), 0);
  },
);

async function residentBytes(daemon: Daemon): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${await daemon.pid()}/status`);
  return Number(/^VmRSS:\s*(\d+) kB/m.exec(status)?.[1]) * 1024;
}
