/** A user without privileges mounts, reads and unmounts, by way of fusermount3. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { Daemon, unmounted } from "../support/daemon.ts";
import { mountsAt } from "../support/mounts.ts";
import { output, run } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeSampleLibrary } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";
import {
  AS_NOBODY,
  asNobody,
  fuseForEverybody,
  NOBODY,
  readableCommand,
} from "../support/unprivileged.ts";

testWith(
  ["fuse", "root", "fusermount3", "setpriv", "diff"],
  "an unprivileged user mounts, reads and unmounts",
  async () => {
    await using dir = await tempDir("user");
    await using _device = await fuseForEverybody();
    const command = await readableCommand(dir.path);
    const home = join(dir.path, "home");
    const origin = join(dir.path, "origin");
    await writeSampleLibrary(origin);
    await Deno.mkdir(home);
    await Deno.mkdir(join(home, "mnt"));
    await output("chown", ["-R", `${NOBODY}:${NOBODY}`, home]);
    await using daemon = await Daemon.spawn({
      dir: home,
      origins: [origin],
      prefix: AS_NOBODY,
      command,
      env: { DENO_DIR: join(home, "deno"), HOME: home },
    });
    await daemon.ready();
    assert.equal(mountsAt(daemon.mountpoint)[0]?.type, "fuse.musicfs");
    await asNobody("diff", ["-r", origin, daemon.mountpoint]);
    const owner = await asNobody("stat", ["-c", "%u", daemon.mountpoint]);
    assert.equal(owner.trim(), String(NOBODY));
    // Without allow_other nobody else may look, not even root.
    assert.notEqual((await run("ls", [daemon.mountpoint])).code, 0);
    const [setpriv = "", ...words] = [...AS_NOBODY, ...command, "unmount", daemon.mountpoint];
    await output(setpriv, words, { env: { DENO_DIR: join(home, "deno"), HOME: home } });
    assert.equal(await daemon.exitCode(), 0);
    await unmounted(daemon.mountpoint);
  },
);
