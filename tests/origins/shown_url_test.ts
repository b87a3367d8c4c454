import assert from "node:assert/strict";
import fc from "fast-check";
import { originIdentity } from "../../src/origins/open.ts";
import { shownUrl } from "../../src/origins/shown_url.ts";

Deno.test("shownUrl() leaves out user, password and options, also of what is no URL", () => {
  const shown: Record<string, string> = {
    "/srv/music?odd#name@home": "/srv/music?odd#name@home",
    "file:///srv/my%20music/": "file:///srv/my%20music",
    "S3://bucket/prefix/?endpoint=http://k:s@127.0.0.1:9000": "s3://bucket/prefix",
    "sftp://me:secret@nas:2222/music#x": "sftp://nas:2222/music",
    "sftp://me:sec/ret@nas/music": "sftp://nas/music",
    "sftp://me:sec?ret@nas/music": "sftp://nas/music",
    "sftp://me:secret@nas:port/music?x=1": "sftp://nas:port/music",
    "sftp://nas/music@home": "sftp://nas/music@home",
  };
  for (const [url, expected] of Object.entries(shown)) assert.equal(shownUrl(url), expected);
});

Deno.test("shownUrl() is the identity of every origin that is not local", () => {
  const urls = [
    "s3://bucket",
    "s3://bucket/a%20b/?region=eu",
    "sftp://u:p@nas:22/music/",
    "SFTP://nas/x",
  ];
  for (const url of urls) assert.equal(shownUrl(url), originIdentity(url));
});

Deno.test("shownUrl() shows no password whatever it is made of", () => {
  const password = fc.string({ unit: "binary-ascii", minLength: 1, maxLength: 12 })
    // Digits are a port to whoever reads them, if what follows is a `?`, a `#` or a `/`.
    .map((text) => `:S3CR3T${text}`);
  fc.assert(fc.property(password, (word) => {
    const shown = shownUrl(`sftp://me${word}@nas/music`);
    assert(!shown.includes("S3CR3T"), shown);
  }));
});
