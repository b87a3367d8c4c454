import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import { type Identity, S3Credentials } from "../../src/origins/s3_credentials.ts";
import { tempDir } from "../support/temp_dir.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

const SECRET = "very-secret-key";

Deno.test("S3Credentials keeps what it found until five minutes before its end", async () => {
  const clock = new VirtualClock();
  const rig = rigged({ AWS_WEB_IDENTITY_TOKEN_FILE: "/x" }, clock);
  const end = new Date(clock.now() + 3_600_000);
  rig.next = () => ({ accessKeyId: `key ${rig.calls}`, secretAccessKey: SECRET, expiration: end });
  const both = await Promise.all([rig.credentials.current(), rig.credentials.current()]);
  assert.deepEqual(both.map(({ accessKeyId }) => accessKeyId), ["key 1", "key 1"]);
  await clock.advance(3_600_000 - 301_000);
  assert.equal((await rig.credentials.current()).accessKeyId, "key 1");
  await clock.advance(2_000);
  assert.equal((await rig.credentials.current()).accessKeyId, "key 2");
});

Deno.test("S3Credentials without a file or a variable do not wait for a metadata service", async () => {
  await using dir = await tempDir("s3");
  const rig = rigged({ HOME: dir.path });
  await denied(rig.credentials.current(), /set AWS_ACCESS_KEY_ID/);
  assert.equal(rig.calls, 0);
});

Deno.test("S3Credentials look again for what was not there, but not for each call", async () => {
  const clock = new VirtualClock();
  const rig = rigged({ AWS_WEB_IDENTITY_TOKEN_FILE: "/x", AWS_PROFILE: "nas" }, clock);
  rig.next = () => {
    throw new Error(`cannot parse ${SECRET}`);
  };
  for (let i = 0; i < 3; i += 1) {
    await denied(rig.credentials.current(), /profile "nas" has none; set AWS_ACCESS_KEY_ID/);
  }
  assert.equal(rig.calls, 1);
  rig.next = () => ({ accessKeyId: "key", secretAccessKey: SECRET });
  await clock.advance(5_001);
  assert.equal((await rig.credentials.current()).accessKeyId, "key");
});

Deno.test("S3Credentials.renew() finds rotated keys, and looks at most every five seconds", async () => {
  const clock = new VirtualClock();
  const rig = rigged({ AWS_WEB_IDENTITY_TOKEN_FILE: "/x" }, clock);
  const old = await rig.credentials.current();
  assert.equal(await rig.credentials.renew(old), false);
  assert.equal(rig.calls, 2);
  rig.next = () => ({ accessKeyId: "new", secretAccessKey: SECRET });
  assert.equal(await rig.credentials.renew(old), false);
  await clock.advance(5_001);
  assert.equal(await rig.credentials.renew(old), true);
  assert.equal((await rig.credentials.current()).accessKeyId, "new");
  assert.equal(await rig.credentials.renew(old), true);
  assert.equal(rig.calls, 3);
});

interface Rig {
  credentials: S3Credentials;
  calls: number;
  next: () => Identity;
}

/** Credentials whose chain gives what `next` does. */
function rigged(env: Record<string, string>, clock = new VirtualClock()): Rig {
  const chain = () => () => {
    rig.calls += 1;
    return Promise.try(rig.next);
  };
  const rig: Rig = {
    credentials: new S3Credentials({ profile: undefined, env: (name) => env[name], clock, chain }),
    calls: 0,
    next: () => ({ accessKeyId: "old", secretAccessKey: SECRET }),
  };
  return rig;
}

async function denied(call: Promise<unknown>, message: RegExp): Promise<void> {
  await assert.rejects(call, (error) => {
    assert(error instanceof MusicfsError && error.code === "denied");
    assert.match(error.message, message);
    assert(!`${error.message} ${error.cause}`.includes(SECRET));
    return true;
  });
}
