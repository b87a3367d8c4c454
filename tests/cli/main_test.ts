/** The whole program, as a process: what only shows there. */

import assert from "node:assert/strict";
import { musicfs, musicfsCommand, musicfsEnv } from "../support/daemon.ts";
import { testWith } from "../support/requirements.ts";
import { musicfsMountAt } from "../../src/mount/mount_table.ts";
import { tempDir } from "../support/temp_dir.ts";
import { FakeMount } from "../mount/fake_mount.ts";

Deno.test("musicfs ends with the exit code of its command, one line on stderr", async () => {
  const good = await musicfs(["version"]);
  assert.deepEqual([good.code, good.stderr], [0, ""]);
  assert.match(good.stdout, /^musicfs \d/);
  const bad = await musicfs(["gc", "--max-size", "lots"]);
  assert.equal(bad.code, 2);
  assert.equal(
    bad.stderr,
    'musicfs: --max-size cannot be "lots": write a size like 20G, 20GB or 1.5T\n',
  );
});

Deno.test("musicfs reads its configuration file and refuses it with its place", async () => {
  await using dir = await tempDir("main");
  const file = `${dir.path}/.config/musicfs/config.toml`;
  await Deno.mkdir(`${dir.path}/.config/musicfs`, { recursive: true });
  await Deno.writeTextFile(file, '# mine\nmax_size = "20G"\nmax_sise = "20G"\n');
  const { code, stderr } = await musicfs(["gc"], { home: dir.path });
  assert.equal(code, 2);
  assert.match(stderr, /^musicfs: \/.*config\.toml:3:1: unknown key "max_sise"[^\n]*\n$/);
});

Deno.test("musicfs survives a reader that goes away", async () => {
  const [program, ...words] = musicfsCommand();
  const child = new Deno.Command(program, {
    args: [...words, "completions", "bash"],
    clearEnv: true,
    env: musicfsEnv("/nonexistent"),
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  await child.stdout.cancel();
  const [{ code }, stderr] = await Promise.all([child.status, new Response(child.stderr).text()]);
  assert.equal(code, 0, stderr);
});

testWith(
  ["fuse", "root"],
  "musicfs check-mount ends beside a mount that never answers",
  async () => {
    await using dir = await tempDir("main");
    await using _mount = new FakeMount(dir.path);
    const systemd = { env: { SERVICE_RESULT: "signal" } };
    const silent = await musicfs(["check-mount", dir.path], systemd);
    assert.deepEqual(silent, { code: 0, stdout: `${dir.path}: unanswered\n`, stderr: "" });
    const timeout = await musicfs(["check-mount", dir.path], {
      env: { SERVICE_RESULT: "timeout" },
    });
    assert.deepEqual(timeout, {
      code: 0,
      stdout: `${dir.path}: unanswered (detached)\n`,
      stderr: "",
    });
    const gone = await musicfs(["check-mount", "--json", dir.path], systemd);
    assert.deepEqual(JSON.parse(gone.stdout), [
      { path: dir.path, state: "absent", detached: false },
    ]);
  },
);

testWith(
  ["fuse", "root"],
  "musicfs check-mount --dry-run fails for what it would detach",
  async () => {
    await using dir = await tempDir("main");
    await using mount = new FakeMount(dir.path);
    mount.die();
    const dry = await musicfs(["check-mount", "--dry-run", dir.path]);
    assert.deepEqual([dry.code, dry.stdout], [1, `${dir.path}: stale\n`]);
    assert.match(dry.stderr, /^musicfs: [^\n]*without --dry-run\n$/);
    const real = await musicfs(["check-mount", dir.path]);
    assert.deepEqual(real, { code: 0, stdout: `${dir.path}: stale (detached)\n`, stderr: "" });
  },
);

testWith(
  ["fuse", "root"],
  "musicfs unmount detaches a dead mount and then finds nothing",
  async () => {
    await using dir = await tempDir("main");
    await using mount = new FakeMount(dir.path);
    mount.die();
    assert.deepEqual(await musicfs(["unmount", dir.path]), { code: 0, stdout: "", stderr: "" });
    const again = await musicfs(["unmount", dir.path]);
    assert.equal(again.code, 1);
    assert.match(again.stderr, /^musicfs: Nothing of musicfs is mounted at [^\n]*\n$/);
  },
);

testWith(
  ["fuse", "root"],
  "musicfs unmount takes away a live mount whose daemon is unknown",
  async () => {
    await using dir = await tempDir("main");
    await using mount = new FakeMount(dir.path);
    mount.live();
    assert.deepEqual(await musicfs(["unmount", dir.path]), { code: 0, stdout: "", stderr: "" });
    assert.equal(musicfsMountAt(dir.path), undefined);
  },
);
