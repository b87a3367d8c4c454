/** The units under a real systemd manager: what each end of the daemon comes to. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { startDaemon } from "../support/daemon.ts";
import { eventually } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise, writeSampleLibrary } from "../support/sample_library.ts";
import { MusicfsUnit, SYSTEMD_NEEDS, SystemdManager } from "../support/systemd_manager.ts";
import { tempDir } from "../support/temp_dir.ts";

/** Short enough for a test, and long enough for a machine that is busy with others. */
const WATCHDOG = "[Service]\nWatchdogSec=6s\n";

/** A unit that is configured and not started, in a manager of its own. */
async function withUnit(
  body: (unit: MusicfsUnit, origin: string) => Promise<void>,
  env: Record<string, string> = {},
): Promise<void> {
  await using dir = await tempDir("units");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  await using manager = await SystemdManager.start(dir.path);
  await body(await MusicfsUnit.make(manager, { origins: [origin], env }), origin);
}

/** Everything can be read, and is right. */
async function sameAs(origin: string, { manager, mountpoint }: MusicfsUnit): Promise<void> {
  await manager.output("diff", ["-r", origin, mountpoint]);
}

/** No mount is left; it may go a moment after the unit did. */
async function nothingLeft({ manager, mountpoint }: MusicfsUnit): Promise<void> {
  const isGone = (): boolean => manager.mountsAt(mountpoint).length === 0;
  await eventually(isGone, { ms: 20_000, what: "no mount left" });
}

testWith(
  SYSTEMD_NEEDS,
  "systemctl start returns once ls works; stop unmounts, exit 0",
  async () => {
    await withUnit(async (unit, origin) => {
      await unit.start();
      assert.equal(await unit.state(), "active (running)");
      assert.equal(await unit.property("WatchdogUSec"), "30s");
      await sameAs(origin, unit);
      await unit.manager.ctl("stop", unit.name);
      assert.equal(await unit.state(), "inactive (dead)");
      assert.equal(await unit.property("ExecMainStatus"), "0");
      assert.equal(await unit.property("Result"), "success");
      assert.deepEqual(unit.manager.mountsAt(unit.mountpoint), []);
    });
  },
);

testWith(SYSTEMD_NEEDS, "systemctl stop takes at most 10 s under load, and exits 0", async () => {
  await withUnit(async (unit, origin) => {
    for (let i = 0; i < 4; i += 1) {
      await writeNoise(join(origin, `load/${i}.flac`), { bytes: 8_000_000, seed: i });
    }
    await unit.start();
    const { manager, mountpoint } = unit;
    const loads = [0, 1, 2, 3].map((i) => {
      const file = join(mountpoint, `load/${i}.flac`);
      const load = `while dd if="${file}" of=/dev/null bs=64k iflag=direct; do :; done`;
      return manager.spawn("sh", ["-c", load]).output();
    });
    await manager.output("cmp", [join(origin, "load/0.flac"), join(mountpoint, "load/0.flac")]);
    const before = performance.now();
    await manager.ctl("stop", unit.name);
    const ms = performance.now() - before;
    assert.ok(ms <= 10_000, `${ms} ms`);
    assert.equal(await unit.property("ExecMainStatus"), "0");
    assert.equal(await unit.property("Result"), "success");
    assert.deepEqual(manager.mountsAt(mountpoint), []);
    await Promise.all(loads);
  });
});

testWith(
  SYSTEMD_NEEDS,
  "a stopped daemon is killed by the watchdog, and the mount is back",
  async () => {
    await withUnit(async (unit, origin) => {
      await unit.dropIn(WATCHDOG);
      await unit.start();
      const pid = await unit.pid();
      Deno.kill(pid, "SIGSTOP");
      await unit.replaced(pid);
      await sameAs(origin, unit);
    });
  },
);

testWith(
  SYSTEMD_NEEDS,
  "a daemon that lives but serves nobody is killed by the watchdog",
  async () => {
    await withUnit(async (unit, origin) => {
      await unit.dropIn(WATCHDOG);
      await unit.start();
      await unit.setEnv({});
      const pid = await unit.pid();
      // Its worker hangs in one of these requests; all else of it goes on.
      const hung = unit.manager.spawn("ls", ["-R", unit.mountpoint]).output();
      await unit.replaced(pid);
      assert.match(await unit.manager.serviceLog(), /The mount does not answer/);
      await sameAs(origin, unit);
      assert.equal((await hung).code, 0, "its reader got its answer late, and no error");
    }, { MUSICFS_FAILPOINTS: "fuse.request=12*off->sleep(600000)" });
  },
);

testWith(
  ["fuse"],
  "a daemon that serves pings three times within the watchdog's limit",
  async () => {
    await using dir = await tempDir("watchdog");
    const origin = join(dir.path, "origin");
    await writeSampleLibrary(origin);
    const env = { WATCHDOG_USEC: "3000000" };
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin], env });
    const pings = (): number => daemon.notifications.filter((line) => line === "WATCHDOG=1").length;
    await eventually(() => pings() >= 4, { ms: 30_000, what: "four pings" });
    assert.equal(await daemon.stop(), 0, daemon.log);
  },
);

testWith(
  SYSTEMD_NEEDS,
  "without the store, a kill is cleared away and ls works again",
  async () => {
    await withUnit(async (unit, origin) => {
      await unit.dropIn("[Service]\nFileDescriptorStoreMax=0\n");
      await unit.start();
      await unit.replaced(await unit.kill());
      assert.match(await unit.manager.serviceLog(), /: stale \(detached\)/);
      assert.equal(unit.manager.mountsAt(unit.mountpoint).length, 1);
      await sameAs(origin, unit);
    });
  },
);

testWith(SYSTEMD_NEEDS, "systemctl stop during auto-restart leaves nothing behind", async () => {
  await withUnit(async (unit) => {
    await unit.dropIn("[Service]\nRestartSec=1h\n");
    await unit.start();
    await unit.kill();
    await unit.until(
      async () => await unit.state() === "activating (auto-restart)",
      "auto-restart",
    );
    assert.equal(unit.manager.mountsAt(unit.mountpoint).length, 1, "it waits for a successor");
    await unit.manager.ctl("stop", unit.name);
    await nothingLeft(unit);
    assert.equal(await unit.state(), "inactive (dead)");
  });
});

testWith(
  SYSTEMD_NEEDS,
  "an umount from outside ends the unit, exit 0, without a restart",
  async () => {
    await withUnit(async (unit) => {
      await unit.start();
      await unit.manager.output("umount", [unit.mountpoint]);
      await unit.until(async () => await unit.state() === "inactive (dead)", "its end");
      assert.equal(await unit.property("ExecMainStatus"), "0");
      assert.equal(await unit.property("Result"), "success");
      assert.equal(await unit.restarts(), 0);
      await nothingLeft(unit);
    });
  },
);

testWith(SYSTEMD_NEEDS, "a wrong configuration fails once, with exit code 2", async () => {
  await withUnit(async (unit) => {
    const { code } = await unit.manager.systemctl("start", unit.name);
    assert.notEqual(code, 0);
    assert.equal(await unit.state(), "failed (failed)");
    assert.equal(await unit.property("ExecMainStatus"), "2");
    assert.equal(await unit.restarts(), 0);
    assert.match(await unit.manager.serviceLog(), /^musicfs: MUSICFS_CACHE cannot be "perhaps"/m);
  }, { MUSICFS_CACHE: "perhaps" });
});

testWith(
  SYSTEMD_NEEDS,
  "a reader in the unit's own cgroup does not keep the next daemon",
  async () => {
    await withUnit(async (unit, origin) => {
      // As a hook may: it asks again and again, and soon each answer takes a second.
      const loop = "while sleep 0.05 && stat -f %f; do :; done >/dev/null 2>&1 &";
      await unit.dropIn(`[Service]\nExecStartPost=/bin/sh -c '${loop}'\n`);
      await unit.start();
      await unit.until(async () => {
        const before = performance.now();
        await unit.manager.output("stat", ["-f", unit.mountpoint]);
        return performance.now() - before > 1_000;
      }, "slow answers");
      await unit.setEnv({});
      const before = performance.now();
      await unit.replaced(await unit.kill());
      const ms = performance.now() - before;
      assert.ok(ms < 25_000, `${ms} ms: systemd waits for what cannot be killed`);
      await sameAs(origin, unit);
      await unit.manager.ctl("stop", unit.name);
    }, { MUSICFS_FAILPOINTS: "fuse.request=60*off->sleep(1500)" });
  },
);

testWith(
  SYSTEMD_NEEDS,
  "the machine's unit is hardened, and its mount is seen by others",
  async () => {
    await using dir = await tempDir("units");
    const origin = join(dir.path, "origin");
    await writeSampleLibrary(origin);
    await using manager = await SystemdManager.start(dir.path, "system");
    const unit = await MusicfsUnit.make(manager, { origins: [origin], env: { MUSICFS_CACHE: "" } });
    await unit.start();
    const status = await Deno.readTextFile(`/proc/${await unit.pid()}/status`);
    assert.match(status, /^NoNewPrivs:\t1$/m);
    assert.match(status, /^Seccomp:\t2$/m);
    await sameAs(origin, unit);
    await manager.ctl("reload", unit.name);
    await unit.until(
      async () => (await manager.serviceLog()).includes("Configuration read again"),
      "a reload",
    );
    await unit.replaced(await unit.kill());
    await sameAs(origin, unit);
    await manager.ctl("stop", unit.name);
    await nothingLeft(unit);
  },
);

testWith(SYSTEMD_NEEDS, "systemctl status names what is not well", async () => {
  await withUnit(async (unit, origin) => {
    await unit.start();
    assert.equal(await unit.property("StatusText"), `Mounted at ${unit.mountpoint}`);
    await Deno.rename(origin, `${origin} away`);
    await unit.manager.run("ls", [unit.mountpoint]);
    await unit.until(
      async () => (await unit.property("StatusText")).includes("; offline: "),
      "an offline origin",
    );
    await Deno.rename(`${origin} away`, origin);
    await unit.until(
      async () => await unit.property("StatusText") === `Mounted at ${unit.mountpoint}`,
      "an origin that is back",
    );
  });
});
