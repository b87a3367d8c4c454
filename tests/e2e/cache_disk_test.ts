/** Rows C1 and C2: the disk that the cache lies on is full, read-only, closed to us, or gone. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { Daemon, type DaemonOptions, musicfs, startDaemon } from "../support/daemon.ts";
import { eventually, output, run } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise } from "../support/sample_library.ts";
import { rounds } from "../support/scale.ts";
import { type SmallDisk, smallDisk } from "../support/small_disk.ts";
import { tempDir } from "../support/temp_dir.ts";

const NEEDS = ["root", "mount", "fuse", "fusermount3"] as const;
const MIB = 1024 * 1024;
const TRACKS = 12;

/** Tracks that no test reads before it wants to know whether they are kept. */
const FRESH = 20;

/** Longest wait for a state to show, in ms: the disk is looked at every 5 s. */
const STATE_MS_MAX = 30_000;

interface Rig extends AsyncDisposable {
  dir: string;
  origin: string;
  disk: SmallDisk;
  /** Starts a daemon with its cache on the disk. */
  start(options?: Partial<DaemonOptions>): Promise<Daemon>;
}

/** An origin of 12 MB, and a disk of 20 MiB for the cache. */
async function onSmallDisk(): Promise<Rig> {
  await using stack = new AsyncDisposableStack();
  const dir = stack.use(await tempDir("cache-disk"));
  const disk = stack.use(await smallDisk(20 * MIB));
  const origin = join(dir.path, "origin");
  for (let i = 0; i < TRACKS + FRESH; i += 1) {
    await writeNoise(join(origin, `${i}.flac`), { bytes: 1_000_000 + i, seed: i + 1 });
  }
  const all = stack.move();
  return {
    dir: dir.path,
    origin,
    disk,
    start: (options = {}) =>
      startDaemon({
        dir: dir.path,
        origins: [origin],
        cacheDir: join(disk.path, "cache"),
        args: ["--cache", "on", "--max-size", "1G"],
        ...options,
      }),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

async function cacheOf(daemon: Daemon): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await musicfs(["status", "--json", daemon.mountpoint], {
    home: join(daemon.mountpoint, ".."),
  });
  assert.equal(code, 0, stderr + daemon.log);
  return JSON.parse(stdout).cache;
}

/** Waits until `cache.disk_state` is one of `states`. */
async function becomes(daemon: Daemon, ...states: string[]): Promise<void> {
  await eventually(async () => states.includes(String((await cacheOf(daemon))["disk_state"])), {
    ms: STATE_MS_MAX,
    what: `${states.join(" or ")}:\n${daemon.log}`,
  });
}

async function assertSame(
  { origin }: Rig,
  daemon: Daemon,
  tracks: Iterable<number>,
): Promise<void> {
  for (const i of tracks) {
    const paths = [join(origin, `${i}.flac`), join(daemon.mountpoint, `${i}.flac`)];
    const { code, stdout, stderr } = await run("cmp", paths);
    assert.equal(code, 0, `${stdout}${stderr}\n${daemon.log}`);
  }
}

/** Waits until a track that was never read before is kept. */
async function keepsAgain(rig: Rig, daemon: Daemon): Promise<void> {
  let track = TRACKS;
  await eventually(async () => {
    const before = Number((await cacheOf(daemon))["chunk_bytes"]);
    // The last ones again: the kernel has them.
    await assertSame(rig, daemon, [Math.min(track, TRACKS + FRESH - 1)]);
    track += 1;
    const { chunk_bytes, extent_bytes } = await cacheOf(daemon);
    return Number(chunk_bytes) + Number(extent_bytes) > before;
  }, { ms: STATE_MS_MAX, what: `a track is kept:\n${daemon.log}` });
}

const all = Array.from({ length: TRACKS }, (_none, i) => i);

testWith(
  NEEDS,
  "a cache disk that is filled to the last byte costs no read, and is used again",
  async () => {
    await using rig = await onSmallDisk();
    await using daemon = await rig.start();
    await assertSame(rig, daemon, all.slice(0, 3));
    // What it gives back is taken at once, all the time.
    const filling = keepFilling(rig.disk);
    try {
      await becomes(daemon, "full", "refusing");
      await assertSame(rig, daemon, all);
      const { degraded, disk_used_ratio } = await cacheOf(daemon);
      assert.equal(degraded, true);
      assert(Number(disk_used_ratio) > 0.95, `${disk_used_ratio}`);
    } finally {
      await filling.stop();
    }
    await becomes(daemon, "ok");
    assert.equal((await cacheOf(daemon))["degraded"], false);
    await keepsAgain(rig, daemon);
    assert.equal(await daemon.stop(), 0, daemon.log);
  },
);

testWith(
  NEEDS,
  "a mount comes up on a full cache disk, fresh or with a cache, and caches later",
  async () => {
    await using rig = await onSmallDisk();
    {
      await using daemon = await rig.start();
      await assertSame(rig, daemon, all.slice(0, 3));
      assert.equal(await daemon.stop(), 0, daemon.log);
    }
    await rig.disk.fill();
    await using daemon = await rig.start();
    await assertSame(rig, daemon, all);
    await rig.disk.free();
    await becomes(daemon, "ok", "high");
    await keepsAgain(rig, daemon);
    assert.equal(await daemon.stop(), 0, daemon.log);
  },
);

/** What can happen to the disk, and what mends it. */
const REFUSALS: Readonly<
  Record<string, { harm: (rig: Rig) => Promise<unknown>; mend: (rig: Rig) => Promise<unknown> }>
> = {
  "lets nobody write (EPERM)": {
    harm: ({ disk }) => output("chattr", ["+i", ...folders(disk)]),
    mend: ({ disk }) => output("chattr", ["-i", ...folders(disk)]),
  },
};

/** Those that the cache writes to. */
function folders({ path }: SmallDisk): string[] {
  return ["tmp", "chunks", "extents", "manifests"].map((name) => join(path, "cache", name));
}

for (const [what, { harm, mend }] of Object.entries(REFUSALS)) {
  testWith(
    NEEDS,
    `a cache disk that ${what} costs no read, is tried again and used again`,
    async () => {
      await using rig = await onSmallDisk();
      await using daemon = await rig.start();
      await assertSame(rig, daemon, all.slice(0, 3));
      await harm(rig);
      try {
        await assertSame(rig, daemon, all);
        await becomes(daemon, "refusing");
        await assertSame(rig, daemon, all);
        daemon.signal("SIGHUP");
        await eventually(() => daemon.log.includes("Configuration read again"), {
          ms: STATE_MS_MAX,
          what: daemon.log,
        });
        await becomes(daemon, "refusing");
      } finally {
        await mend(rig);
      }
      // By itself within a minute; SIGHUP has it tried at once.
      if (rounds({ ci: 0, long: 1 }) === 0) daemon.signal("SIGHUP");
      await eventually(async () => (await cacheOf(daemon))["degraded"] === false, {
        ms: 60_000 + STATE_MS_MAX,
        what: daemon.log,
      });
      await keepsAgain(rig, daemon);
      assert.equal(await daemon.stop(), 0, daemon.log);
    },
  );
}

testWith(
  [...NEEDS, "loop", "mkfs.ext4"],
  "a cache disk that fails, as an ext4 does that found an error, costs no read and no daemon",
  async () => {
    await using rig = await onSmallDisk();
    await using ext4 = await failingDisk(rig.dir);
    await using daemon = await rig.start({ cacheDir: join(ext4.path, "cache") });
    await assertSame(rig, daemon, all.slice(0, 3));
    // Between two commits: LMDB itself gives up where the disk fails in the midst of one.
    await eventually(() => isQuiet(daemon), { ms: STATE_MS_MAX, what: "no commits" });
    await ext4.fail();
    await assertSame(rig, daemon, all);
    await becomes(daemon, "refusing");
    await assertSame(rig, daemon, all);
    assert(daemon.isRunning, daemon.log);
    await daemon.stop();
  },
);

/** Whether the index was not written to for longer than it takes to write down what was used. */
async function isQuiet({ cacheDir }: Daemon): Promise<boolean> {
  const { mtime } = await Deno.stat(join(cacheDir, "index", "data.mdb"));
  return Date.now() - Number(mtime) > 7_000;
}

/** An ext4 of its own, which turns read-only when it is told that it has found an error. */
async function failingDisk(
  dir: string,
): Promise<AsyncDisposable & { path: string; fail(): Promise<void> }> {
  const [image, path] = [join(dir, "disk.img"), join(dir, "ext4")];
  await output("truncate", ["-s", "64M", image]);
  await output("mkfs.ext4", ["-q", image]);
  await Deno.mkdir(path);
  await output("mount", ["-o", "loop,errors=remount-ro", image, path]);
  const device = (await output("findmnt", ["-n", "-o", "SOURCE", path])).trim().split("/").at(-1);
  return {
    path,
    fail: () => Deno.writeTextFile(`/sys/fs/ext4/${device}/trigger_fs_error`, "a test"),
    [Symbol.asyncDispose]: async () => void await output("umount", [path]),
  };
}

/** Another program, which takes every byte as soon as it is free. */
function keepFilling(disk: SmallDisk): { stop(): Promise<void> } {
  let isEnding = false;
  const filling = (async () => {
    while (!isEnding) {
      await disk.fill();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  return {
    stop: async () => {
      isEnding = true;
      await filling;
      await disk.free();
    },
  };
}
