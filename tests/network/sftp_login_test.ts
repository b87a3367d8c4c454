import assert from "node:assert/strict";
import { output, run } from "../support/process.ts";
import { failure, names, sftpRig, shownOf } from "./sftp_rig.ts";

Deno.test("SftpOrigin refuses an unknown host; the line it tells, once added, lets it in", async () => {
  await using rig = await sftpRig();
  const knownHosts = `${rig.dir}/known hosts`;
  const url = rig.url({
    identity_file: rig.sshd.identityFile,
    known_hosts: encodeURIComponent(knownHosts),
  });
  const error = await failure("denied", names(rig.open(url)));
  assert.match(error.message, /is not known/);
  assert(error.message.includes(rig.sshd.fingerprint), error.message);
  assert(error.message.includes(`"${knownHosts}"`), error.message);
  const line = error.message.split("\n")[1] ?? "";
  assert.equal(line, rig.sshd.knownHostsLine);
  await Deno.writeTextFile(knownHosts, `${line}\n`);
  assert.deepEqual(await names(rig.open(url)), ["song"]);
});

Deno.test("SftpOrigin finds a host in a known_hosts file that ssh-keygen hashed", async () => {
  await using rig = await sftpRig();
  const { knownHosts, identityFile } = rig.sshd;
  await output("ssh-keygen", ["-H", "-f", knownHosts]);
  assert.match(await Deno.readTextFile(knownHosts), /^\|1\|/);
  const url = rig.url({ identity_file: identityFile, known_hosts: knownHosts });
  assert.deepEqual(await names(rig.open(url)), ["song"]);
});

Deno.test("SftpOrigin reads ~/.ssh as ssh does: known_hosts and keys", async () => {
  await using rig = await sftpRig();
  await Deno.mkdir(`${rig.dir}/.ssh`);
  await Deno.copyFile(rig.sshd.knownHosts, `${rig.dir}/.ssh/known_hosts`);
  await Deno.copyFile(rig.sshd.identityFile, `${rig.dir}/.ssh/id_ed25519`);
  const url = `sftp://${rig.sshd.host}:${rig.sshd.port}${rig.root}`;
  const env = { HOME: rig.dir, USER: rig.sshd.user };
  assert.deepEqual(await names(rig.open(url, env)), ["song"]);
  assert.deepEqual(await names(rig.open(`${url}?identity_file=~/.ssh/id_ed25519`, env)), ["song"]);
});

Deno.test("SftpOrigin refuses a host whose key has changed, and sends it nothing", async () => {
  await using rig = await sftpRig();
  const { sshd } = rig;
  const url = rig.url({ identity_file: sshd.identityFile, known_hosts: sshd.knownHosts });
  assert.deepEqual(await names(rig.open(url)), ["song"]);
  await sshd.stop();
  await sshd.replaceHostKey();
  await sshd.start();
  const before = sshd.log().length;
  const changed = await failure("denied", names(rig.open(url)));
  assert.match(changed.message, /THE HOST KEY OF \[127\.0\.0\.1\]:\d+ HAS CHANGED/);
  assert.match(changed.message, /ssh-keygen -R/);
  const pinned = await failure("denied", names(rig.open(sshd.url(rig.root))));
  assert.match(pinned.message, /IS NOT THE ONE IN THE URL/);
  assert(pinned.message.includes(sshd.fingerprint));
  assert.doesNotMatch(sshd.log().slice(before), /publickey|userauth/i);
});

Deno.test("SftpOrigin refuses a revoked host key, though another line knows it", async () => {
  await using rig = await sftpRig();
  const { knownHosts, knownHostsLine, identityFile } = rig.sshd;
  await Deno.writeTextFile(knownHosts, `${knownHostsLine}\n@revoked ${knownHostsLine}\n`);
  const url = rig.url({ identity_file: identityFile, known_hosts: knownHosts });
  assert.match((await failure("denied", names(rig.open(url)))).message, /IS REVOKED/);
});

Deno.test("SftpOrigin asks for the type of host key that it knows, first", async () => {
  await using keys = await sftpRig();
  for (const type of ["rsa", "ecdsa"]) {
    const file = `${keys.dir}/host_${type}`;
    await output("ssh-keygen", ["-q", "-t", type, "-N", "", "-f", file]);
    await using rig = await sftpRig({ config: [`HostKey ${file}`] });
    const { port, identityFile, knownHosts } = rig.sshd;
    const [name, key] = (await Deno.readTextFile(`${file}.pub`)).split(" ");
    await Deno.writeTextFile(knownHosts, `[127.0.0.1]:${port} ${name} ${key}\n`);
    const url = rig.url({ identity_file: identityFile, known_hosts: knownHosts });
    assert.deepEqual(await names(rig.open(url)), ["song"]);
    const listed = await output("ssh-keygen", ["-l", "-f", `${file}.pub`]);
    const fingerprint = listed.split(" ")[1] ?? "";
    const pinned = rig.url({ identity_file: identityFile, fingerprint });
    assert.deepEqual(await names(rig.open(pinned)), ["song"]);
  }
});

Deno.test("SftpOrigin logs in with a password from a file, systemd or the environment", async () => {
  await using rig = await sftpRig({ withPassword: true });
  const { passwordUser, fingerprint } = rig.sshd;
  assert(passwordUser);
  const file = `${rig.dir}/sftp_password`;
  await Deno.writeTextFile(file, `${passwordUser.password}\n`);
  const ways = [
    [rig.url({ fingerprint, password_file: file }, passwordUser.name), {}],
    [rig.url({ fingerprint }, passwordUser.name), { CREDENTIALS_DIRECTORY: rig.dir }],
    [rig.url({ fingerprint }, passwordUser.name), { MUSICFS_SFTP_PASSWORD: passwordUser.password }],
  ] as const;
  for (const [url, env] of ways) assert.deepEqual(await names(rig.open(url, env)), ["song"]);
});

Deno.test("SftpOrigin tells of a wrong password once, and what it was in no error and no log", async () => {
  await using rig = await sftpRig({ withPassword: true });
  const { fingerprint, passwordUser } = rig.sshd;
  const env = { MUSICFS_SFTP_PASSWORD: "wrong-horse-battery" };
  const origin = rig.open(rig.url({ fingerprint }, passwordUser?.name), env);
  const errors = await Promise.all(
    Array.from({ length: 8 }, () => failure("denied", names(origin))),
  );
  for (const error of errors) {
    assert.match(error.message, /does not let user "musicfs-test" in .*Tried: the password/);
    assert(!shownOf(error).includes("horse"), shownOf(error));
  }
  assert(!rig.log.join("\n").includes("horse"));
  await failure("denied", names(origin));
  // Eight calls and one more: one connection, as the refusal is remembered.
  const refused = rig.sshd.log().match(/Failed password for/g) ?? [];
  assert.equal(refused.length, 1, rig.sshd.log());
});

Deno.test("SftpOrigin tells which keys the server refused", async () => {
  await using rig = await sftpRig();
  const { fingerprint } = rig.sshd;
  const file = `${rig.dir}/other_key`;
  await output("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", file]);
  const wrong = rig.url({ fingerprint, identity_file: file });
  const error = await failure("denied", names(rig.open(wrong)));
  assert(error.message.includes(`Tried: the key "${file}"`), error.message);
  const body = (await Deno.readTextFile(file)).split("\n")[2] ?? "";
  assert(!shownOf(error).includes(body.slice(0, 30)));
  const missing = rig.url({ fingerprint, identity_file: `${rig.dir}/none` });
  assert.match((await failure("denied", names(rig.open(missing)))).message, /none" cannot be used/);
  const publicKey = rig.url({ fingerprint, identity_file: `${file}.pub` });
  assert.match((await failure("denied", names(rig.open(publicKey)))).message, /is a public key/);
  const nothing = await failure("denied", names(rig.open(rig.url({ fingerprint }))));
  assert.match(nothing.message, /no key and no password/);
});

Deno.test("SftpOrigin decrypts a key with the passphrase from a file, systemd or the environment", async () => {
  await using rig = await sftpRig();
  const { fingerprint, identityFile } = rig.sshd;
  const passphrase = "correct horse 7";
  const kinds = [["ed25519", "RFC4716"], ["rsa", "PEM"], ["ecdsa", "PKCS8"]] as const;
  for (const [type, format] of kinds) {
    const encrypted = `${rig.dir}/encrypted_${type}`;
    const words = ["-q", "-t", type, "-m", format, "-N", passphrase, "-f", encrypted];
    await output("ssh-keygen", words);
    const authorized = identityFile.replace(/[^/]+$/, "authorized_keys");
    const line = await Deno.readTextFile(`${encrypted}.pub`);
    await Deno.writeTextFile(authorized, line, { append: true });
    const url = rig.url({ fingerprint, identity_file: encrypted });
    const file = `${rig.dir}/sftp_passphrase`;
    await Deno.writeTextFile(file, `${passphrase}\n`);
    assert.deepEqual(await names(rig.open(`${url}&passphrase_file=${file}`)), ["song"]);
    assert.deepEqual(await names(rig.open(url, { CREDENTIALS_DIRECTORY: rig.dir })), ["song"]);
    const env = { MUSICFS_SFTP_PASSPHRASE: passphrase };
    assert.deepEqual(await names(rig.open(url, env)), ["song"]);
    const without = await failure("denied", names(rig.open(url)));
    assert.match(without.message, /is encrypted; add \?passphrase_file=FILE/);
    const wrong = { MUSICFS_SFTP_PASSPHRASE: "wrong-donkey" };
    const error = await failure("denied", names(rig.open(url, wrong)));
    assert.match(error.message, /with another passphrase/);
    assert(!shownOf(error).includes("donkey"));
  }
});

Deno.test("SftpOrigin logs in with a key that only the agent holds", async () => {
  await using rig = await sftpRig();
  const { fingerprint, identityFile } = rig.sshd;
  const socket = `${rig.dir}/agent`;
  const agent = new Deno.Command("ssh-agent", {
    args: ["-D", "-a", socket],
    stdout: "piped",
    stderr: "null",
  }).spawn();
  try {
    // It prints its socket's name once it listens.
    const reader = agent.stdout.getReader();
    await reader.read();
    await reader.cancel();
    const env = { SSH_AUTH_SOCK: socket };
    const other = await failure("denied", names(rig.open(rig.url({ fingerprint }), env)));
    assert.match(other.message, /Tried: the keys of the agent/);
    const { code, stderr } = await run("ssh-add", ["-q", identityFile], { env });
    assert.equal(code, 0, stderr);
    assert.deepEqual(await names(rig.open(rig.url({ fingerprint }), env)), ["song"]);
  } finally {
    agent.kill();
    await agent.status;
  }
});

Deno.test("SftpOrigin says what is wrong with a server that only knows chacha20-poly1305", async () => {
  await using rig = await sftpRig({ config: ["Ciphers chacha20-poly1305@openssh.com"] });
  const error = await failure("denied", names(rig.open()));
  assert.match(error.message, /no algorithm in common.*cipher.*not chacha20-poly1305/);
});

Deno.test("SftpOrigin tells a name that cannot be resolved from a port that nobody listens on", async () => {
  await using rig = await sftpRig();
  const { fingerprint, host, port } = rig.sshd;
  const nowhere = `sftp://me@nas.invalid/music?fingerprint=${fingerprint}`;
  const unresolved = await failure("unavailable", names(rig.open(nowhere)));
  assert.match(unresolved.message, /"nas\.invalid" cannot be resolved/);
  await rig.sshd.stop();
  const refused = await failure("unavailable", names(rig.open()));
  assert.match(refused.message, new RegExp(`at ${host} port ${port}: no connection`));
  assert(refused.retryable);
});
