/** Mounts that outlive their daemons in systemd's store of descriptors. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { eventually, output } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise } from "../support/sample_library.ts";
import { rounds } from "../support/scale.ts";
import { MusicfsUnit, SYSTEMD_NEEDS, SystemdManager } from "../support/systemd_manager.ts";
import { tempDir } from "../support/temp_dir.ts";

const NEEDS = [...SYSTEMD_NEEDS, "passthrough"] as const;

const FILES = 3;
const FILE_BYTES = 8_000_000;

/** A unit that runs, while readers check every byte of it; none may see an error. */
async function underReaders(body: (unit: MusicfsUnit) => Promise<void>): Promise<void> {
  await using dir = await tempDir("units");
  const origin = join(dir.path, "origin");
  for (let i = 0; i < FILES; i += 1) {
    await writeNoise(join(origin, `${i}.flac`), { bytes: FILE_BYTES, seed: i + 1 });
  }
  await output("sh", ["-c", "sha256sum *.flac >../sums"], { cwd: origin });
  await using manager = await SystemdManager.start(dir.path);
  const unit = await MusicfsUnit.make(manager, { origins: [origin] });
  await unit.start();
  // Past the page cache: each read goes to the daemon. Until a file says that it is enough.
  const script = `cd "$1" && rounds=0
    while [ ! -e "$2/enough" ]; do
      while read -r sum name; do
        got=$(dd if="$name" bs=64k iflag=direct status=none | sha256sum) || exit 1
        [ "$got" = "$sum  -" ] || { echo "wrong bytes in $name" >&2; exit 1; }
      done <"$2/sums"
      rounds=$((rounds + 1))
    done
    echo "$rounds"`;
  const readers = [0, 1].map(() =>
    manager.spawn("bash", ["-o", "pipefail", "-c", script, "-", unit.mountpoint, dir.path])
      .output()
  );
  try {
    await body(unit);
  } finally {
    await Deno.writeTextFile(join(dir.path, "enough"), "");
  }
  for (const { code, stdout, stderr } of await Promise.all(readers)) {
    const text = new TextDecoder();
    assert.equal(code, 0, `${text.decode(stderr)}\n${await manager.log()}`);
    assert.ok(Number(text.decode(stdout)) >= 1, "all was read at least once");
  }
  await manager.ctl("stop", unit.name);
  assert.deepEqual(manager.mountsAt(unit.mountpoint), []);
}

testWith(NEEDS, "kill -9 under readers costs them nothing but time", async () => {
  await underReaders(async (unit) => {
    for (let kill = 0; kill < rounds({ ci: 3, long: 50 }); kill += 1) {
      await unit.replaced(await unit.kill());
    }
    // Else each mount was a fresh one.
    assert.doesNotMatch(await unit.manager.serviceLog(), /: stale/);
  });
});

testWith(NEEDS, "systemctl restart under readers costs them nothing but time", async () => {
  await underReaders(async (unit) => {
    for (let restart = 0; restart < rounds({ ci: 2, long: 10 }); restart += 1) {
      const pid = await unit.pid();
      await unit.manager.ctl("restart", unit.name);
      assert.notEqual(await unit.pid(), pid);
    }
    const checks = (await unit.manager.serviceLog()).match(/^\/.*: [a-z]+/gm) ?? [];
    const expected = `${unit.mountpoint}: unanswered`;
    assert.deepEqual(new Set(checks), new Set([expected]), "only ExecStopPost= looked");
  });
});

testWith(
  NEEDS,
  "five deaths right after the start end in exit code 3, and nothing is left",
  async () => {
    await using dir = await tempDir("units");
    const origin = join(dir.path, "origin");
    await writeNoise(join(origin, "1.flac"), { bytes: 10_000, seed: 1 });
    await using manager = await SystemdManager.start(dir.path);
    const unit = await MusicfsUnit.make(manager, { origins: [origin] });
    await unit.start();
    await unit.setEnv({ MUSICFS_FAILPOINTS: "daemon.takeover=kill" });
    await unit.kill();
    await unit.until(async () => await unit.state() === "failed (failed)", "giving up");
    assert.equal(await unit.property("ExecMainStatus"), "3");
    await eventually(
      () => manager.mountsAt(unit.mountpoint).length === 0,
      { ms: 20_000, what: "no mount left" },
    );
  },
);
