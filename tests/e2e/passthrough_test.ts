/** `--cache auto` on a local disk: the origin's own bytes, nothing kept. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { musicfs, startDaemon } from "../support/daemon.ts";
import { chunkFiles } from "../support/damage.ts";
import { output, shell } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise, writeSampleLibrary } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";

for (const mode of ["auto", "off"]) {
  testWith(
    ["fuse", "fusermount3", "diff", "find"],
    `--cache ${mode} serves a local disk's bytes and keeps none`,
    async () => {
      await using dir = await tempDir("passthrough");
      const origin = join(dir.path, "origin");
      await writeSampleLibrary(origin);
      const args = ["--cache", mode];
      await using daemon = await startDaemon({ dir: dir.path, origins: [origin], args });
      await output("diff", ["-r", origin, daemon.mountpoint]);
      await output("diff", ["-r", origin, daemon.mountpoint]);
      const kept = await shell("find chunks extents -type f 2>/dev/null | wc -l || true", {
        cwd: daemon.cacheDir,
      });
      assert.equal(Number(kept), 0);
    },
  );
}

testWith(["fuse", "fusermount3", "diff"], "--hash xxh64 names chunks by 16 digits", async () => {
  await using dir = await tempDir("hash");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  const args = ["--no-passthrough", "--hash", "xxh64"];
  for (let round = 0; round < 2; round += 1) {
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin], args });
    await output("diff", ["-r", origin, daemon.mountpoint]);
    assert.equal(await daemon.stop(), 0);
  }
  const chunks = await chunkFiles(join(dir.path, "cache"));
  assert.ok(chunks.length > 20);
  for (const path of chunks) assert.match(path, /\/chunks\/([0-9a-f]{2})\/\1[0-9a-f]{14}$/);
});

testWith(
  ["fuse", "passthrough"],
  "passthrough and mmap, many opens and closes at once: right bytes, no EIO",
  async () => {
    await using dir = await tempDir("passthrough");
    const origin = join(dir.path, "origin");
    for (let i = 0; i < 20; i += 1) {
      await writeNoise(join(origin, `${i}.flac`), { bytes: 300_000 + i, seed: i });
    }
    const args = ["--cache", "auto"];
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin], args });
    const line = `for n in $(seq 10); do for i in $(seq 0 19); do
      cmp "$1/$i.flac" "$2/$i.flac" || exit 1; done; done`;
    const compare = (): Promise<string> =>
      output("bash", ["-c", line, "bash", origin, daemon.mountpoint]);
    await Promise.all([compare(), compare(), compare(), compare()]);
  },
);

testWith(
  ["fuse", "fusermount3"],
  "--cache auto keeps what a network filesystem holds (a FUSE origin is one)",
  async () => {
    await using dir = await tempDir("nested");
    const origin = join(dir.path, "origin");
    await writeSampleLibrary(origin);
    const [innerDir, outerDir] = [join(dir.path, "inner"), join(dir.path, "outer")];
    await Deno.mkdir(innerDir);
    await Deno.mkdir(outerDir);
    await using inner = await startDaemon({ dir: innerDir, origins: [origin] });
    await using outer = await startDaemon({
      dir: outerDir,
      origins: [inner.mountpoint],
      args: ["--cache", "auto"],
    });
    await output("diff", ["-r", origin, outer.mountpoint]);
    const kept = await shell("find chunks -type f | wc -l", { cwd: outer.cacheDir });
    assert.ok(Number(kept) > 20, kept);
  },
);

testWith(
  ["fuse", "fusermount3", "diff"],
  "a local disk that goes away while mounted: what was warmed plays, and opens well when it is back",
  async () => {
    await using dir = await tempDir("disk-away");
    const origin = join(dir.path, "origin");
    await writeNoise(join(origin, "album", "kept.flac"), { bytes: 3_000_000, seed: 1 });
    await writeNoise(join(origin, "album", "gone.flac"), { bytes: 300_000, seed: 2 });
    const args = ["--cache", "auto", "--read-timeout", "1s"];
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin], args });
    const kept = join(daemon.mountpoint, "album", "kept.flac");
    const cache = ["--cache-dir", daemon.cacheDir];
    const warmed = await musicfs(["warm", "album/kept.flac", ...cache]);
    assert.equal(warmed.code, 0, warmed.stderr);

    await Deno.rename(origin, `${origin}-away`);
    const copy = await Deno.readFile(`${origin}-away/album/kept.flac`);
    using open = await Deno.open(kept);
    const before = new Uint8Array(100_000);
    await open.read(before);
    assert.deepEqual(await Deno.readFile(kept), copy);
    await assert.rejects(Deno.readFile(join(daemon.mountpoint, "album", "gone.flac")));

    await Deno.rename(`${origin}-away`, origin);
    await output("diff", ["-r", origin, daemon.mountpoint]);
  },
);
