/** `mount --replace` of a mount that systemd's store of descriptors holds. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { eventually, within } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise } from "../support/sample_library.ts";
import { MusicfsUnit, SYSTEMD_NEEDS, SystemdManager } from "../support/systemd_manager.ts";
import { tempDir } from "../support/temp_dir.ts";

const WAIT_MS_MAX = 60_000;

testWith(
  [...SYSTEMD_NEEDS, "passthrough"],
  "mount --replace takes a unit's mount over under a reader, and the unit ends",
  async () => {
    await using dir = await tempDir("units");
    const origin = join(dir.path, "origin");
    await writeNoise(join(origin, "1.flac"), { bytes: 3_000_000, seed: 1 });
    await using manager = await SystemdManager.start(dir.path);
    const unit = await MusicfsUnit.make(manager, { origins: [origin] });
    await unit.start();
    const before = manager.mountsAt(unit.mountpoint);
    // Past the page cache: each read goes to the daemon.
    const script = `cd "$1" && until [ -e "$2/enough" ]; do
      dd if=1.flac bs=64k iflag=direct status=none | cmp - "$2/origin/1.flac" || exit 1; done`;
    const words = ["-o", "pipefail", "-c", script, "-", unit.mountpoint, dir.path];
    const reader = manager.spawn("bash", words).output();
    const child = manager.spawn(join(dir.path, "bin/musicfs"), [
      ...["mount", unit.mountpoint, "--replace", "--origin", origin, "--cache", "on"],
      ...["--cache-dir", unit.cacheDir],
    ]);
    const ended = child.output();
    try {
      await unit.until(async () => await unit.state() === "inactive (dead)", "the unit's end");
      assert.equal(await unit.property("Result"), "success");
      await eventually(async () => {
        const lock = await Deno.readTextFile(join(unit.cacheDir, "musicfs.lock"));
        return lock.endsWith("\n") && JSON.parse(lock).supervisor_pid === child.pid;
      }, { ms: WAIT_MS_MAX, what: "another daemon" });
      assert.deepEqual(manager.mountsAt(unit.mountpoint), before);
      await Deno.writeTextFile(join(dir.path, "enough"), "");
      const { code, stderr } = await reader;
      assert.equal(code, 0, new TextDecoder().decode(stderr) + await manager.log());
    } finally {
      await Deno.writeTextFile(join(dir.path, "enough"), "");
      child.kill("SIGTERM");
    }
    const { code, stderr } = await within(ended, { ms: WAIT_MS_MAX, what: "its end" });
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    assert.deepEqual(manager.mountsAt(unit.mountpoint), []);
  },
);
