/** Real music through a real mount: every byte, every name, and all of it again without the origin. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { startDaemon } from "../support/daemon.ts";
import { copyMusicLibrary, MUSIC_FILES } from "../support/music_library.ts";
import { output, quoted, run, shell } from "../support/process.ts";
import { REAL_MUSIC_DIR, testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";

const NEEDS = ["fuse", "fusermount3", "ffmpeg", "ffprobe", "flac", "rsync", "diff"] as const;

testWith(NEEDS, "mount shows a library of odd names exactly, and plays it offline", async () => {
  await using dir = await tempDir("music");
  const origin = join(dir.path, "origin");
  await copyMusicLibrary(origin);
  {
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
    await assertSameTree(origin, daemon.mountpoint);
    await assertProbed(daemon.mountpoint, MUSIC_FILES);
    assert.equal(await daemon.stop(), 0);
  }
  const away = join(dir.path, "away");
  await Deno.rename(origin, away);
  {
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
    await assertSameTree(away, daemon.mountpoint);
    await assertProbed(daemon.mountpoint, MUSIC_FILES);
    assert.match(daemon.log, /Origin fails origin=/);
    assert.equal(await daemon.stop(), 0);
  }
});

testWith(
  ["fuse", "fusermount3", "warzone", "rsync", "diff", "ffprobe"],
  "mount shows 84 MB of real Opus files exactly, and plays them offline",
  async () => {
    await using dir = await tempDir("real");
    const origin = join(dir.path, "origin");
    await output("cp", ["-a", REAL_MUSIC_DIR, origin]);
    const tracks = (await output("find", [origin, "-name", "*.opus", "-printf", "%P\n"]))
      .trim().split("\n");
    assert.ok(tracks.length > 20);
    {
      await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
      await assertSameTree(origin, daemon.mountpoint);
      await assertProbed(daemon.mountpoint, tracks);
    }
    const away = join(dir.path, "away");
    await Deno.rename(origin, away);
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
    await assertSameTree(away, daemon.mountpoint);
  },
);

testWith(["fuse", "fusermount3", "diff"], "mount leaves out what contract.md says", async () => {
  await using dir = await tempDir("shown");
  const origin = join(dir.path, "origin");
  await shell(
    `mkdir -p origin/album origin/@eaDir origin/.musicfs origin/album/@eaDir "origin/#recycle"
     echo music >origin/album/track
     echo no >origin/album/.DS_Store
     echo no >origin/.musicfs/index
     echo no >origin/@eaDir/thumb
     echo secret >secret
     ln -s ../secret origin/outside
     ln -s "$PWD/secret" origin/absolute
     ln -s track origin/album/inside
     mkfifo origin/pipe
     echo no >origin/album/$'not \\xff utf-8'
     echo yes >origin/album/$'caf\\xc3\\xa9'`,
    { cwd: dir.path },
  );
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  const names = (await output("find", [".", "-printf", "%P\n"], { cwd: daemon.mountpoint }))
    .split("\n").filter((name) => name !== "").sort();
  assert.deepEqual(names, ["album", "album/café", "album/inside", "album/track"].sort());
  assert.equal(
    (await output("readlink", [join(daemon.mountpoint, "album/inside")])).trim(),
    "track",
  );
  for (const hidden of [".musicfs", "@eaDir", "outside", "pipe"]) {
    const { code } = await run("stat", [join(daemon.mountpoint, hidden)]);
    assert.equal(code, 1, hidden);
  }
});

testWith(["fuse", "root"], "mount shows modes, owner and options as contract.md says", async () => {
  await using dir = await tempDir("modes");
  await shell("mkdir -p origin/folder && echo x >origin/file && chmod 777 origin/file", {
    cwd: dir.path,
  });
  const origin = join(dir.path, "origin");
  const show = (mountpoint: string): Promise<string> =>
    shell(`stat -c '%a %u:%g' ${quoted(mountpoint)}/file ${quoted(mountpoint)}/folder`);
  {
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
    assert.equal(await show(daemon.mountpoint), "444 0:0\n555 0:0\n");
    const line = await shell(`findmnt -n -o FSTYPE,SOURCE,OPTIONS ${quoted(daemon.mountpoint)}`);
    assert.match(line, /^fuse\.musicfs\s+musicfs\s+ro,nosuid,nodev.*default_permissions/);
  }
  const args = ["--cache", "on", "--umask", "027", "--uid", "65534", "--gid", "12"];
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin], args });
  assert.equal(await show(daemon.mountpoint), "440 65534:12\n550 65534:12\n");
});

async function assertSameTree(origin: string, mountpoint: string): Promise<void> {
  assert.equal(await output("diff", ["-r", "--no-dereference", origin, mountpoint]), "");
  const differing = await output("rsync", [
    ...["-rlnc", "-i", "--delete", "--out-format=%i %n"],
    `${origin}/`,
    `${mountpoint}/`,
  ]);
  assert.equal(differing, "");
  const list = `find . -printf '%y %s %T@ %P %l\\n' | grep -v '^d' | LC_ALL=C sort`;
  assert.equal(await shell(list, { cwd: mountpoint }), await shell(list, { cwd: origin }));
}

async function assertProbed(mountpoint: string, tracks: readonly string[]): Promise<void> {
  for (const track of tracks) {
    const path = `file:${join(mountpoint, track)}`;
    const what = ["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", path];
    assert.ok(Number(await output("ffprobe", what)) > 0.5, track);
  }
}
