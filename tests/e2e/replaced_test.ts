/** A file replaced at the origin while it is open here: one version or ESTALE, never a mix. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { musicfs, startDaemon } from "../support/daemon.ts";
import { within } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { randomBytes } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";

const BYTES = 6_000_000;
const CASES = [
  { name: "read before", readFirst: BYTES },
  { name: "half read before", readFirst: BYTES / 2 },
  { name: "only opened before", readFirst: 0 },
] as const;

for (const { name, readFirst } of CASES) {
  testWith(
    ["fuse", "fusermount3"],
    `a file replaced while it is open (${name}) keeps its bytes or is ESTALE`,
    async () => {
      await using dir = await tempDir("replaced");
      const origin = join(dir.path, "origin");
      const [before, after] = [randomBytes(BYTES, 1), randomBytes(BYTES + 4_321, 2)];
      await Deno.mkdir(origin);
      await Deno.writeFile(join(origin, "track.flac"), before);
      await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
      const path = join(daemon.mountpoint, "track.flac");

      using open = await Deno.open(path);
      await assertReads(open, before.subarray(0, readFirst));
      await Deno.writeFile(join(origin, "new"), after);
      await Deno.rename(join(origin, "new"), join(origin, "track.flac"));
      const scanned = await musicfs(["scan", "--cache-dir", daemon.cacheDir]);
      assert.equal(scanned.code, 0, scanned.stderr);

      const fresh = await within(Deno.readFile(path), { ms: 30_000, what: "the new version" });
      assert.deepEqual(Buffer.compare(fresh, after), 0, "a new open shows another version");
      await assertOldOrStale(open, before, readFirst === BYTES);
    },
  );
}

/** Reads `expected` from the file's position on. */
async function assertReads(file: Deno.FsFile, expected: Uint8Array): Promise<void> {
  let at = 0;
  while (at < expected.length) {
    const buffer = new Uint8Array(Math.min(100_000, expected.length - at));
    const n = await within(file.read(buffer), { ms: 30_000, what: "a read" });
    assert.ok(n, "the file ended early");
    assert.equal(Buffer.compare(buffer.subarray(0, n), expected.subarray(at, at + n)), 0);
    at += n;
  }
}

/** Reads the whole handle: old bytes up to its end, or ESTALE where they are no longer to be had. */
async function assertOldOrStale(
  file: Deno.FsFile,
  before: Uint8Array,
  isWholeKept: boolean,
): Promise<void> {
  await file.seek(0, Deno.SeekMode.Start);
  try {
    await assertReads(file, before);
    assert.equal(await file.read(new Uint8Array(10)), null, "the old version has grown");
  } catch (error) {
    const isStale = error instanceof Error &&
      /ESTALE|[Ss]tale file handle|os error 116/.test(error.message);
    if (!isStale) throw error;
    assert.ok(!isWholeKept, "what was read before must stay readable");
  }
}
