/** A daemon killed at each step of writing a chunk: the next one has a sound cache, and right bytes. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { musicfs, startDaemon } from "../support/daemon.ts";
import { output, run } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";

/** Of the steps, which hit kills: not the first, so that some chunks are there already. */
const HIT = 5;

/** Exit code of what SIGKILL ended. */
const KILLED = 137;

/** In the order in which a chunk goes through them. */
const STEPS = [
  "store.put.before_write",
  "store.put.before_rename",
  "store.put.after_rename",
  "ingest.before_commit",
] as const;

testWith(
  ["fuse", "fusermount3", "diff", "find"],
  "a daemon killed at any step of writing a chunk leaves a sound cache, and an empty tmp",
  async (context) => {
    await using dir = await tempDir("store-kill");
    const origin = join(dir.path, "origin");
    for (let i = 0; i < 2; i += 1) {
      await writeNoise(join(origin, `${i}.flac`), { bytes: 6_000_000, seed: i });
    }
    for (const [at, step] of STEPS.entries()) {
      await context.step(step, async () => {
        const cacheDir = join(dir.path, `cache-${at}`);
        const mount = { dir: dir.path, origins: [origin], cacheDir };
        {
          const hits = step.startsWith("ingest") ? 0 : HIT;
          const env = { MUSICFS_FAILPOINTS: `${step}=${hits}*off->kill` };
          await using daemon = await startDaemon({ ...mount, env });
          // It may come to its end before the chunks are written, or be cut off.
          await run("diff", ["-r", origin, daemon.mountpoint]);
          assert.equal(await daemon.exitCode(), KILLED, "nothing came to that step");
        }
        // Of a chunk that was being written something is left, and it is not in its place.
        const left = await output("find", [join(cacheDir, "tmp"), "-type", "f"]);
        assert.equal(left !== "", /before_(write|rename)/.test(step), left);
        await using daemon = await startDaemon(mount);
        assert.equal(await output("find", [join(cacheDir, "tmp"), "-type", "f"]), "");
        const verified = await musicfs(["verify", "--cache-dir", cacheDir]);
        assert.equal(verified.code, 0, verified.stdout + verified.stderr);
        await output("diff", ["-r", origin, daemon.mountpoint]);
        assert.equal(await daemon.stop(), 0);
      });
    }
  },
);
