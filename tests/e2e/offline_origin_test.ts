/** Remote origins that nobody answers for: the mount comes up, and every command says how it is. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { musicfs, startDaemon } from "../support/daemon.ts";
import { eventually, output } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeSampleLibrary } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";

const NEEDS = ["fuse", "fusermount3", "diff"] as const;

/** Port 1 of this machine refuses every connection. */
const S3 = "s3://music/cds?endpoint=http://127.0.0.1:1";
const SFTP = "sftp://ana@127.0.0.1:1/srv/music?known_hosts=/nonexistent";
const SECRET = "s3cr3t-that-nobody-may-see";
const ENV = {
  AWS_ACCESS_KEY_ID: "key",
  AWS_SECRET_ACCESS_KEY: SECRET,
  MUSICFS_SFTP_PASSWORD: SECRET,
};

testWith(
  NEEDS,
  "a mount with remote origins that are down shows the others, and says so",
  async () => {
    await using dir = await tempDir("offline");
    const origin = join(dir.path, "origin");
    await writeSampleLibrary(origin);
    const args = ["--cache", "on", "--read-timeout", "2s"];
    const origins = [origin, S3, SFTP];
    await using daemon = await startDaemon({ dir: dir.path, origins, args, env: ENV });
    await output("diff", ["-r", origin, daemon.mountpoint]);
    const cache = ["--cache-dir", daemon.cacheDir];

    const scan = await musicfs(["scan", ...cache]);
    assert.equal(scan.code, 1);
    assert.match(scan.stdout, /\/origin: \d+ files/);
    const lines = scan.stderr.trimEnd().split("\n");
    assert.equal(lines.length, 2, scan.stderr);
    assert.match(scan.stderr, /^musicfs: s3:\/\/music\/cds: .*refused/m);
    assert.match(
      scan.stderr,
      /^musicfs: sftp:\/\/127\.0\.0\.1:1\/srv\/music: .*(refused|REFUSED)/m,
    );

    const status = async (): Promise<Record<string, unknown>[]> =>
      JSON.parse((await musicfs(["status", "--json", ...cache])).stdout).origins;
    await eventually(async () => (await status()).filter(isOffline).length === 2, {
      ms: 30_000,
      what: "both origins to be offline",
    });
    const [local, s3, sftp] = await status();
    assert.equal(local?.["state"], "online");
    assert.equal(local?.["last_error"], null);
    assert.equal(typeof local?.["latency_ms"], "number");
    for (
      const [origin, url] of [[s3, "s3://music/cds"], [
        sftp,
        "sftp://127.0.0.1:1/srv/music",
      ]] as const
    ) {
      assert.equal(origin?.["url"], url);
      assert.match(String(origin?.["last_error"]), /127\.0\.0\.1/);
      assert.equal(typeof origin?.["state_since_ms"], "number");
    }
    const shown = await musicfs(["status", daemon.mountpoint, ...cache]);
    assert.match(shown.stdout, /^origin +\S+ +online +[\d.]+ ms/m);
    assert.match(shown.stdout, /^origin +s3:\/\/music\/cds +offline/m);
    assert.match(shown.stdout, /last error: .*127\.0\.0\.1/);
    const everything = daemon.log + shown.stdout + scan.stderr + JSON.stringify(await status());
    assert(!everything.includes(SECRET));
    assert(!everything.includes("ana@"));
  },
);

testWith([], "a secret in a URL is refused, and not repeated", async () => {
  for (const url of [`sftp://ana:${SECRET}@host/m`, `s3://key:${SECRET}@music`]) {
    for (const command of [["mount", "/mnt"], ["scan"], ["warm", "A"]]) {
      const { code, stdout, stderr } = await musicfs([...command, "--origin", url]);
      assert.equal(code, 2, stderr);
      assert.match(stderr, /^musicfs: --origin: [^\n]+\n$/);
      assert(!(stdout + stderr).includes(SECRET), stderr);
    }
  }
});

function isOffline({ state }: Record<string, unknown>): boolean {
  return state === "offline";
}
