/** How a daemon starts and ends: locks, signals, exit codes. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { Daemon, musicfs, startDaemon, unmounted } from "../support/daemon.ts";
import { detach, mountsAt } from "../support/mounts.ts";
import { eventually, output, run, within } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise, writeSampleLibrary } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";

const NEEDS = ["fuse", "fusermount3", "diff"] as const;

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  testWith(NEEDS, `${signal} under a reader: drained, unmounted, exit 0, ready again`, async () => {
    await using dir = await tempDir("signal");
    const origin = join(dir.path, "origin");
    await writeSampleLibrary(origin);
    {
      await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
      const reader = run("diff", ["-r", origin, daemon.mountpoint]);
      assert.equal(await daemon.stop(signal), 0, daemon.log);
      assert.deepEqual(mountsAt(daemon.mountpoint), []);
      assert.ok(daemon.notifications.includes("STOPPING=1"));
      assert.match(daemon.log, /Stopped reason=signal ms=\d+/);
      await reader;
    }
    await using again = await startDaemon({ dir: dir.path, origins: [origin] });
    await output("diff", ["-r", origin, again.mountpoint]);
  });
}

testWith(NEEDS, "SIGTERM with a file open ends in time and leaves no mount", async () => {
  await using dir = await tempDir("open");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  const held = new Deno.Command("sleep", { args: ["1000"], cwd: daemon.mountpoint }).spawn();
  try {
    assert.equal(await within(daemon.stop(), { ms: 12_000, what: "exit" }), 0);
    assert.deepEqual(mountsAt(daemon.mountpoint), []);
  } finally {
    held.kill("SIGKILL");
    await held.status;
  }
});

testWith(NEEDS, "SIGHUP is survived by daemon and mount", async () => {
  await using dir = await tempDir("hup");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  daemon.signal("SIGHUP");
  await output("diff", ["-r", origin, daemon.mountpoint]);
  // Signals are taken in order: once the second has worked, the first has been dealt with.
  assert.equal(await daemon.stop(), 0, daemon.log);
});

testWith(NEEDS, "SIGHUP takes a new log level over, and says which options wait", async () => {
  await using dir = await tempDir("reload");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  const config = join(dir.path, "config.toml");
  await Deno.writeTextFile(config, 'max_size = "1G"\n');
  const args = ["--cache", "on", "--config", config];
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin], args });
  const reloaded = async (text: string, line: RegExp): Promise<void> => {
    await Deno.writeTextFile(config, text);
    daemon.signal("SIGHUP");
    await eventually(() => line.test(daemon.log), { ms: 30_000, what: `${line}:\n${daemon.log}` });
  };
  await reloaded(
    'max_size = "2G"\nlog_level = "debug"\numask = "022"\n',
    /wait for the next mount options=.*umask/,
  );
  assert.match(daemon.log, /Configuration read again max_size=2147483648 .*log_level=debug/);
  await reloaded("max_sise = 1\n", /The configuration is wrong now/);
  await output("diff", ["-r", origin, daemon.mountpoint]);
  assert.equal(await daemon.stop(), 0, daemon.log);
});

testWith(
  NEEDS,
  "an error that nobody catches is logged, and ends the daemon in order",
  async () => {
    await using dir = await tempDir("fault");
    const origin = join(dir.path, "origin");
    await writeSampleLibrary(origin);
    const env = { MUSICFS_FAILPOINTS: "daemon.reload=panic(a bug)" };
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin], env });
    await output("diff", ["-r", origin, daemon.mountpoint]);
    daemon.signal("SIGHUP");
    assert.equal(await daemon.exitCode(), 1);
    assert.match(daemon.log, /Unhandled (rejection|error).*a bug/);
    assert.match(daemon.log, /Stopped reason=fault/);
    assert.deepEqual(mountsAt(daemon.mountpoint), []);
  },
);

const BUGS = {
  "fuse.answer": /A request failed.*a bug/,
  "fuse.deferred": /Cannot read.*a bug/,
} as const;

for (const [where, line] of Object.entries(BUGS)) {
  testWith(NEEDS, `a bug in one request (${where}) is logged, and costs no other`, async () => {
    await using dir = await tempDir("bug");
    const origin = join(dir.path, "origin");
    await writeSampleLibrary(origin);
    const env = { MUSICFS_FAILPOINTS: `${where}=1*panic(a bug)` };
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin], env });
    // The kernel may ask again for what it was refused.
    await run("diff", ["-r", origin, daemon.mountpoint]);
    assert.match(daemon.log, line);
    await output("diff", ["-r", origin, daemon.mountpoint]);
    assert.equal(await daemon.stop(), 0, daemon.log);
  });
}

testWith(NEEDS, "a second SIGTERM ends the daemon at once", async () => {
  await using dir = await tempDir("twice");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  // Whoever is in the mount keeps it from being unmounted politely, for three seconds.
  const held = new Deno.Command("sleep", { args: ["1000"], cwd: daemon.mountpoint }).spawn();
  try {
    daemon.signal("SIGTERM");
    await eventually(() => daemon.notifications.includes("STOPPING=1"), {
      ms: 10_000,
      what: "that it stops",
    });
    assert.equal(await daemon.stop(), 1, daemon.log);
    assert.match(daemon.log, /A second signal/);
  } finally {
    held.kill("SIGKILL");
    await held.status;
  }
});

testWith(NEEDS, "SIGUSR1 ends the daemon and leaves the mount for a successor", async () => {
  await using dir = await tempDir("usr1");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  {
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
    await daemon.stop("SIGUSR1");
    assert.equal(mountsAt(daemon.mountpoint).length, 1);
    await using next = await startDaemon({ dir: dir.path, origins: [origin] });
    await output("diff", ["-r", origin, next.mountpoint]);
    assert.equal(mountsAt(next.mountpoint).length, 1, "the old mount lies under the new one");
  }
});

testWith(["fuse", "root", "mount"], "an outside umount ends the daemon with 0", async () => {
  await using dir = await tempDir("umount");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  await output("umount", [daemon.mountpoint]);
  assert.equal(await daemon.exitCode(), 0, daemon.log);
});

testWith(NEEDS, "fusermount3 -u from outside ends the daemon with 0", async () => {
  await using dir = await tempDir("fusermount");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  await output("fusermount3", ["-u", daemon.mountpoint]);
  assert.equal(await daemon.exitCode(), 0, daemon.log);
});

testWith(NEEDS, "unmount stops the daemon; without one it fails with 1", async () => {
  await using dir = await tempDir("unmount");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  const first = await musicfs(["unmount", daemon.mountpoint], { home: dir.path });
  assert.equal(first.code, 0, first.stderr);
  assert.equal(await daemon.exitCode(), 0);
  await unmounted(daemon.mountpoint);
  const second = await musicfs(["unmount", daemon.mountpoint], { home: dir.path });
  assert.equal(second.code, 1);
  assertOneLine(second.stderr, /nothing of musicfs is mounted/i);
});

for (const shared of ["cache", "mountpoint"] as const) {
  testWith(
    NEEDS,
    `a second daemon on the same ${shared} exits 1, naming the first's PID`,
    async () => {
      await using dir = await tempDir("second");
      const origin = join(dir.path, "origin");
      await writeSampleLibrary(origin);
      await using first = await startDaemon({ dir: dir.path, origins: [origin] });
      const other = join(dir.path, "other");
      await Deno.mkdir(other);
      await using second = await Daemon.spawn({
        dir: other,
        origins: [origin],
        ...(shared === "cache"
          ? { cacheDir: first.cacheDir }
          : { mountpoint: first.mountpoint, cacheDir: join(other, "cache") }),
      });
      try {
        assert.equal(await second.exitCode(), 1);
        assertOneLine(second.log, new RegExp(`\\b${await first.pid()}\\b`));
        if (shared === "cache") assert.match(second.log, /--cache-dir/);
        assert.equal(mountsAt(first.mountpoint).length, 1);
        await output("diff", ["-r", origin, first.mountpoint]);
      } finally {
        // Its scope would detach the shared mountpoint before the first daemon is asked to stop.
        assert.equal(await first.stop(), 0);
      }
    },
  );
}

testWith(
  NEEDS,
  "two daemons with caches and mountpoints of their own serve side by side",
  async () => {
    await using dir = await tempDir("pair");
    const origin = join(dir.path, "origin");
    await writeSampleLibrary(origin);
    await Deno.mkdir(join(dir.path, "a"));
    await Deno.mkdir(join(dir.path, "b"));
    await using a = await startDaemon({ dir: join(dir.path, "a"), origins: [origin] });
    await using b = await startDaemon({ dir: join(dir.path, "b"), origins: [origin] });
    await output("diff", ["-r", a.mountpoint, b.mountpoint]);
  },
);

testWith(NEEDS, "a warm mount reads nothing from its origin", async () => {
  await using dir = await tempDir("warm");
  const origin = join(dir.path, "origin");
  await writeNoise(join(origin, "track.flac"), { bytes: 3_000_000, seed: 3 });
  {
    await using cold = await startDaemon({ dir: dir.path, origins: [origin] });
    await output("cmp", [join(origin, "track.flac"), join(cold.mountpoint, "track.flac")]);
    assert.equal(await cold.stop(), 0);
  }
  // `Deno.utime` would cut the time of change to ms, which makes it another version.
  await output("touch", ["-a", "-d", "@1", join(origin, "track.flac")]);
  await using warm = await startDaemon({ dir: dir.path, origins: [origin] });
  await output("cat", [join(warm.mountpoint, "track.flac")]);
  // A time of access before that of change is renewed by any read of the origin's file.
  const { atime } = await Deno.stat(join(origin, "track.flac"));
  assert.equal(atime?.getTime(), 1000, "the origin's file was read");
});

testWith(NEEDS, "mount is there at once, also while 20,000 files are scanned", async () => {
  await using dir = await tempDir("at-once");
  const origin = join(dir.path, "origin");
  await Deno.mkdir(origin);
  await output("bash", [
    "-c",
    "for d in $(seq 100); do mkdir $d; (cd $d; seq -f '%g.flac' 200 | xargs touch); done",
  ], { cwd: origin });
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  const names = await output("ls", [join(daemon.mountpoint, "73")]);
  assert.equal(names.trim().split("\n").length, 200);
  await eventually(async () => {
    const listed = await output("find", [daemon.mountpoint, "-type", "f"]);
    return listed.trim().split("\n").length === 20_000;
  }, { ms: 20_000, what: "20,000 files" });
});

testWith(["fuse", "root"], "a dead mount of another program is left alone", async () => {
  await using dir = await tempDir("foreign");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  const mountpoint = join(dir.path, "mnt");
  await Deno.mkdir(mountpoint);
  await output("mount", ["-t", "tmpfs", "tmpfs", mountpoint]);
  try {
    const { stdout, code } = await musicfs(["check-mount", mountpoint]);
    assert.equal(code, 0);
    assert.match(stdout, /: absent/);
    assert.equal(mountsAt(mountpoint)[0]?.type, "tmpfs");
  } finally {
    await detach(mountpoint);
  }
});

function assertOneLine(text: string, pattern: RegExp): void {
  assert.match(text, pattern);
  assert.equal(text.trim().split("\n").length, 1, text);
}
