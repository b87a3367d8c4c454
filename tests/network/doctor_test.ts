/** `musicfs doctor` beside real servers: reached, refused, not to be trusted, frozen. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { musicfs } from "../support/daemon.ts";
import { testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";
import { writeTracks } from "./library.ts";
import { REMOTE_NEEDS, startBucket, startFolder } from "./remote.ts";

const ALBUM = { count: 2, bytes: 20_000 };

/** What it says of the one origin, and all that it said. */
async function doctor(
  home: string,
  { url, env = {} }: { url: string; env?: Record<string, string> },
): Promise<{ origin: string; all: string }> {
  const ran = await musicfs(["doctor", "--json", "--origin", url], { home, env });
  const { checks }: { checks: Record<string, string>[] } = JSON.parse(ran.stdout);
  const found = checks.filter(({ name }) => name?.startsWith("origin "));
  assert.equal(found.length, 1);
  const [{ state, found: what, remedy } = {}] = found;
  return { origin: `${state}: ${what} -> ${remedy}`, all: ran.stdout + ran.stderr };
}

testWith(REMOTE_NEEDS.s3, "doctor reaches a bucket, and says which key was refused", async () => {
  await using dir = await tempDir("doctor-s3");
  const copy = join(dir.path, "copy");
  await writeTracks(copy, ALBUM);
  await using remote = await startBucket(copy);
  const good = await doctor(dir.path, { url: remote.url(), env: remote.env });
  assert.match(good.origin, /^(ok|warning): answers in .* ms, lists [1-9]/);
  const secret = "a-wrong-and-secret-key";
  const env = { ...remote.env, AWS_SECRET_ACCESS_KEY: secret };
  const refused = await doctor(dir.path, { url: remote.url(), env });
  assert.match(refused.origin, /^failed: .*secret key.* -> mend the credentials/);
  for (const word of [secret, ...remote.secrets]) {
    assert(!(good.all + refused.all).includes(word), "a secret was printed");
  }
});

testWith(
  REMOTE_NEEDS.sftp,
  "doctor refuses a host key that is not the one, and waits for no frozen server",
  async () => {
    await using dir = await tempDir("doctor-sftp");
    const copy = join(dir.path, "copy");
    await writeTracks(copy, ALBUM);
    await using remote = await startFolder(copy);
    const good = await doctor(dir.path, { url: remote.url() });
    assert.match(good.origin, /^(ok|warning): answers in .* ms, lists [1-9]/);
    remote.freeze();
    try {
      const frozen = await doctor(dir.path, { url: remote.url() });
      assert.match(frozen.origin, /^failed: .* -> .*network/);
    } finally {
      remote.thaw();
    }
    const url = remote.url();
    await remote.stop();
    await remote.sshd.replaceHostKey();
    await remote.start();
    const refused = await doctor(dir.path, { url });
    assert.match(refused.origin, /^failed: .*host key.* -> mend the credentials, host key/i);
  },
);
