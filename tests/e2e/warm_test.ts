/** `warm`, `pin` and `unpin`, beside a mount and without one. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { musicfs, startDaemon } from "../support/daemon.ts";
import { eventually, output } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";

const NEEDS = ["fuse", "fusermount3", "diff"] as const;
const MIB = 1024 * 1024;

/** Two albums of three tracks of 2 MiB each. */
async function writeAlbums(origin: string): Promise<void> {
  for (let track = 0; track < 3; track += 1) {
    await writeNoise(join(origin, "Ana", "Salt", `${track}.flac`), { bytes: 2 * MIB, seed: track });
    await writeNoise(join(origin, "Ana", "Field", `${track}.flac`), {
      bytes: 2 * MIB,
      seed: 10 + track,
    });
  }
}

testWith(NEEDS, "what was warmed through the mount plays when the origin is gone", async () => {
  await using dir = await tempDir("warm");
  const origin = join(dir.path, "origin");
  await writeAlbums(origin);
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  const cache = ["--cache-dir", daemon.cacheDir];
  const missing = await musicfs(["warm", join(daemon.mountpoint, "Ana", "None"), ...cache]);
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /^musicfs: Cannot find ".*\/Ana\/None"[^\n]*\n$/);
  const salt = join(daemon.mountpoint, "Ana", "Salt");
  const ran = await musicfs(["warm", salt, "--json", ...cache]);
  assert.equal(ran.code, 0, ran.stderr);
  const { files, bytes, fetched_bytes } = JSON.parse(ran.stdout);
  assert.deepEqual({ files, bytes, fetched_bytes }, {
    files: 3,
    bytes: 6 * MIB,
    fetched_bytes: 6 * MIB,
  });
  const again = await musicfs(["warm", "Ana/Salt", ...cache]);
  assert.equal(again.stdout, "3 files, 6.0 MiB, 0 B fetched\n");
  await Deno.rename(origin, `${origin}-away`);
  await output("diff", ["-r", join(`${origin}-away`, "Ana", "Salt"), salt]);
});

testWith(
  NEEDS,
  "what is pinned stays, whatever gc is asked for, until it is unpinned",
  async () => {
    await using dir = await tempDir("pin");
    const origin = join(dir.path, "origin");
    await writeAlbums(origin);
    const cacheDir = join(dir.path, "cache");
    const cache = ["--cache-dir", cacheDir];
    const pinned = await musicfs(["pin", "Ana/Salt", "--origin", origin, ...cache]);
    assert.equal(pinned.code, 0, pinned.stderr);
    assert.equal(pinned.stdout, "pinned   Ana/Salt\n3 files, 6.0 MiB, 6.0 MiB fetched\n");
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
    await output("diff", ["-r", origin, daemon.mountpoint]);
    const gc = await musicfs(["gc", "--max-size", "4M", ...cache]);
    assert.equal(gc.code, 0, gc.stderr);
    assert.match(gc.stdout, /^pinned +6\.\d MiB, which stay: 4\.0 MiB cannot be reached/m);
    const status = JSON.parse((await musicfs(["status", "--json", ...cache])).stdout);
    assert.equal(status.cache.pins, 1);
    assert(status.cache.pinned_bytes >= 6 * MIB, `${status.cache.pinned_bytes}`);
    await Deno.rename(origin, `${origin}-away`);
    const salt = join(daemon.mountpoint, "Ana", "Salt");
    await output("diff", ["-r", join(`${origin}-away`, "Ana", "Salt"), salt]);
    await Deno.rename(`${origin}-away`, origin);
    const full = await musicfs(["pin", "/", "--json", ...cache], { cwd: dir.path });
    assert.equal(full.code, 0, full.stderr);
    const unpinned = await musicfs(["unpin", "/", ...cache]);
    assert.equal(unpinned.stdout, "unpinned /\nunpinned Ana/Salt\n");
    const emptied = await musicfs(["gc", "--max-size", "4M", "--json", ...cache]);
    const { used_bytes_after, pinned_bytes } = JSON.parse(emptied.stdout);
    assert.equal(pinned_bytes, 0);
    assert(used_bytes_after <= 4 * MIB, `${used_bytes_after}`);
  },
);

testWith(NEEDS, "pins that do not fit into max_size are refused with the figures", async () => {
  await using dir = await tempDir("pin");
  const origin = join(dir.path, "origin");
  await writeAlbums(origin);
  const args = ["--cache", "on", "--max-size", "12M"];
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin], args });
  const cache = ["--cache-dir", daemon.cacheDir];
  assert.equal((await musicfs(["pin", "Ana/Salt", ...cache])).code, 0);
  const { code, stderr } = await musicfs(["pin", "Ana/Field", ...cache]);
  assert.equal(code, 1);
  assert.match(stderr, /^musicfs: Cannot pin "Ana\/Field": 3 files would take 6\.\d MiB beside/);
  assert.match(stderr, /room for \d\.\d MiB of max_size, 12\.0 MiB/);
  await output("diff", ["-r", origin, daemon.mountpoint]);
  const { pins } = JSON.parse((await musicfs(["pin", "--json", ...cache])).stdout);
  assert.equal(pins.length, 1);
  assert.equal(pins[0].path, "Ana/Salt");
  assert.equal(pins[0].missing_bytes, 0);
});

testWith(NEEDS, "what is added below a pin is fetched by the daemon, and kept", async () => {
  await using dir = await tempDir("pin");
  const origin = join(dir.path, "origin");
  await writeAlbums(origin);
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  const cache = ["--cache-dir", daemon.cacheDir];
  assert.equal((await musicfs(["pin", "Ana/Salt", ...cache])).code, 0);
  await writeNoise(join(origin, "Ana", "Salt", "bonus.flac"), { bytes: 2 * MIB, seed: 99 });
  assert.equal((await musicfs(["scan", ...cache])).code, 0);
  const isWhole = async (): Promise<boolean> => {
    const { pins } = JSON.parse((await musicfs(["pin", "--json", ...cache])).stdout);
    return pins[0].files === 4 && pins[0].missing_bytes === 0;
  };
  await eventually(isWhole, { ms: 20_000, what: "the new track to be fetched" });
  await musicfs(["gc", "--max-size", "4M", ...cache]);
  await Deno.rename(origin, `${origin}-away`);
  const salt = join("Ana", "Salt");
  await output("diff", ["-r", join(`${origin}-away`, salt), join(daemon.mountpoint, salt)]);
});
