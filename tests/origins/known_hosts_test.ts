import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import fc from "fast-check";
import {
  fingerprintOf,
  hostToken,
  judgeHostKey,
  keyTypeOf,
  knownKeyTypes,
  parseKnownHosts,
} from "../../src/origins/known_hosts.ts";

/** A public key of a type, as SSH has it: the type as a string, then whatever. */
function keyOf(type: string, fill: number): Uint8Array {
  const body = new Uint8Array(4 + type.length + 32).fill(fill);
  new DataView(body.buffer).setUint32(0, type.length);
  body.set(new TextEncoder().encode(type), 4);
  return body;
}

const ed25519 = keyOf("ssh-ed25519", 1);
const other = keyOf("ssh-ed25519", 2);
const rsa = keyOf("ssh-rsa", 3);

function words(key: Uint8Array): string {
  return `${keyTypeOf(key)} ${Buffer.from(key).toString("base64")}`;
}

function verdict(text: string, { host = "nas", port = 22, key = ed25519 } = {}): string {
  return judgeHostKey(parseKnownHosts(text), { host, port, key }).is;
}

Deno.test("judgeHostKey() matches names, lists, wildcards and negations as sshd(8) says", () => {
  const cases: [names: string, host: string, port: number, expected: string][] = [
    ["nas", "nas", 22, "known"],
    ["nas", "NAS", 22, "known"],
    ["NAS", "nas", 22, "known"],
    ["nas", "nas2", 22, "unknown"],
    ["nas,192.168.1.2", "192.168.1.2", 22, "known"],
    ["192.168.1.*", "192.168.1.20", 22, "known"],
    ["nas?", "nas2", 22, "known"],
    ["nas?", "nas", 22, "unknown"],
    ["*", "anything", 22, "known"],
    ["*.home,!guest.home", "nas.home", 22, "known"],
    ["*.home,!guest.home", "guest.home", 22, "unknown"],
    ["!guest.home", "nas.home", 22, "unknown"],
    ["[nas]:2222", "nas", 2222, "known"],
    ["[nas]:2222", "nas", 22, "unknown"],
    ["[nas]:2222", "nas", 2223, "unknown"],
    // As ssh: a key that is known for the host itself is good on its other ports.
    ["nas", "nas", 2222, "known"],
    ["::1", "::1", 22, "known"],
    ["[::1]:2222", "::1", 2222, "known"],
  ];
  for (const [names, host, port, expected] of cases) {
    const found = verdict(`${names} ${words(ed25519)} comment`, { host, port });
    assert.equal(found, expected, `${names} for ${hostToken(host, port)}`);
  }
});

Deno.test("judgeHostKey() tells a changed key from an unknown one by the type", () => {
  assert.equal(verdict(`nas ${words(other)}`), "changed");
  assert.equal(verdict(`nas ${words(other)}\nnas ${words(ed25519)}`), "known");
  assert.equal(
    verdict(`[nas]:2222 ${words(other)}\nnas ${words(ed25519)}`, { port: 2222 }),
    "changed",
  );
  const unknown = judgeHostKey(parseKnownHosts(`nas ${words(rsa)}`), {
    host: "nas",
    port: 22,
    key: ed25519,
  });
  assert.deepEqual(unknown, { is: "unknown", otherTypes: ["ssh-rsa"], authority: false });
});

Deno.test("judgeHostKey() refuses a revoked key and lets no authority vouch", () => {
  const revoked = `nas ${words(ed25519)}\n@revoked * ${words(ed25519)}`;
  assert.equal(verdict(revoked), "revoked");
  assert.equal(verdict(revoked, { port: 2222 }), "revoked");
  assert.equal(verdict(`nas ${words(ed25519)}\n@revoked * ${words(other)}`), "known");
  const authority = judgeHostKey(parseKnownHosts(`@cert-authority *.home ${words(ed25519)}`), {
    host: "nas.home",
    port: 22,
    key: ed25519,
  });
  assert.deepEqual(authority, { is: "unknown", otherTypes: [], authority: true });
});

Deno.test("judgeHostKey() finds hashed names", () => {
  fc.assert(fc.property(
    fc.uint8Array({ minLength: 20, maxLength: 20 }),
    fc.domain(),
    fc.integer({ min: 1, max: 65_535 }),
    (salt, host, port) => {
      const hash = createHmac("sha1", salt).update(hostToken(host, port)).digest("base64");
      const line = `|1|${Buffer.from(salt).toString("base64")}|${hash} ${words(ed25519)}`;
      assert.equal(verdict(line, { host, port }), "known");
      assert.equal(verdict(line, { host: `${host}x`, port }), "unknown");
    },
  ));
});

Deno.test("parseKnownHosts() leaves out what is no line of a key, and never throws", () => {
  const text = [
    "# comment",
    "",
    "nas",
    `nas ssh-ed25519`,
    `@other nas ${words(ed25519)}`,
    `nas ssh-ed25519 not-base64!`,
    `\t nas\t${words(ed25519)} a comment \r`,
  ].join("\n");
  assert.equal(parseKnownHosts(text).length, 1);
  assert.equal(verdict(text), "known");
  fc.assert(fc.property(fc.string(), (garbage) => {
    const lines = parseKnownHosts(garbage);
    assert.notEqual(judgeHostKey(lines, { host: "nas", port: 22, key: ed25519 }).is, "known");
  }));
});

Deno.test("judgeHostKey() is fast for a line that is made to be slow", () => {
  const line = `${"*a".repeat(2_000)}b ${words(ed25519)}`;
  assert.equal(verdict(line, { host: "a".repeat(2_000) }), "unknown");
});

Deno.test("knownKeyTypes() names the types that a host is known by, once each", () => {
  const text = `nas ${words(rsa)}\n* ${words(ed25519)}\nnas,x ${words(other)}\n@revoked nas ${
    words(keyOf("ecdsa-sha2-nistp256", 4))
  }`;
  const hosts = parseKnownHosts(text);
  assert.deepEqual(knownKeyTypes(hosts, "nas", 22), ["ssh-rsa", "ssh-ed25519"]);
  assert.deepEqual(knownKeyTypes(hosts, "other", 22), ["ssh-ed25519"]);
  assert.deepEqual(knownKeyTypes(parseKnownHosts(`nas ${words(rsa)}`), "nas", 2222), ["ssh-rsa"]);
});

Deno.test("fingerprintOf() prints what ssh-keygen -l does", () => {
  const key = Buffer.from(
    "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
    "base64",
  );
  // GitHub's ed25519 key, as GitHub publishes key and fingerprint.
  assert.equal(fingerprintOf(key), "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU");
  assert.equal(keyTypeOf(key), "ssh-ed25519");
  assert.equal(keyTypeOf(new Uint8Array(3)), undefined);
  assert.equal(keyTypeOf(new Uint8Array([0, 0, 0, 9, 1])), undefined);
});
