/** A daemon killed while it is read from: the next one needs no help, and no byte is wrong. */

import { join } from "node:path";
import { type Daemon, musicfs, startDaemon } from "../support/daemon.ts";
import { noise } from "../support/flac_file.ts";
import { output, run } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise } from "../support/sample_library.ts";
import { rounds, seed } from "../support/scale.ts";
import { tempDir } from "../support/temp_dir.ts";
import assert from "node:assert/strict";

const FILES = 12;
const FILE_BYTES = 3_000_000;

testWith(
  ["fuse", "fusermount3", "diff"],
  "kill -9 while reading costs nothing but time",
  async () => {
    await using dir = await tempDir("kill9");
    const origin = join(dir.path, "origin");
    for (let i = 0; i < FILES; i += 1) {
      await writeNoise(join(origin, `${i}.flac`), { bytes: FILE_BYTES + i * 7_777, seed: i });
    }
    const random = noise(seed());
    for (let round = 0; round < rounds({ ci: 6, long: 50 }); round += 1) {
      await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
      const readers = Array.from({ length: 3 }, (_none, reader) => {
        const first = (round + reader * 4) % FILES;
        return readUntilDead(daemon, [first, (first + 1) % FILES, (first + 2) % FILES]);
      });
      await new Promise((resolve) => setTimeout(resolve, (random() >>> 0) % 300));
      await daemon.kill();
      await Promise.all(readers);
      // What was mounted is dead now, and is left for the next daemon to clear.
      await using next = await startDaemon({ dir: dir.path, origins: [origin] });
      const some = `${(random() >>> 0) % FILES}.flac`;
      await output("cmp", [join(origin, some), join(next.mountpoint, some)]);
      if (round % 5 === 0) await output("diff", ["-r", origin, next.mountpoint]);
      assert.equal(await next.stop(), 0);
    }
    const verified = await musicfs(["verify", "--cache-dir", join(dir.path, "cache")]);
    assert.equal(verified.code, 0, verified.stdout + verified.stderr);
  },
);

/** Compares files until the mount dies; other bytes than the origin's fail, an error does not. */
async function readUntilDead(daemon: Daemon, files: readonly number[]): Promise<void> {
  for (const file of files) {
    const path = join(daemon.mountpoint, `${file}.flac`);
    const original = join(daemon.mountpoint, "../origin", `${file}.flac`);
    const { code, stdout } = await run("cmp", ["--", path, original]);
    assert.notEqual(code, 1, `wrong bytes: ${stdout}`);
  }
}
