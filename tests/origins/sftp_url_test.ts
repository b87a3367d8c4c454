import assert from "node:assert/strict";
import fc from "fast-check";
import { MusicfsError } from "../../src/base/errors.ts";
import { parseSftpUrl } from "../../src/origins/sftp_url.ts";

const fingerprint = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU";

function refusal(url: string): string {
  try {
    parseSftpUrl(url);
  } catch (error) {
    assert(error instanceof MusicfsError);
    assert.equal(error.code, "invalid");
    assert(!JSON.stringify(error, Object.getOwnPropertyNames(error)).includes("hunter2"), url);
    return error.message;
  }
  throw new Error(`${url} was accepted`);
}

Deno.test("parseSftpUrl() reads every part and option", () => {
  assert.deepEqual(
    parseSftpUrl(
      "sftp://me%40home@nas.local:2222/srv/my%20music+more/?identity_file=~/.ssh/a%26b" +
        `&known_hosts=/etc/hosts+known&fingerprint=${fingerprint}&password_file=p` +
        "&passphrase_file=q&sessions=16",
    ),
    {
      user: "me@home",
      host: "nas.local",
      port: 2222,
      root: "/srv/my music+more",
      identityFile: "~/.ssh/a&b",
      passphraseFile: "q",
      passwordFile: "p",
      knownHosts: "/etc/hosts+known",
      fingerprint,
      sessions: 16,
    },
  );
});

Deno.test("parseSftpUrl() has ssh's defaults", () => {
  const { user, host, port, root, sessions, ...rest } = parseSftpUrl("SFTP://nas/");
  assert.deepEqual({ user, host, port, root, sessions }, {
    user: undefined,
    host: "nas",
    port: 22,
    root: "",
    sessions: 4,
  });
  assert.deepEqual(new Set(Object.values(rest)), new Set([undefined]));
  assert.equal(parseSftpUrl("sftp://[fe80::1]/x").host, "fe80::1");
  assert.equal(parseSftpUrl("sftp://[fe80::1]:2222/x").port, 2222);
});

Deno.test("parseSftpUrl() refuses what it cannot use, and says why", () => {
  const cases: [url: string, why: RegExp][] = [
    ["sftp://me:hunter2@nas/x", /a password does not belong in a URL.*password_file=FILE/],
    ["sftp://me:hunter2@nas/x?password_file=y", /a password does not belong in a URL/],
    ["sftp://:hunter2@nas/x", /a password does not belong in a URL/],
    ["sftp://me:hunter2@nas:port/x", /a password does not belong in a URL/],
    ["sftp://nas:port/x", /its host is not a name/],
    ["sftp://me:x/hunter2@nas/x", /its host is not a name/],
    ["sftp://me:x?hunter2@nas/x", /its host is not a name/],
    ["sftp:/nas/x", /write sftp:/],
    ["sftp:///x", /names no host/],
    ["sftp://nas", /names no folder/],
    ["sftp://nas?sessions=2", /names no folder/],
    ["sftp://::1/x", /its host is not a name/],
    ["sftp://[nas]/x", /no IPv6 address/],
    ["sftp://nas:0/x", /no port/],
    ["sftp://nas:65536/x", /no port/],
    ["sftp://nas/x/../y", /"\." or "\.\."/],
    ["sftp://nas/x%2F..%2Fy", /"\." or "\.\."/],
    ["sftp://nas/x%00", /NUL/],
    ["sftp://nas/%FF", /its path is not URL-encoded UTF-8/],
    ["sftp://nas/x#y", /"#"/],
    ["sftp://nas/x?port=22", /"port" is not one of identity_file, known_hosts, fingerprint/],
    ["sftp://nas/x?Sessions=2", /"Sessions" is not one of/],
    ["sftp://nas/x?sessions=0", /number from 1 to 16/],
    ["sftp://nas/x?sessions=17", /number from 1 to 16/],
    ["sftp://nas/x?sessions=1.5", /number from 1 to 16/],
    ["sftp://nas/x?sessions=2&sessions=3", /sessions is given twice/],
    ["sftp://nas/x?identity_file=", /identity_file is empty/],
    ["sftp://nas/x?known_hosts=%", /known_hosts is not URL-encoded/],
    ["sftp://nas/x?fingerprint=MD5:aa", /its fingerprint is not SHA256/],
    ["sftp://nas/x?password=hunter2", /"password" is not one of/],
  ];
  for (const [url, why] of cases) assert.match(refusal(url), why, url);
});

Deno.test("parseSftpUrl() brings every path and file through its encoding", () => {
  const name = fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 })
    .filter((text) => !/[/\0]/.test(text) && text !== "." && text !== ".." && text.isWellFormed());
  fc.assert(fc.property(fc.array(name, { minLength: 1, maxLength: 4 }), name, (parts, file) => {
    const path = parts.map(encodeURIComponent).join("/");
    const parsed = parseSftpUrl(`sftp://nas/${path}?identity_file=${encodeURIComponent(file)}`);
    assert.equal(parsed.root, `/${parts.join("/")}`);
    assert.equal(parsed.identityFile, file);
  }));
});
