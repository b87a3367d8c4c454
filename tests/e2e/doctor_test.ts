/** `musicfs doctor`, on a machine that is well and on one that is not. */

import assert from "node:assert/strict";
import { FakeMount } from "../mount/fake_mount.ts";
import { musicfs, startDaemon } from "../support/daemon.ts";
import type { RunOptions } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";

interface Told {
  code: number;
  /** State, what was found and the remedy, by the check's name. */
  checks: Map<string, [state: string, found: string, remedy: string | null]>;
}

/** Runs it with `--json`; other mounts of this machine are none of the test's concern. */
async function doctor(
  args: readonly string[],
  options: RunOptions & { home?: string } = {},
): Promise<Told> {
  const { code, stdout, stderr } = await musicfs(["doctor", "--json", ...args], options);
  assert.equal(stderr, "");
  const { failed, warnings, checks } = JSON.parse(stdout);
  const of = (state: string): number =>
    checks.filter((check: { state: string }) => check.state === state).length;
  assert.deepEqual([failed, warnings], [of("failed"), of("warning")]);
  assert.equal(code, failed > 0 ? 1 : 0);
  const byName = checks.map((
    { name, state, found, remedy }: Record<string, string>,
  ) => [name, [state, found, remedy]]);
  return { code, checks: new Map(byName) };
}

/** What one check told, in one text. */
function said({ checks }: Told, name: string): string {
  const told = checks.get(name);
  assert(told, `no check "${name}" among ${[...checks.keys()].join(", ")}`);
  return `${told[0]}: ${told[1]} -> ${told[2]}`;
}

Deno.test("doctor works without any configuration, and says what it looked at", async () => {
  await using dir = await tempDir("doctor");
  const told = await doctor([], { home: dir.path });
  assert.match(said(told, "config"), /^ok: no file; flags, environment and defaults/);
  assert.match(
    said(told, "cache"),
    /^(ok|warning): .*\.cache\/musicfs \(made with the first mount\)/,
  );
  assert.match(said(told, "daemon"), /^ok: no daemon/);
  assert.match(said(told, "index"), /^ok: none yet/);
  assert.match(said(told, "origin"), /^skipped: none is configured/);
  for (const name of ["fuse", "kernel", "descriptors", "inotify", "clock", "temporary files"]) {
    assert.match(said(told, name), /^(ok|warning|failed|skipped): \S/);
  }
  for await (const { name } of Deno.readDir(dir.path)) assert.fail(`it left ${name}`);
  const text = await musicfs(["doctor"], { home: dir.path });
  assert.match(text.stdout, /^ok {7}config: no file/);
  assert.equal((await musicfs(["doctor", "--max-size", "1"])).code, 2);
  assert.equal((await musicfs(["doctor", "--origin", "ftp://nas/music"])).code, 2);
});

Deno.test("doctor names a wrong configuration, open secrets, missing origins and a damaged index", async () => {
  await using dir = await tempDir("doctor");
  const home = dir.path;
  const file = `${home}/.config/musicfs/config.toml`;
  await Deno.mkdir(`${home}/.config/musicfs`, { recursive: true });
  await Deno.writeTextFile(file, 'max_sise = "20G"\n');
  const wrong = await doctor([], { home });
  assert.equal(wrong.code, 1);
  assert.match(
    said(wrong, "config"),
    /^failed: .*config\.toml:1:1: unknown key "max_sise".* -> mend/,
  );

  const music = `${home}/music`;
  await Deno.mkdir(music);
  const cache = `${home}/cache`;
  await Deno.mkdir(`${cache}/index`, { recursive: true });
  await Deno.writeTextFile(`${cache}/index/data.mdb`, "no index".repeat(10_000));
  await Deno.writeTextFile(
    file,
    `cache_dir = "${cache}"
[[origin]]
url = "${music}"
[[origin]]
url = "${home}/missing"
[[origin]]
name = "nas"
url = "sftp://ann@127.0.0.1:1/music?fingerprint=SHA256:${"A".repeat(43)}"
[[hook]]
url = "https://ann:hush-hush@player.example.org/rest/startScan?p=hush-hush"
`,
    { mode: 0o644 },
  );
  const { stdout } = await musicfs(["doctor"], { home });
  assert.doesNotMatch(stdout, /hush/);
  const told = await doctor([], { home });
  assert.equal(told.code, 1);
  assert.match(said(told, "config"), /^warning: others can read .*config\.toml -> chmod 600 /);
  assert.match(said(told, `origin ${music}`), /^warning: .*it is empty -> .*mounted/);
  assert.match(said(told, `origin ${home}/missing`), /^failed: .*missing.* -> .*mount its disk/);
  assert.match(said(told, "origin nas"), /^failed: .*ECONNREFUSED.* -> start the server/);
  assert.match(said(told, "index"), /^warning: damaged: .* -> nothing: it is made again/);
  assert.match(said(told, "inotify"), /^(ok|warning): \d+ watches/);
  await Deno.chmod(file, 0o600);
  await writeNoise(`${music}/a.flac`, { bytes: 4096, seed: 1 });
  const mended = await doctor([], { home });
  assert.match(said(mended, "config"), /^ok: .*config\.toml/);
  assert.match(said(mended, `origin ${music}`), /^ok: answers in .* lists 1 names/);
});

testWith(["fuse", "fusermount3"], "doctor asks a daemon that runs", async () => {
  await using dir = await tempDir("doctor");
  const origin = `${dir.path}/music`;
  await writeNoise(`${origin}/a.flac`, { bytes: 4096, seed: 1 });
  const options = { dir: dir.path, origins: [origin] };
  await using daemon = await startDaemon(options);
  const args = ["--cache-dir", daemon.cacheDir];
  const told = await doctor(args);
  assert.match(said(told, "daemon"), /^ok: daemon \d+ serves .*\/mnt/);
  assert.match(said(told, "index"), /^ok: in use, and sound/);
  assert.match(said(told, "inotify"), /^(ok|warning): \d+ watches/);
  assert.match(said(told, "descriptors"), /^(ok|warning): \d+ open files for a daemon/);
  assert.match(said(told, "cache"), /^(ok|warning): .*free/);
  assert.match(said(told, `origin ${origin}`), /^ok: .*the daemon says/);
  assert.match(said(told, `mount ${daemon.mountpoint}`), /^ok: live/);
  const pid = await daemon.pid();
  Deno.kill(pid, "SIGSTOP");
  try {
    const hanging = await doctor(args);
    assert.match(said(hanging, "daemon"), new RegExp(`^failed: daemon ${pid} does not answer`));
    assert.match(said(hanging, "index"), /^skipped: /);
    assert.match(said(hanging, `mount ${daemon.mountpoint}`), /^failed: it does not answer -> /);
  } finally {
    Deno.kill(pid, "SIGCONT");
  }
  assert.equal(await daemon.stop(), 0);
  const after = await doctor(args);
  assert.match(said(after, "daemon"), /^ok: no daemon/);
  assert.match(said(after, "index"), /^ok: sound/);

  await Deno.writeTextFile(`${daemon.cacheDir}/index/data.mdb`, "no index".repeat(10_000));
  await using next = await startDaemon(options);
  assert.match(said(await doctor(args), "index"), /^ok: made again at the daemon's start/);
  const status = await musicfs(["status", ...args]);
  assert.match(status.stdout, /^index +made again at this start; the damaged one is .*\.corrupt-/m);
  assert.equal(await next.stop(), 0);
});

testWith(["fuse", "root"], "doctor ends beside disks that hang, and names them", async () => {
  await using dir = await tempDir("doctor");
  await using hanging = new FakeMount(dir.path);
  const began = performance.now();
  const told = await doctor(["--origin", dir.path, "--cache-dir", `${dir.path}/cache`]);
  assert(performance.now() - began < 60_000);
  assert.equal(told.code, 1);
  assert.match(said(told, "cache"), /^failed: .*hangs -> .*--cache-dir/);
  assert.match(said(told, "daemon"), /^skipped: /);
  assert.match(said(told, "index"), /^skipped: /);
  assert.match(said(told, `origin ${dir.path}`), /^failed: .*does not answer/);
  assert.match(said(told, `mount ${dir.path}`), /^failed: it does not answer -> .*umount -l/);
  hanging.die();
  const stale = await doctor([]);
  assert.match(said(stale, `mount ${dir.path}`), /^failed: stale.* -> musicfs check-mount /);
});
