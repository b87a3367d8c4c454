import assert from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import { MusicfsError } from "../../src/base/errors.ts";
import { silentLog } from "../../src/base/log.ts";
import { LocalOrigin } from "../../src/origins/local.ts";
import { localFolder, openOrigin, originIdentity } from "../../src/origins/open.ts";
import { tempDir } from "../support/temp_dir.ts";

const OPTIONS = { log: silentLog, clock: systemClock, env: () => undefined };

Deno.test("originIdentity() is the URL without credentials, options and final slash", () => {
  const identities: Record<string, string> = {
    "/srv/music/": "/srv/music",
    "/srv/music?odd#name": "/srv/music?odd#name",
    "file:///srv/my%20music/": "/srv/my music",
    "file://localhost/srv": "/srv",
    "s3://bucket/prefix/?endpoint=http://127.0.0.1:9000&region=eu": "s3://bucket/prefix",
    "sftp://me:secret@nas:2222/music?identity_file=/k": "sftp://nas:2222/music",
  };
  for (const [url, identity] of Object.entries(identities)) {
    assert.equal(originIdentity(url), identity);
  }
});

Deno.test("localFolder() is the folder of a local origin and undefined for all others", () => {
  assert.equal(localFolder("file:///srv/music/"), "/srv/music");
  assert.equal(localFolder("s3://bucket"), undefined);
});

Deno.test("openOrigin() opens a folder, also one that is not there yet", async () => {
  await using dir = await tempDir("open");
  for (const url of [dir.path, `file://${dir.path}`, `${dir.path}/none`]) {
    const origin = await openOrigin({ name: "music", url }, OPTIONS);
    assert(origin instanceof LocalOrigin);
    assert.equal(origin.name, "music");
    await origin[Symbol.asyncDispose]();
  }
});

Deno.test("openOrigin() refuses what it cannot open, without showing a secret", async () => {
  for (
    const url of ["sftp://me:secret@nas/x", "ftp://me:secret@h/", "file://host/x", ""]
  ) {
    await assert.rejects(openOrigin({ name: "nas", url }, OPTIONS), (error) => {
      assert(error instanceof MusicfsError && error.code === "invalid");
      assert(!error.message.includes("secret"));
      return true;
    });
  }
});
