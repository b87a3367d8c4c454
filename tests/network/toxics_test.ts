/** Links that are slow, cut up or broken off in the middle: the bytes are right all the same. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { startDaemon } from "../support/daemon.ts";
import { eventually, output } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { rounds } from "../support/scale.ts";
import { type Proxy, startToxiproxy } from "../support/servers/toxiproxy.ts";
import { tempDir } from "../support/temp_dir.ts";
import { filesIn, writeTracks } from "./library.ts";
import { readBeside, type Reading, REMOTE_KINDS, REMOTE_NEEDS, startRemote } from "./remote.ts";

const ALBUM = {
  count: rounds({ ci: 3, long: 24 }),
  bytes: rounds({ ci: 900_000, long: 9_000_000 }),
};

/** How long a link stays deaf, in ms. */
const DEAF_MS = 1_500;

/** `--read-timeout` where the link stays deaf, and by how much an error may come later, in ms. */
const READ_TIMEOUT_MS = 6_000;
const GRACE_MS = 5_000;

/** What is done to the link once the tree is known and nothing is cached. */
const TOXICS: Readonly<Record<string, (proxy: Proxy) => Promise<unknown>>> = {
  "latency and jitter": (proxy) => proxy.add("latency", { latency: 80, jitter: 40 }),
  "a narrow link": (proxy) => proxy.add("bandwidth", { rate: 1_500 }),
  "bytes in slices": (proxy) =>
    proxy.add("slicer", { average_size: 700, size_variation: 600, delay: 50 }),
  "connections that end after some bytes": (proxy) => proxy.add("limit_data", { bytes: 400_000 }),
  "connections that are reset": async (proxy) => {
    const toxic = await proxy.add("reset_peer", { timeout: 300 });
    later(1_000, () => proxy.remove(toxic));
  },
  "closes that come late": (proxy) => proxy.add("slow_close", { delay: 500 }),
  "a link that is deaf for a while": async (proxy) => {
    const toxic = await proxy.add("timeout", { timeout: 0 });
    later(DEAF_MS, () => proxy.remove(toxic));
  },
  "a proxy that goes away and comes back": async (proxy) => {
    await proxy.disable();
    later(DEAF_MS, () => proxy.enable());
  },
};

/** What `later` will do; awaited before the proxy goes. */
const pending: Promise<unknown>[] = [];

for (const kind of REMOTE_KINDS) {
  testWith(
    [...REMOTE_NEEDS[kind], "toxiproxy"],
    `mount over ${kind} gives the right bytes through every toxic`,
    async (context) => {
      await using dir = await tempDir(`toxics-${kind}`);
      const copy = join(dir.path, "copy");
      await writeTracks(copy, ALBUM);
      await using remote = await startRemote(kind, copy);
      await using toxiproxy = await startToxiproxy();
      await using proxy = await toxiproxy.proxyTo(remote.port);
      for (const [name, poison] of Object.entries(TOXICS)) {
        await context.step(name, async () => {
          const cacheDir = join(dir.path, name);
          await using daemon = await startDaemon({
            dir: dir.path,
            origins: [remote.url(proxy.port)],
            env: remote.env,
            cacheDir,
          });
          assert.deepEqual(await filesIn(daemon.mountpoint), await filesIn(copy));
          await poison(proxy);
          try {
            await output("diff", ["-r", copy, daemon.mountpoint]);
          } finally {
            await Promise.all(pending.splice(0));
            await proxy.clear();
          }
        });
      }
    },
  );
}

for (const kind of REMOTE_KINDS) {
  testWith(
    [...REMOTE_NEEDS[kind], "toxiproxy"],
    `a server over ${kind} that hangs: EIO in time, what is cached plays, and all of it afterwards`,
    async () => {
      await using dir = await tempDir(`hangs-${kind}`);
      const copy = join(dir.path, "copy");
      const folders = ["cached", "cold", "later"];
      for (const folder of folders) {
        await writeTracks(join(copy, folder), { count: 1, bytes: 900_000 });
      }
      await using remote = await startRemote(kind, copy);
      await using toxiproxy = await startToxiproxy();
      await using proxy = await toxiproxy.proxyTo(remote.port);
      await using daemon = await startDaemon({
        dir: dir.path,
        origins: [remote.url(proxy.port)],
        env: remote.env,
        args: ["--read-timeout", `${READ_TIMEOUT_MS}ms`],
      });
      const read = (folder: string): Promise<Reading> =>
        readBeside(...both(join(folder, "Track 00.flac"), daemon.mountpoint, copy));
      assert.equal((await filesIn(daemon.mountpoint)).length, folders.length);
      assert.equal((await read("cached")).code, 0, daemon.log);

      await proxy.add("timeout", { timeout: 0 });
      const hanging = read("cold");
      assert.equal((await read("cached")).code, 0, "what is cached does not wait");
      const { code, stderr, ms } = await hanging;
      assert.equal(code, 2);
      assert.match(stderr, /Input\/output error/);
      assert.ok(
        ms > READ_TIMEOUT_MS - 100 && ms < READ_TIMEOUT_MS + GRACE_MS,
        `EIO after ${ms} ms`,
      );

      await proxy.clear();
      await eventually(async () => (await read("later")).code === 0, {
        ms: 30_000,
        what: "the server's bytes again",
      });
      await output("diff", ["-r", copy, daemon.mountpoint]);
    },
  );
}

function both(file: string, mountpoint: string, copy: string): [string, string] {
  return [join(mountpoint, file), join(copy, file)];
}

function later(ms: number, act: () => Promise<void>): void {
  pending.push(new Promise((resolve) => setTimeout(resolve, ms)).then(act));
}
