import assert from "node:assert/strict";
import { run } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { startMinio } from "../support/servers/minio.ts";
import { type PasswordUser, type Sshd, startSshd } from "../support/servers/sshd.ts";
import { startToxiproxy } from "../support/servers/toxiproxy.ts";
import { tempDir } from "../support/temp_dir.ts";

testWith(
  ["minio"],
  "startMinio() answers, and again with the same data after stop() and start()",
  async () => {
    await using minio = await startMinio({ buckets: ["music"] });
    await minio.put("music", "Artist/Ünï +&.flac", "bytes");
    await minio.stop();
    await assert.rejects(minio.put("music", "b", "b"));
    await minio.start();
    const body = await minio.request({ method: "GET", path: "/music/Artist/Ünï +&.flac" });
    assert.equal(body, "bytes");
  },
);

testWith(
  ["minio"],
  "startMinio() lets anonymous clients list and get, and nothing else, when told so",
  async () => {
    await using minio = await startMinio({ buckets: ["music"] });
    await minio.put("music", "a", "bytes");
    const get = async (method: string): Promise<number> => {
      const response = await fetch(`${minio.endpoint}/music/a`, { method });
      await response.body?.cancel();
      return response.status;
    };
    assert.equal(await get("GET"), 403);
    await minio.allowAnonymous("music");
    assert.equal(await get("GET"), 200);
    assert.equal(await get("DELETE"), 403);
  },
);

testWith(
  ["sshd", "sftp"],
  "startSshd() serves files by key, to those who know its host key",
  async () => {
    await using sshd = await startSshd();
    assert.match(await sftp(sshd, "ls /etc/hostname"), /hostname/);
    await sshd.stop();
    assert.match(await sftp(sshd, "ls /etc/hostname"), /refused/);
    await sshd.start();
    assert.match(await sftp(sshd, "ls /etc/hostname"), /hostname/);
    await sshd.stop();
    await sshd.replaceHostKey();
    await sshd.start();
    assert.match(await sftp(sshd, "ls /etc/hostname"), /IDENTIFICATION HAS CHANGED/);
  },
);

testWith(
  ["sshd", "sftp", "openssl", "root"],
  "startSshd() lets a user in by password whom this machine does not have",
  async () => {
    await using sshd = await startSshd({ withPassword: true });
    const user = sshd.passwordUser;
    assert.ok(user);
    assert.match(await sftpByPassword(sshd, user), /hostname/);
    assert.match(await sftpByPassword(sshd, { ...user, password: "wrong" }), /denied/);
    assert.doesNotMatch(await Deno.readTextFile("/etc/passwd"), /musicfs-test/);
  },
);

testWith(
  ["minio", "toxiproxy"],
  "startToxiproxy() proxies, delays, limits and cuts connections",
  async () => {
    await using minio = await startMinio({ buckets: ["music"] });
    await minio.put("music", "a", "0123456789".repeat(1_000));
    await minio.allowAnonymous("music");
    await using toxiproxy = await startToxiproxy();
    await using proxy = await toxiproxy.proxyTo(minio.port);
    const get = async (): Promise<number> => {
      const response = await fetch(`${proxy.endpoint}/music/a`, {
        headers: { connection: "close" },
      });
      return (await response.arrayBuffer()).byteLength;
    };
    assert.equal(await get(), 10_000);
    const toxic = await proxy.add("limit_data", { bytes: 2_000 });
    await assert.rejects(get());
    await proxy.remove(toxic);
    await proxy.add("latency", { latency: 200 });
    const start = performance.now();
    assert.equal(await get(), 10_000);
    assert.ok(performance.now() - start >= 200);
    await proxy.disable();
    await assert.rejects(get());
    await proxy.clear();
    assert.equal(await get(), 10_000);
  },
);

async function sftpByPassword(sshd: Sshd, user: PasswordUser): Promise<string> {
  await using dir = await tempDir("askpass");
  const askpass = `${dir.path}/askpass`;
  await Deno.writeTextFile(askpass, `#!/bin/sh\necho '${user.password}'\n`, { mode: 0o700 });
  const { stdout, stderr } = await run("sftp", [
    ...["-F", "none", "-P", `${sshd.port}`, "-o", "PreferredAuthentications=password"],
    ...["-o", `UserKnownHostsFile=${sshd.knownHosts}`, "-o", "NumberOfPasswordPrompts=1"],
    `${user.name}@${sshd.host}`,
  ], {
    input: "ls /etc/hostname\n",
    env: { SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: "force" },
    limitMs: 10_000,
  });
  return stdout + stderr;
}

async function sftp(sshd: Sshd, batch: string): Promise<string> {
  const { stdout, stderr } = await run("sftp", [
    ...["-F", "none", "-b", "-", "-P", `${sshd.port}`, "-i", sshd.identityFile],
    ...["-o", `UserKnownHostsFile=${sshd.knownHosts}`, "-o", "IdentitiesOnly=yes"],
    ...["-o", "StrictHostKeyChecking=yes", `${sshd.user}@${sshd.host}`],
  ], { input: batch, limitMs: 10_000 });
  return stdout + stderr;
}
