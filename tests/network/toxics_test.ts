/** Links that are slow, cut up or broken off in the middle: the bytes are right all the same. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { startDaemon } from "../support/daemon.ts";
import { output } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { rounds } from "../support/scale.ts";
import { type Proxy, startToxiproxy } from "../support/servers/toxiproxy.ts";
import { tempDir } from "../support/temp_dir.ts";
import { filesIn, writeTracks } from "./library.ts";
import { REMOTE_KINDS, REMOTE_NEEDS, startRemote } from "./remote.ts";

const ALBUM = {
  count: rounds({ ci: 3, long: 24 }),
  bytes: rounds({ ci: 900_000, long: 9_000_000 }),
};

/** How long a link stays deaf, in ms. */
const DEAF_MS = 1_500;

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

function later(ms: number, act: () => Promise<void>): void {
  pending.push(new Promise((resolve) => setTimeout(resolve, ms)).then(act));
}
