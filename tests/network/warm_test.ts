/** `warm` and `pin` over real servers, with and without a daemon, and `--bwlimit`. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { musicfs, musicfsCommand, musicfsEnv, startDaemon } from "../support/daemon.ts";
import { eventually, output } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";
import { REMOTE_KINDS, REMOTE_NEEDS, startRemote } from "./remote.ts";

const MIB = 1024 * 1024;
const FILES = 6;

/** One album of six tracks of 2 MiB, named as people name them. */
async function writeAlbum(folder: string): Promise<string> {
  const album = join(folder, "The Öresund Trio", "Bron & 100 % + more");
  for (let track = 0; track < FILES; track += 1) {
    await writeNoise(join(album, `0${track} Låt.flac`), { bytes: 2 * MIB, seed: track });
  }
  return album;
}

for (const kind of REMOTE_KINDS) {
  testWith(
    REMOTE_NEEDS[kind],
    `${kind}: what was warmed without a daemon plays offline`,
    async () => {
      await using dir = await tempDir("warm");
      const folder = join(dir.path, "music");
      await writeAlbum(folder);
      await using remote = await startRemote(kind, folder);
      const { env } = remote;
      const cacheDir = join(dir.path, "cache");
      const words = ["--cache-dir", cacheDir, "--origin", remote.url()];
      const began = performance.now();
      const slow = await musicfs(
        ["warm", "The Öresund Trio", "--bwlimit", "4M", ...words],
        { env, cwd: dir.path },
      );
      assert.equal(slow.code, 0, slow.stderr);
      assert.equal(slow.stdout, `${FILES} files, 12.0 MiB, 12.0 MiB fetched\n`);
      const seconds = (performance.now() - began) / 1000;
      assert(seconds > 2, `12 MiB at 4 MiB/s took ${seconds} s`);
      await remote.stop();
      await using daemon = await startDaemon({
        dir: dir.path,
        origins: [remote.url()],
        cacheDir,
        args: ["--read-timeout", "2s"],
        env,
      });
      await output("diff", ["-r", folder, daemon.mountpoint]);
      const again = await musicfs(["warm", "/", "--cache-dir", cacheDir], { cwd: dir.path });
      assert.equal(again.stdout, `${FILES} files, 12.0 MiB, 0 B fetched\n`, again.stderr);
      for (const secret of remote.secrets) assert(!(slow.stderr + daemon.log).includes(secret));
    },
  );

  testWith(
    REMOTE_NEEDS[kind],
    `${kind}: a warm that is interrupted ends in the daemon`,
    async () => {
      await using dir = await tempDir("warm");
      const folder = join(dir.path, "music");
      const album = await writeAlbum(folder);
      await using remote = await startRemote(kind, folder);
      const { env } = remote;
      const args = ["--bwlimit", "4M"];
      await using daemon = await startDaemon({ dir: dir.path, origins: [remote.url()], args, env });
      const bytesRead = async (): Promise<number> => {
        const { stdout } = await musicfs(["status", "--json", "--cache-dir", daemon.cacheDir]);
        return JSON.parse(stdout).origins[0].bytes_read;
      };
      const inMount = join(daemon.mountpoint, album.slice(folder.length + 1));
      const [program, ...first] = musicfsCommand();
      const child = new Deno.Command(program, {
        args: [...first, "warm", ".", "--cache-dir", daemon.cacheDir],
        cwd: inMount,
        env: musicfsEnv(dir.path),
        clearEnv: true,
        stdout: "null",
        stderr: "null",
      }).spawn();
      await eventually(async () => await bytesRead() > 0, { ms: 20_000, what: "bytes" });
      child.kill("SIGINT");
      assert.notEqual((await child.status).code, 0);
      // All of it takes 3 s at 4 MiB/s; what was under way may end.
      const end = performance.now() + 6_000;
      await eventually(() => performance.now() > end, { ms: 10_000, what: "time to pass" });
      const last = await bytesRead();
      assert(last < FILES * 2 * MIB, `${last} bytes were read`);
      assert(!daemon.log.includes("A command failed"), daemon.log);
    },
  );

  testWith(
    REMOTE_NEEDS[kind],
    `${kind}: a pin whose origin was down is fetched later`,
    async () => {
      await using dir = await tempDir("pin");
      const folder = join(dir.path, "music");
      await writeAlbum(folder);
      await using remote = await startRemote(kind, folder);
      const { env } = remote;
      const args = ["--read-timeout", "1s", "--poll-interval", "2s"];
      await using daemon = await startDaemon({ dir: dir.path, origins: [remote.url()], args, env });
      const cache = ["--cache-dir", daemon.cacheDir];
      assert.equal((await musicfs(["scan", ...cache])).code, 0);
      await remote.stop();
      const pin = await musicfs(["pin", "The Öresund Trio", "--json", ...cache], { cwd: dir.path });
      assert.equal(pin.code, 1, pin.stdout);
      const { failed, pinned } = JSON.parse(pin.stdout);
      assert.equal(failed, FILES);
      assert.deepEqual(pinned, ["The Öresund Trio"]);
      await remote.start();
      await eventually(async () => {
        const { pins } = JSON.parse((await musicfs(["pin", "--json", ...cache])).stdout);
        return pins[0].files === FILES && pins[0].missing_bytes === 0;
      }, { ms: 60_000, what: "the pin to be fetched" });
      await remote.stop();
      await output("diff", ["-r", folder, daemon.mountpoint]);
    },
  );
}
