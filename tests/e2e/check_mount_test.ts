/** `musicfs check-mount`: its four answers, and that it never waits and never harms. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type Daemon, musicfs, startDaemon } from "../support/daemon.ts";
import { mountsAt } from "../support/mounts.ts";
import { output } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeSampleLibrary } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";

const NEEDS = ["fuse", "fusermount3", "diff"] as const;

async function withDaemon(body: (daemon: Daemon, origin: string) => Promise<void>): Promise<void> {
  await using dir = await tempDir("check");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  await body(daemon, origin);
}

Deno.test("check-mount says absent, exit 0, where nothing is mounted", async () => {
  await using dir = await tempDir("check");
  const { code, stdout, stderr } = await musicfs(["check-mount", dir.path]);
  assert.equal(stdout, `${dir.path}: absent\n`);
  assert.equal(code, 0, stderr);
});

testWith(NEEDS, "check-mount says live, exit 0, and touches nothing", async () => {
  await withDaemon(async (daemon, origin) => {
    const { code, stdout } = await musicfs(["check-mount", daemon.mountpoint]);
    assert.equal(stdout, `${daemon.mountpoint}: live\n`);
    assert.equal(code, 0);
    await output("diff", ["-r", origin, daemon.mountpoint]);
  });
});

testWith(
  NEEDS,
  "check-mount says unanswered within its limit, and leaves the mount alone",
  async () => {
    await withDaemon(async (daemon, origin) => {
      Deno.kill(await daemon.pid(), "SIGSTOP");
      const start = performance.now();
      const usual = await musicfs(["check-mount", daemon.mountpoint], { limitMs: 15_000 });
      assert.equal(usual.stdout, `${daemon.mountpoint}: unanswered\n`);
      assert.equal(usual.code, 0);
      const usualMs = performance.now() - start;
      assert.ok(usualMs > 4_500, `${usualMs} ms: it waits 5 s for an answer`);
      const hurried = performance.now();
      const service = await musicfs(["check-mount", daemon.mountpoint], {
        env: { SERVICE_RESULT: "signal" },
      });
      assert.equal(service.stdout, `${daemon.mountpoint}: unanswered\n`);
      assert.equal(service.code, 0);
      assert.ok(performance.now() - hurried < 4_500, "systemd would wait for it");
      assert.equal(mountsAt(daemon.mountpoint).length, 1);
      Deno.kill(await daemon.pid(), "SIGCONT");
      await output("diff", ["-r", origin, daemon.mountpoint]);
    });
  },
);

testWith(NEEDS, "check-mount detaches an unanswered mount after systemd's timeout", async () => {
  await withDaemon(async (daemon) => {
    Deno.kill(await daemon.pid(), "SIGSTOP");
    const { code, stdout } = await musicfs(["check-mount", daemon.mountpoint], {
      env: { SERVICE_RESULT: "timeout" },
    });
    assert.equal(stdout, `${daemon.mountpoint}: unanswered (detached)\n`);
    assert.equal(code, 0);
    assert.deepEqual(mountsAt(daemon.mountpoint), []);
    Deno.kill(await daemon.pid(), "SIGCONT");
  });
});

testWith(NEEDS, "check-mount says stale and detaches; --dry-run says it with exit 1", async () => {
  await withDaemon(async (daemon) => {
    await daemon.kill();
    const dry = await musicfs(["check-mount", daemon.mountpoint, "--dry-run"]);
    assert.equal(dry.stdout, `${daemon.mountpoint}: stale\n`);
    assert.equal(dry.code, 1);
    assert.equal(mountsAt(daemon.mountpoint).length, 1);
    const start = performance.now();
    const wet = await musicfs(["check-mount", daemon.mountpoint]);
    assert.equal(wet.stdout, `${daemon.mountpoint}: stale (detached)\n`);
    assert.equal(wet.code, 0, wet.stderr);
    assert.ok(performance.now() - start < 3_000, "ENOTCONN is known at once");
    assert.deepEqual(mountsAt(daemon.mountpoint), []);
  });
});

Deno.test("the probe of check-mount tells the kernel's own errno, every time", async () => {
  // It was another in 1 of 20 processes (src/base/posix.ts); a dead mount then passed for live.
  for (let probe = 0; probe < 40; probe += 1) {
    const { stdout } = await musicfs(["__statfs", "/dev/null/not-a-folder"]);
    assert.equal(stdout, "r20\n", `ENOTDIR, in probe ${probe}`);
  }
});

testWith(NEEDS, "check-mount without a path finds every musicfs mount", async () => {
  await withDaemon(async (dead) => {
    await withDaemon(async (live) => {
      await dead.kill();
      const { code, stdout } = await musicfs(["check-mount", "--dry-run"]);
      assert.ok(stdout.split("\n").includes(`${live.mountpoint}: live`), stdout);
      assert.ok(stdout.split("\n").includes(`${dead.mountpoint}: stale`), stdout);
      assert.equal(code, 1);
    });
  });
});
