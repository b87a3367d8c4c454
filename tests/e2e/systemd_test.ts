/** The units under a real systemd manager. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { testWith } from "../support/requirements.ts";
import { writeSampleLibrary } from "../support/sample_library.ts";
import { MusicfsUnit, SYSTEMD_NEEDS, SystemdManager } from "../support/systemd_manager.ts";
import { tempDir } from "../support/temp_dir.ts";

testWith(
  SYSTEMD_NEEDS,
  "systemctl start returns once ls works; stop unmounts, exit 0",
  async () => {
    await using dir = await tempDir("units");
    const origin = join(dir.path, "origin");
    await writeSampleLibrary(origin);
    await using manager = await SystemdManager.start(dir.path);
    const unit = await MusicfsUnit.make(manager, { origins: [origin] });
    await unit.start();
    assert.equal(await unit.state(), "active (running)");
    await manager.output("diff", ["-r", origin, unit.mountpoint]);
    await manager.ctl("stop", unit.name);
    assert.equal(await unit.state(), "inactive (dead)");
    assert.equal(await unit.property("ExecMainStatus"), "0");
    assert.equal(await unit.property("Result"), "success");
    assert.deepEqual(manager.mountsAt(unit.mountpoint), []);
  },
);
