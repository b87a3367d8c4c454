/** Edits at an SFTP server that leave size and time as they were, for its times have whole seconds. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { musicfs, startDaemon } from "../support/daemon.ts";
import { eventually, output } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";
import { REMOTE_NEEDS, startFolder } from "./remote.ts";

/** Longest wait until an edit shows, in ms: 3 s after the listing, and then some. */
const CONFIRMED_MS_MAX = 30_000;

testWith(
  REMOTE_NEEDS.sftp,
  "an edit within the second that a file was listed in shows once its bytes were compared",
  async () => {
    await using dir = await tempDir("young");
    const folder = join(dir.path, "music");
    await writeNoise(join(folder, "old.flac"), { bytes: 100_000, seed: 1 });
    await output("touch", ["-d", "2020-01-01", join(folder, "old.flac")]);
    await using remote = await startFolder(folder);
    await using daemon = await startDaemon({ dir: dir.path, origins: [remote.url()] });
    const scan = async (): Promise<void> => {
      const { code, stderr } = await musicfs(["scan", "--cache-dir", daemon.cacheDir]);
      assert.equal(code, 0, stderr);
    };
    await scan();
    // One of them is read whole, of the other a part, and nothing of the third.
    const names = ["whole.flac", "part.flac", "unread.flac"];
    const edited = (name: string): string => join(folder, name);
    const time = `@${Math.floor(Date.now() / 1_000)}`;
    for (const [seed, name] of names.entries()) {
      await writeNoise(edited(name), { bytes: 3_000_000, seed });
      await output("touch", ["-d", time, edited(name)]);
    }
    await scan();
    const shown = (name: string): string => join(daemon.mountpoint, name);
    assert.deepEqual(
      await Deno.readFile(shown("whole.flac")),
      await Deno.readFile(edited("whole.flac")),
    );
    await output("dd", [`if=${shown("part.flac")}`, "of=/dev/null", "bs=4k", "count=1"]);
    for (const name of names) {
      const script =
        'printf X | dd of="$0" bs=1 seek=100 conv=notrunc status=none; touch -d "$1" "$0"';
      await output("bash", ["-c", script, edited(name), time]);
    }
    for (const name of names) {
      const same = async (): Promise<boolean> => {
        const [shownBytes, now] = await Promise.all([
          Deno.readFile(shown(name)),
          Deno.readFile(edited(name)),
        ]);
        return shownBytes.every((byte, i) => byte === now[i]);
      };
      await eventually(same, { ms: CONFIRMED_MS_MAX, what: `${name} as it is now` });
    }
    assert.equal(daemon.log.match(/edited within the second/g)?.length, 2, daemon.log);
    await scan();
    await output("diff", ["-r", folder, daemon.mountpoint]);
  },
);
