/** `gc`, `verify`, `status` and a damaged cache, beside a mount and without one. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { musicfs, startDaemon } from "../support/daemon.ts";
import { damageEveryChunk, damageIndex, INDEX_DAMAGE } from "../support/damage.ts";
import { eventually, output, run, shell } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise, writeSampleLibrary } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";

const NEEDS = ["fuse", "fusermount3", "diff", "find"] as const;
const MIB = 1024 * 1024;

testWith(NEEDS, "gc shrinks the cache to --max-size beside a mount that is read", async () => {
  await using dir = await tempDir("gc");
  const origin = join(dir.path, "origin");
  for (let i = 0; i < 10; i += 1) {
    await writeNoise(join(origin, `${i}.flac`), { bytes: 4 * MIB, seed: i });
  }
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  await output("diff", ["-r", origin, daemon.mountpoint]);
  const words = ["gc", "--cache-dir", daemon.cacheDir, "--max-size", "8M"];
  // What was read is turned into chunks behind its readers, and its extents go then.
  await eventually(async () => {
    const { stdout } = await musicfs(["status", "--cache-dir", daemon.cacheDir, "--json"]);
    return JSON.parse(stdout).cache.extent_bytes === 0;
  }, { ms: 20_000, what: "all that was read is in chunks" });
  const before = await diskBytes(daemon.cacheDir);
  assert.equal((await musicfs([...words, "--dry-run"])).code, 0);
  assert.ok(await diskBytes(daemon.cacheDir) > before - MIB, "--dry-run deleted");
  const reading = output("diff", ["-r", origin, daemon.mountpoint]);
  for (let round = 0; round < 3; round += 1) {
    const { code, stderr } = await musicfs(words);
    assert.equal(code, 0, stderr);
  }
  await reading;
  const last = await musicfs([...words, "--json"]);
  assert.equal(last.code, 0, last.stderr);
  JSON.parse(last.stdout);
  assert.ok(await diskBytes(daemon.cacheDir) <= 8 * MIB, `${await diskBytes(daemon.cacheDir)}`);
  await output("diff", ["-r", origin, daemon.mountpoint]);
});

testWith(NEEDS, "gc works without a daemon", async () => {
  await using dir = await tempDir("gc");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  {
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
    await output("diff", ["-r", origin, daemon.mountpoint]);
  }
  const cache = join(dir.path, "cache");
  const { code, stderr } = await musicfs(["gc", "--cache-dir", cache, "--max-size", "2M"]);
  assert.equal(code, 0, stderr);
  assert.ok(await diskBytes(cache) <= 2 * MIB, `${await diskBytes(cache)}`);
});

testWith(NEEDS, "verify finds every damaged chunk and --repair mends it", async () => {
  await using dir = await tempDir("verify");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  const cache = join(dir.path, "cache");
  {
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
    await output("diff", ["-r", origin, daemon.mountpoint]);
  }
  const words = ["verify", "--cache-dir", cache];
  const whole = await musicfs(words);
  assert.equal(whole.code, 0, whole.stdout + whole.stderr);
  const damaged = await damageEveryChunk(cache);
  assert.ok(damaged > 20);
  const found = await musicfs([...words, "--json"]);
  assert.equal(found.code, 1);
  assert.equal(JSON.parse(found.stdout).bad_chunks, damaged, found.stdout);
  const repaired = await musicfs([...words, "--repair", "--origin", origin]);
  assert.equal(repaired.code, 0, repaired.stdout + repaired.stderr);
  assert.equal((await musicfs(words)).code, 0);
  await Deno.rename(origin, `${origin}-away`);
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  await output("diff", ["-r", `${origin}-away`, daemon.mountpoint]);
});

testWith(NEEDS, "verify --repair works beside a mount", async () => {
  await using dir = await tempDir("verify");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  await output("diff", ["-r", origin, daemon.mountpoint]);
  assert.ok(await damageEveryChunk(daemon.cacheDir) > 20);
  const { code, stdout, stderr } = await musicfs([
    "verify",
    "--repair",
    "--cache-dir",
    daemon.cacheDir,
  ]);
  assert.equal(code, 0, stdout + stderr);
  assert.equal((await musicfs(["verify", "--cache-dir", daemon.cacheDir])).code, 0);
});

testWith(NEEDS, "damaged chunks are never served: fetched again, or EIO offline", async () => {
  await using dir = await tempDir("corrupt");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  {
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
    await output("diff", ["-r", origin, daemon.mountpoint]);
  }
  await damageEveryChunk(join(dir.path, "cache"));
  {
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
    await output("diff", ["-r", origin, daemon.mountpoint]);
  }
  await damageEveryChunk(join(dir.path, "cache"));
  await Deno.rename(origin, `${origin}-away`);
  const args = ["--cache", "on", "--read-timeout", "1s"];
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin], args });
  const track = "Ana Vidal/Salt Roads/01 Harbour.flac";
  const { code, stderr } = await run("cat", [join(daemon.mountpoint, track)], { limitMs: 10_000 });
  assert.equal(code, 1);
  assert.match(stderr, /Input\/output error/);
});

for (const damage of INDEX_DAMAGE) {
  testWith(
    NEEDS,
    `an index with ${damage} is rebuilt, and cached tracks play offline`,
    async () => {
      await using dir = await tempDir("index");
      const origin = join(dir.path, "origin");
      await writeSampleLibrary(origin);
      {
        await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
        await output("diff", ["-r", origin, daemon.mountpoint]);
        assert.equal(await daemon.stop(), 0);
      }
      await damageIndex(join(dir.path, "cache"), damage);
      await Deno.rename(origin, `${origin}-away`);
      await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
      await output("diff", ["-r", `${origin}-away`, daemon.mountpoint]);
      assert.equal(await daemon.stop(), 0);
    },
  );
}

testWith(
  ["fuse"],
  "a cache of a newer version is refused with 1 and one line, untouched",
  async () => {
    await using dir = await tempDir("newer");
    const origin = join(dir.path, "origin");
    await writeSampleLibrary(origin);
    {
      await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
      await output("diff", ["-r", origin, daemon.mountpoint]);
    }
    await damageIndex(join(dir.path, "cache"), "a newer format");
    const sums = (): Promise<string> =>
      shell("find index/data.mdb chunks manifests -type f | sort | xargs sha256sum", {
        cwd: join(dir.path, "cache"),
      });
    const before = await sums();
    const { code, stderr } = await musicfs([
      ...["mount", join(dir.path, "mnt"), "--origin", origin],
      ...["--cache-dir", join(dir.path, "cache")],
    ], { limitMs: 20_000 });
    assert.match(stderr, /newer/);
    assert.equal(stderr.trim().split("\n").length, 1, stderr);
    assert.equal(code, 1);
    assert.equal(await sums(), before);
  },
);

testWith(NEEDS, "status tells the daemon, its origins and its cache", async () => {
  await using dir = await tempDir("status");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  for (const where of [["--cache-dir", daemon.cacheDir], [daemon.mountpoint]]) {
    const { code, stdout, stderr } = await musicfs(["status", "--json", ...where]);
    assert.equal(code, 0, stderr);
    const status = JSON.parse(stdout);
    assert.equal(status.pid, await daemon.pid());
    assert.ok(stdout.includes(daemon.mountpoint) && stdout.includes(origin), stdout);
  }
  const { mode } = await Deno.stat(join(daemon.cacheDir, "control.sock"));
  assert.equal((mode ?? 0) & 0o777, 0o600);
  assert.equal((await musicfs(["status", "--cache-dir", daemon.cacheDir])).code, 0);
  assert.equal(await daemon.stop(), 0);
  assert.equal((await musicfs(["status", daemon.mountpoint])).code, 1);
});

/** What `du` says, which may complain about files that vanish under it. */
async function diskBytes(folder: string): Promise<number> {
  return Number((await run("du", ["-s", "-B1", folder])).stdout.split("\t")[0]);
}
