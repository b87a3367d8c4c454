/** Servers that must not be trusted, or that refuse us: told clearly, and nothing is lost by it. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { musicfs, startDaemon } from "../support/daemon.ts";
import type { Finished } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { Authority } from "../support/servers/certificates.ts";
import { startMinio } from "../support/servers/minio.ts";
import { tempDir } from "../support/temp_dir.ts";
import { filesIn, writeTracks } from "./library.ts";
import { readBeside, REMOTE_NEEDS, startBucket, startFolder } from "./remote.ts";
import { originIs, originOf, statusOf } from "./status.ts";

const ALBUM = { count: 4, bytes: 200_000 };

const ARGS = ["--read-timeout", "2s"];

testWith(REMOTE_NEEDS.sftp, "a wrong host key is refused, and what is known stays", async () => {
  await using dir = await tempDir("host-key");
  const copy = join(dir.path, "copy");
  const tracks = await writeTracks(copy, ALBUM);
  await using remote = await startFolder(copy);
  const mount = { dir: dir.path, origins: [remote.url()], args: ARGS };
  {
    await using daemon = await startDaemon(mount);
    assert.equal((await readTrack(daemon.mountpoint, copy, tracks[0])).code, 0);
  }
  const pinned = remote.sshd.fingerprint;
  await remote.stop();
  await remote.sshd.replaceHostKey();
  await remote.start();

  const scanned = await scan(dir.path, { url: remote.url() });
  assertOneLine(scanned, /host key/i);
  assert.ok(scanned.stderr.includes(pinned), scanned.stderr);
  await using daemon = await startDaemon(mount);
  assert.deepEqual(await filesIn(daemon.mountpoint), tracks);
  assert.equal((await readTrack(daemon.mountpoint, copy, tracks[0])).code, 0);
  assert.equal((await readTrack(daemon.mountpoint, copy, tracks[1])).code, 2);
  await originIs(daemon, { name: "copy", states: ["offline"], ms: 30_000 });
  assert.match((await originOf(daemon, "copy")).last_error ?? "", /host key/i);
  assert.equal((await statusOf(daemon)).library.files, tracks.length);
});

testWith(REMOTE_NEEDS.sftp, "an unknown host key is refused, with the line to add", async () => {
  await using dir = await tempDir("unknown-host");
  const copy = join(dir.path, "copy");
  await writeTracks(copy, ALBUM);
  await using remote = await startFolder(copy);
  const { sshd } = remote;
  const known = join(dir.path, "known_hosts");
  await Deno.writeTextFile(known, "");
  const key = encodeURIComponent(sshd.identityFile);
  const url = `sftp://${sshd.user}@127.0.0.1:${sshd.port}${copy}?identity_file=${key}` +
    `&known_hosts=${encodeURIComponent(known)}`;
  const refused = await scan(dir.path, { url });
  assertOneLine(refused, /known_hosts/);
  assert.ok(refused.stderr.includes(sshd.knownHostsLine), refused.stderr);
  await Deno.writeTextFile(known, `${sshd.knownHostsLine}\n`);
  const taken = await scan(dir.path, { url });
  assert.equal(taken.code, 0, taken.stderr);
});

testWith(
  [...REMOTE_NEEDS.sftp, "root"],
  "a wrong password is refused; no password is in a log, a message or the cache",
  async () => {
    await using dir = await tempDir("password");
    const copy = join(dir.path, "copy");
    const tracks = await writeTracks(copy, ALBUM);
    await Deno.chmod(dir.path, 0o755);
    await using remote = await startFolder(copy, { withPassword: true });
    const user = remote.sshd.passwordUser;
    assert.ok(user);
    const url = remote.sshd.url(copy, { user: user.name, withKey: false });
    const wrong = { MUSICFS_SFTP_PASSWORD: "a-wrong-and-secret-password" };
    const right = { MUSICFS_SFTP_PASSWORD: user.password };
    const refused = await scan(dir.path, { url, env: wrong });
    assertOneLine(refused, /password|log ?in|denied|refuse/i);
    await using daemon = await startDaemon({ dir: dir.path, origins: [url], env: right });
    for (const track of tracks) {
      assert.equal((await readTrack(daemon.mountpoint, copy, track)).code, 0, daemon.log);
    }
    assert.equal(await daemon.stop(), 0);
    const seen = refused.stdout + refused.stderr + daemon.log;
    assertNoSecrets(seen, [user.password, wrong.MUSICFS_SFTP_PASSWORD]);
    await assertNotInFiles(daemon.cacheDir, [user.password]);
  },
);

testWith(REMOTE_NEEDS.s3, "a wrong secret is refused, and what is known stays", async () => {
  await using dir = await tempDir("secret");
  const copy = join(dir.path, "copy");
  const tracks = await writeTracks(copy, ALBUM);
  await using remote = await startBucket(copy);
  const mount = { dir: dir.path, origins: [remote.url()], args: ARGS };
  {
    await using daemon = await startDaemon({ ...mount, env: remote.env });
    assert.equal((await readTrack(daemon.mountpoint, copy, tracks[0])).code, 0);
  }
  const env = { ...remote.env, AWS_SECRET_ACCESS_KEY: "a-wrong-and-secret-key" };
  const scanned = await scan(dir.path, { url: remote.url(), env });
  assertOneLine(scanned, /credential|secret|key|denied|refuse/i);
  await using daemon = await startDaemon({ ...mount, env });
  assert.deepEqual(await filesIn(daemon.mountpoint), tracks);
  assert.equal((await readTrack(daemon.mountpoint, copy, tracks[0])).code, 0);
  const denied = await readTrack(daemon.mountpoint, copy, tracks[1]);
  assert.equal(denied.code, 2);
  await originIs(daemon, { name: "music", states: ["offline"], ms: 30_000 });
  assert.equal((await statusOf(daemon)).library.files, tracks.length);
  assert.equal(await daemon.stop(), 0);
  const seen = scanned.stdout + scanned.stderr + daemon.log;
  assertNoSecrets(seen, [env.AWS_SECRET_ACCESS_KEY, ...remote.secrets]);
  await assertNotInFiles(daemon.cacheDir, [env.AWS_SECRET_ACCESS_KEY, ...remote.secrets]);
});

testWith(
  [...REMOTE_NEEDS.s3, "openssl"],
  "an expired certificate is refused, a good one of the same authority is not",
  async () => {
    await using dir = await tempDir("tls");
    const authority = await Authority.make(dir.path);
    for (const days of [-1, 2]) {
      const tls = await authority.sign({ days });
      await using minio = await startMinio({ tls });
      const url = `${minio.url("music")}&ca_file=${encodeURIComponent(authority.file)}`;
      const scanned = await scan(dir.path, { url, env: minio.env });
      // The bucket does not exist: whoever gets so far has taken the certificate.
      assertOneLine(scanned, days < 0 ? /expired/i : /bucket/i);
      const untrusted = await scan(dir.path, { url: minio.url("music"), env: minio.env });
      assertOneLine(untrusted, /certificate/i);
    }
  },
);

testWith(REMOTE_NEEDS.s3, "a listing that is garbage deletes nothing", async () => {
  await using dir = await tempDir("garbage");
  const copy = join(dir.path, "copy");
  const tracks = await writeTracks(copy, ALBUM);
  await using remote = await startBucket(copy);
  const { env } = remote;
  const good = await scan(dir.path, { url: remote.url(), env });
  assert.equal(good.code, 0, good.stderr);
  const garbage = [
    "<html><body>Please log in</body></html>",
    "",
    '<?xml version="1.0"?><ListBucketResult><Contents><Key>a</Key>',
    '<?xml version="1.0"?><ListBucketResult></ListBucketResult>',
  ];
  for (const body of garbage) {
    await using server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      () => new Response(body, { headers: { "content-type": "application/xml" } }),
    );
    const url = remote.url(server.addr.port);
    const scanned = await scan(dir.path, { url, env });
    // Not that most of it is gone: that would be the next one to hold it.
    assertOneLine(scanned, /Cannot list/);
    await using daemon = await startDaemon({ dir: dir.path, origins: [url], env, args: ARGS });
    assert.deepEqual(await filesIn(daemon.mountpoint), tracks, body);
  }
});

async function readTrack(
  mountpoint: string,
  copy: string,
  track = "",
): Promise<{ code: number; stderr: string }> {
  return await readBeside(join(mountpoint, track), join(copy, track));
}

async function scan(
  dir: string,
  { url, env = {} }: { url: string; env?: Record<string, string> },
): Promise<Finished> {
  const args = ["scan", "--origin", url, "--cache-dir", join(dir, "cache")];
  return await musicfs(args, { home: dir, env, limitMs: 60_000 });
}

/** Exit 1, with one line on stderr. */
function assertOneLine({ code, stderr }: Finished, line: RegExp): void {
  assert.equal(code, 1, stderr);
  assert.match(stderr, line);
  assert.equal(stderr.trimEnd().split("\n").length, 1, stderr);
}

function assertNoSecrets(text: string, secrets: readonly string[]): void {
  for (const secret of secrets) assert.ok(!text.includes(secret), "a secret is shown");
}

async function assertNotInFiles(folder: string, secrets: readonly string[]): Promise<void> {
  for (const file of await filesIn(folder)) {
    const bytes = await Deno.readFile(join(folder, file));
    const text = new TextDecoder("latin1").decode(bytes);
    for (const secret of secrets) assert.ok(!text.includes(secret), `${file} holds a secret`);
  }
}
