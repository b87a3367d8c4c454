/** A library on a server, mounted: every byte, and what is left of it when the server is gone. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { musicfs, startDaemon } from "../support/daemon.ts";
import { copyMusicLibrary } from "../support/music_library.ts";
import { eventually, output } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";
import { filesIn, writeRemoteLibrary, writeTracks } from "./library.ts";
import { readBeside, REMOTE_KINDS, REMOTE_NEEDS, startBucket, startRemote } from "./remote.ts";

const MUSIC_NEEDS = ["ffmpeg", "flac", "warzone", "find"] as const;

/** `--read-timeout` of these tests, in ms: short, because they wait for it. */
const READ_TIMEOUT_MS = 3_000;

/** By how much an error may come later, in ms. */
const GRACE_MS = 5_000;

const ARGS = ["--read-timeout", `${READ_TIMEOUT_MS}ms`];

for (const kind of REMOTE_KINDS) {
  testWith(
    [...REMOTE_NEEDS[kind], ...MUSIC_NEEDS],
    `mount over ${kind} shows every byte, and after a restart without the server all names, what ` +
      "is cached, and EIO in time for the rest",
    async () => {
      await using dir = await tempDir(`mount-${kind}`);
      const copy = join(dir.path, "copy");
      await writeRemoteLibrary(copy);
      await using remote = await startRemote(kind, copy);
      const mount = { dir: dir.path, origins: [remote.url()], env: remote.env, args: ARGS };
      const whole = { ...mount, cacheDir: join(dir.path, "whole") };
      {
        await using daemon = await startDaemon(whole);
        await output("diff", ["-r", copy, daemon.mountpoint]);
        assert.equal(await daemon.stop(), 0, daemon.log);
      }
      const files = await filesIn(copy);
      const cached = files.filter((_file, i) => i % 3 !== 0);
      const uncached = files.filter((file, i) => i % 3 === 0 && size(join(copy, file)) > 0);
      {
        await using daemon = await startDaemon(mount);
        for (const file of cached) {
          assert.equal((await readBeside(join(daemon.mountpoint, file), join(copy, file))).code, 0);
        }
        assert.equal(await daemon.stop(), 0, daemon.log);
      }
      await remote.stop();
      {
        await using daemon = await startDaemon(mount);
        assert.deepEqual(await filesIn(daemon.mountpoint), files);
        const failing = uncached.slice(0, 4).map((file) =>
          readBeside(join(daemon.mountpoint, file), join(copy, file))
        );
        // While those wait for their time limit, what is cached is read at once.
        const start = performance.now();
        for (const file of cached) {
          assert.equal((await readBeside(join(daemon.mountpoint, file), join(copy, file))).code, 0);
        }
        const readMs = performance.now() - start;
        for (const { code, stderr, ms } of await Promise.all(failing)) {
          assert.equal(code, 2, stderr);
          assert.match(stderr, /Input\/output error/);
          assert.ok(ms < READ_TIMEOUT_MS + GRACE_MS, `EIO after ${ms} ms`);
        }
        assert.ok(readMs < cached.length * 200, `${cached.length} files took ${readMs} ms`);
        for (const secret of remote.secrets) assert.ok(!daemon.log.includes(secret));
        await eventually(() => /offline|cannot reach|could not be scanned/i.test(daemon.log), {
          ms: 30_000,
          what: "the log says that the origin is away",
        });
      }
      await using daemon = await startDaemon(whole);
      await output("diff", ["-r", copy, daemon.mountpoint]);
      await remote.start();
      assert.equal(await daemon.stop(), 0, daemon.log);
    },
  );

  testWith(
    REMOTE_NEEDS[kind],
    `warm and pin over ${kind} keep albums that play without the server`,
    async () => {
      await using dir = await tempDir(`pin-${kind}`);
      const copy = join(dir.path, "copy");
      for (const album of ["warmed", "pinned", "left"]) {
        await writeTracks(join(copy, album), { count: 3, bytes: 700_000 });
      }
      await using remote = await startRemote(kind, copy);
      const mount = { dir: dir.path, origins: [remote.url()], env: remote.env, args: ARGS };
      {
        await using daemon = await startDaemon(mount);
        const { cacheDir, mountpoint } = daemon;
        for (const [verb, album] of [["warm", "warmed"], ["pin", "pinned"]] as const) {
          const args = [verb, join(mountpoint, album), "--cache-dir", cacheDir];
          const { code, stderr } = await musicfs(args, { home: dir.path, env: remote.env });
          assert.equal(code, 0, `${verb}: ${stderr}`);
        }
        assert.equal(await daemon.stop(), 0, daemon.log);
      }
      await remote.stop();
      await using daemon = await startDaemon(mount);
      for (const album of ["warmed", "pinned"]) {
        await output("diff", ["-r", join(copy, album), join(daemon.mountpoint, album)]);
      }
      const left = "left/Track 00.flac";
      assert.equal((await readBeside(join(daemon.mountpoint, left), join(copy, left))).code, 2);
    },
  );
}

testWith(
  [...REMOTE_NEEDS.sftp, "ffmpeg", "flac"],
  "mount over sftp shows links, empty folders and empty files, too",
  async () => {
    await using dir = await tempDir("odd-sftp");
    const copy = join(dir.path, "copy");
    await copyMusicLibrary(copy);
    await using remote = await startRemote("sftp", copy);
    await using daemon = await startDaemon({ dir: dir.path, origins: [remote.url()] });
    await output("diff", ["-r", "--no-dereference", copy, daemon.mountpoint]);
  },
);

testWith(
  REMOTE_NEEDS.s3,
  "mount over s3 needs no more than List and Get, and no credentials where none are asked for",
  async () => {
    await using dir = await tempDir("anonymous");
    const copy = join(dir.path, "copy");
    await writeTracks(join(copy, "album"), { count: 3, bytes: 300_000 });
    await using remote = await startBucket(copy);
    await remote.minio.allowAnonymous("music");
    await using daemon = await startDaemon({
      dir: dir.path,
      origins: [`${remote.url()}&anonymous=true`],
    });
    await output("diff", ["-r", copy, daemon.mountpoint]);
  },
);

function size(path: string): number {
  return Deno.statSync(path).size;
}
