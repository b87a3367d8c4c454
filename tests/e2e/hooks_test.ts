/** Hooks of a real daemon: commands that read its mount, webhooks, and what they are not given. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type Daemon, startDaemon } from "../support/daemon.ts";
import { eventually, output, shell } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";

const NEEDS = ["fuse", "fusermount3", "find"] as const;

const MS_MAX = 60_000;

interface Rig {
  dir: string;
  origin: string;
  /** The text of a file that a hook writes; "" while there is none. */
  written(name: string): Promise<string>;
}

/** A daemon with the hooks of `toml`, in which `DIR` is a folder for what they write. */
async function withHooks(
  toml: string,
  use: (daemon: Daemon, rig: Rig) => Promise<void>,
): Promise<void> {
  await using temp = await tempDir("hooks");
  const dir = temp.path;
  const origin = join(dir, "origin");
  await Deno.mkdir(join(origin, "A"), { recursive: true });
  await writeNoise(join(origin, "A/first.flac"), { bytes: 400_000, seed: 1 });
  const config = join(dir, "config.toml");
  await Deno.writeTextFile(config, toml.replaceAll("DIR", dir));
  const args = ["--cache", "on", "--poll-interval", "500ms", "--config", config];
  await using daemon = await startDaemon({ dir, origins: [origin], args });
  const written = async (name: string): Promise<string> => {
    try {
      return await Deno.readTextFile(join(dir, name));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return "";
      throw error;
    }
  };
  await use(daemon, { dir, origin, written });
}

/** Waits for a number of lines in a file. */
async function lines({ written }: Rig, name: string, count: number): Promise<string[]> {
  let all: string[] = [];
  await eventually(async () => {
    all = (await written(name)).split("\n").filter(Boolean);
    return all.length >= count;
  }, { ms: MS_MAX, what: `${count} lines in ${name}` });
  return all;
}

testWith(
  NEEDS,
  "a hook is told what changed, reads it through the mount, and has none of its descriptors",
  async () => {
    const script = 'cat "$MUSICFS_MOUNTPOINT"/A/* | wc -c >>DIR/read; ' +
      "readlink /proc/self/fd/* /proc/$$/fd/* >>DIR/descriptors; " +
      "echo $MUSICFS_ADDED $MUSICFS_CHANGED $MUSICFS_REMOVED $MUSICFS_FOLDER >>DIR/counts; cat >>DIR/told";
    const hook = `[[hook]]\ncommand = ["sh", "-c", '''${script}''']\nmin_interval = "0"\n`;
    await withHooks(hook, async (_, rig) => {
      assert.deepEqual(await lines(rig, "told", 1), ['{"kind":"added","path":"A/first.flac"}']);
      assert.deepEqual(await lines(rig, "counts", 1), ["1 0 0 A"]);
      assert.equal((await rig.written("read")).trim(), "400000");
      await writeNoise(join(rig.origin, "A/second.flac"), { bytes: 300_000, seed: 2 });
      const told = await lines(rig, "told", 2);
      assert.deepEqual(told[1], '{"kind":"added","path":"A/second.flac"}');
      assert.equal((await rig.written("read")).trim().split("\n")[1], "700000");
      const descriptors = await lines(rig, "descriptors", 4);
      for (const target of descriptors) {
        assert.match(target, /^(pipe:\[\d+\]|\/dev\/null|\/proc\/.*|.*\/descriptors)$/, target);
      }
    });
  },
);

testWith(NEEDS, "a hook whose program lies in the mount stops nothing", async () => {
  const hook = '[[hook]]\ncommand = ["DIR/mnt/A/first.flac"]\nmin_interval = "0"\n';
  await withHooks(hook, async (daemon) => {
    // Files of the mount are 0444. The daemon itself must not be who waits for that answer.
    await eventually(() => /A hook failed.*exit code 126/.test(daemon.log), {
      ms: MS_MAX,
      what: `the line in the log: ${daemon.log}`,
    });
    await output("find", [daemon.mountpoint]);
    assert.equal(await daemon.stop(), 0);
  });
});

testWith(NEEDS, "a hook runs once for a burst, and no more often than its interval", async () => {
  const hook = '[[hook]]\ncommand = ["sh", "-c", "date +%s%N >>DIR/ran; cat >>DIR/told"]\n' +
    'min_interval = "5s"\n';
  await withHooks(hook, async (_, rig) => {
    await lines(rig, "ran", 1);
    for (let round = 0; round < 4; round += 1) {
      await shell(`for i in $(seq 50); do echo ${round} >A/${round}-$i.flac; done; sleep 2`, {
        cwd: rig.origin,
      });
    }
    const told = await lines(rig, "told", 201);
    assert.equal(told.length, 201, "each once");
    const ran = (await lines(rig, "ran", 2)).map((ns) => Number(ns) / 1e6);
    assert(ran.length <= 5, `${ran.length} runs`);
    for (const [i, ms] of ran.entries()) assert(i === 0 || ms - (ran[i - 1] ?? 0) > 4_500);
  });
});

testWith(
  NEEDS,
  "a hook that hangs is ended with all that it started, and with the daemon",
  async () => {
    const script = "sh -c 'sleep 1000; :' & echo $! >>DIR/pids; echo $$ >>DIR/pids; wait";
    const hook = (timeout: string): string =>
      `[[hook]]\ncommand = ["sh", "-c", '''${script}''']\ntimeout = "${timeout}"\n`;
    const areGone = async (pids: string[]): Promise<boolean> => {
      const running = await shell(`ps -o stat= -p ${pids.join(",")} | grep -v Z || true`);
      return running.trim() === "";
    };
    await withHooks(hook("1s"), async (daemon, rig) => {
      const pids = await lines(rig, "pids", 2);
      await eventually(() => /A hook failed.*no end within 1000 ms/.test(daemon.log), {
        ms: MS_MAX,
        what: "the line in the log",
      });
      assert(await areGone(pids));
      await output("find", [daemon.mountpoint]);
    });
    await withHooks(hook("1h"), async (daemon, rig) => {
      const pids = await lines(rig, "pids", 2);
      assert(!await areGone(pids));
      assert.equal(await daemon.stop(), 0);
      assert(await areGone(pids));
    });
  },
);

testWith(NEEDS, "a webhook is told by POST, and one that hangs stops nothing", async () => {
  const asked: { path: string; body: string }[] = [];
  const release = Promise.withResolvers<void>();
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async (request) => {
      const { pathname, search } = new URL(request.url);
      asked.push({ path: pathname + search, body: await request.text() });
      if (pathname === "/hangs") await release.promise;
      return new Response("ok");
    },
  );
  const url = `http://127.0.0.1:${server.addr.port}`;
  const hooks = `[[hook]]\nurl = "${url}/told?token=hidden"\nmin_interval = "0"\n` +
    `[[hook]]\nurl = "${url}/hangs?token=hidden"\ntimeout = "1s"\n`;
  try {
    await withHooks(hooks, async (daemon, rig) => {
      await eventually(() => asked.length === 2, { ms: MS_MAX, what: "both requests" });
      const told = asked.find(({ path }) => path === "/told?token=hidden");
      assert.deepEqual(JSON.parse(told?.body ?? ""), {
        truncated: false,
        added: 1,
        changed: 0,
        moved: 0,
        removed: 0,
        folders: ["A"],
        changes: [{ kind: "added", path: "A/first.flac" }],
      });
      await eventually(() => /A hook failed.*no answer within 1000 ms/.test(daemon.log), {
        ms: MS_MAX,
        what: "the line in the log",
      });
      await Deno.remove(join(rig.origin, "A/first.flac"));
      await Deno.writeTextFile(join(rig.origin, "A/second.flac"), "second");
      const isTold = (): boolean =>
        asked.some(({ path, body }) =>
          path.startsWith("/told") && body.includes('{"kind":"removed","path":"A/first.flac"}')
        );
      await eventually(isTold, { ms: MS_MAX, what: "the change" });
      assert.equal(await daemon.stop(), 0);
      assert.doesNotMatch(daemon.log, /hidden/);
    });
  } finally {
    release.resolve();
  }
});
