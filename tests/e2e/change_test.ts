/** What `scan` finds is what the mount shows; and what vanished at once is not believed at once. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type Daemon, musicfs, startDaemon } from "../support/daemon.ts";
import { type Finished, output, shell } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise, writeSampleLibrary } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";

const NEEDS = ["fuse", "fusermount3", "diff", "find"] as const;

async function scan(daemon: Daemon, ...args: string[]): Promise<Finished> {
  return await musicfs(["scan", "--cache-dir", daemon.cacheDir, ...args]);
}

testWith(
  NEEDS,
  "scan shows what was added, changed, moved and removed in the live mount",
  async () => {
    await using dir = await tempDir("scan");
    const origin = join(dir.path, "origin");
    await writeSampleLibrary(origin);
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
    await output("diff", ["-r", origin, daemon.mountpoint]);
    await shell(
      `mkdir -p "new/deep/folder" && head -c 100000 /dev/urandom >new/deep/folder/track.flac
     head -c 70000 /dev/urandom >>"Ana Vidal/Salt Roads/01 Harbour.flac"
     rm "Ana Vidal/Field Notes/02 Barn Owl.flac"
     mv "The Öresund Trio/Bron" "The Öresund Trio/Bridge"
     touch -d 2001-01-01 "Ana Vidal/Salt Roads/02 Low Water.flac"`,
      { cwd: origin },
    );
    const { code, stdout, stderr } = await scan(daemon);
    assert.equal(code, 0, stderr);
    for (const kind of [/added/, /changed/, /gone|moved/]) assert.match(stdout, kind);
    await output("diff", ["-r", origin, daemon.mountpoint]);
    const list = `find . -printf '%y %s %P\\n' | sed 's/^d [0-9]*/d/' | LC_ALL=C sort`;
    assert.equal(
      await shell(list, { cwd: daemon.mountpoint }),
      await shell(list, { cwd: origin }),
    );
  },
);

testWith(NEEDS, "scan without a daemon is what the next mount shows", async () => {
  await using dir = await tempDir("offline-scan");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  const words = ["scan", "--origin", origin, "--cache-dir", join(dir.path, "cache")];
  const first = await musicfs(words);
  assert.equal(first.code, 0, first.stderr);
  const again = await musicfs([...words, "--json"]);
  assert.equal(again.code, 0, again.stderr);
  const [found] = JSON.parse(again.stdout).origins;
  assert.equal(found.files, 8, again.stdout);
  for (const kind of ["added", "changed", "moved", "gone"]) assert.equal(found[kind], 0, kind);
  await Deno.rename(origin, `${origin}-away`);
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  const names = await output("find", [daemon.mountpoint, "-type", "f"]);
  assert.equal(names.trim().split("\n").length, 8);
});

testWith(NEEDS, "an emptied origin empties nothing until somebody says so", async () => {
  await using dir = await tempDir("guard");
  const origin = join(dir.path, "origin");
  await Deno.mkdir(origin);
  await shell("for i in $(seq 200); do echo $i >$i.flac; done", { cwd: origin });
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  const count = async (): Promise<number> =>
    Number(await shell("find . -type f | wc -l", { cwd: daemon.mountpoint }));
  assert.equal((await scan(daemon)).code, 0);
  assert.equal(await count(), 200);
  await output("diff", ["-r", origin, daemon.mountpoint]);

  await shell("mkdir ../saved && mv * ../saved", { cwd: origin });
  const held = await scan(daemon);
  assert.match(held.stdout + held.stderr, /--accept-deletions/);
  assert.equal(await count(), 200);
  await output("diff", ["-r", join(dir.path, "saved"), daemon.mountpoint]);

  const accepted = await scan(daemon, "--accept-deletions");
  assert.equal(accepted.code, 0, accepted.stderr);
  assert.equal(await count(), 0);
});

testWith(NEEDS, "a missing origin folder empties nothing", async () => {
  await using dir = await tempDir("missing");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  await output("diff", ["-r", origin, daemon.mountpoint]);
  await Deno.rename(origin, `${origin}-away`);
  const scanned = await scan(daemon, "--accept-deletions");
  assert.equal(scanned.code, 1, "an origin that could not be listed is no success");
  await output("diff", ["-r", `${origin}-away`, daemon.mountpoint]);
});

testWith(NEEDS, "two origins form one tree, the first winning where they differ", async () => {
  await using dir = await tempDir("two");
  await shell(
    `mkdir -p a/both b/both && echo a >a/both/track && echo b >b/both/track
     echo a >a/only-a && echo b >b/both/only-b`,
    { cwd: dir.path },
  );
  const origins = [join(dir.path, "a"), join(dir.path, "b")];
  await using daemon = await startDaemon({ dir: dir.path, origins });
  const words = "grep -r . both only-a | LC_ALL=C sort";
  await shell("find . >/dev/null", { cwd: daemon.mountpoint });
  assert.equal((await scan(daemon)).code, 0);
  assert.equal(
    await shell(words, { cwd: daemon.mountpoint }),
    "both/only-b:b\nboth/track:a\nonly-a:a\n",
  );
});

testWith(NEEDS, "scan --checksum finds an edit that left size and time as they were", async () => {
  await using dir = await tempDir("checksum");
  const origin = join(dir.path, "origin");
  const track = join(origin, "track.flac");
  await writeNoise(track, { bytes: 3_000_000, seed: 5 });
  await writeNoise(join(origin, "other.flac"), { bytes: 500_000, seed: 6 });
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  await output("diff", ["-r", origin, daemon.mountpoint]);
  const scan = async (...words: string[]): Promise<{ changed: number; lines: string }> => {
    const { code, stdout, stderr } = await musicfs([
      ...["scan", ...words, "--json", "--cache-dir", daemon.cacheDir],
    ]);
    assert.equal(code, 0, stderr);
    const { changed, changes } = JSON.parse(stdout);
    return { changed, lines: JSON.stringify(changes) };
  };
  assert.equal((await scan("--checksum")).changed, 0);
  await output("bash", [
    "-c",
    'touch -r "$0" "$0.time"; printf X | dd of="$0" bs=1 seek=1500000 conv=notrunc status=none; ' +
    'touch -r "$0.time" "$0"; rm "$0.time"',
    track,
  ]);
  assert.equal((await scan()).changed, 0, "size and time tell nothing");
  const found = await scan("--checksum");
  assert.equal(found.changed, 1);
  assert.match(found.lines, /track\.flac/);
  await output("diff", ["-r", origin, daemon.mountpoint]);
  assert.equal((await scan("--checksum")).changed, 0);
});
