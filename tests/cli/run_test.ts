import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import { silentLog } from "../../src/base/log.ts";
import type { CliContext } from "../../src/cli/context.ts";
import type { DaemonOptions } from "../../src/mount/daemon.ts";
import { run } from "../../src/cli/run.ts";
import type {
  CacheCommands,
  GcOptions,
  OriginScanResult,
  PinResult,
  ScanOptions,
  TypedPath,
  WarmOptions,
  WarmResult,
} from "../../src/mount/cache_commands.ts";
import type { Config } from "../../src/mount/config.ts";
import type { DaemonEvent } from "../../src/mount/daemon_events.ts";
import { serveControl } from "../../src/mount/control.ts";
import { acquireLock, LOCK_FILE } from "../../src/mount/lock.ts";
import { registerDaemon, registryPlace } from "../../src/mount/registry.ts";
import { tempDir } from "../support/temp_dir.ts";
import { fakeCache, fakeContext, type Ran, STATUS } from "./fake_context.ts";

const GC = {
  dry_run: true,
  limit_bytes: 2 ** 30,
  used_bytes_before: 2 ** 30,
  used_bytes_after: 2 ** 29,
  evicted_chunks: 1_000,
  evicted_chunk_bytes: 2 ** 29,
  evicted_extents: 0,
  evicted_extent_bytes: 0,
  orphans: 0,
  orphan_bytes: 0,
  pinned_bytes: 0,
};

async function cli(line: string | readonly string[], some: Partial<CliContext> = {}): Promise<Ran> {
  const { context, printed } = fakeContext(some);
  const argv = typeof line === "string" ? line.split(" ").filter(Boolean) : line;
  return { code: await run(argv, context), ...printed };
}

/** What `line` says on stderr, after it was made sure that it is one line and nothing else. */
async function refused(code: number, line: string, some?: Partial<CliContext>): Promise<string> {
  const ran = await cli(line, some);
  assert.equal(ran.code, code, `${line}: ${ran.stderr}`);
  assert.equal(ran.stdout, "");
  assert.match(ran.stderr, /^musicfs: [^\n]+\n$/);
  return ran.stderr.slice("musicfs: ".length, -1);
}

Deno.test("run() refuses what cannot be meant with exit code 2 and one line", async (t) => {
  const origin = "--origin /music";
  const cases: [line: string, message: RegExp][] = [
    ["", /No command is given/],
    ["mont /m", /`mont`\. Did you mean `mount`\? See "musicfs --help"/],
    ["warm", /at least one PATH.*See "musicfs warm --help"/],
    ["unpin", /at least one PATH.*See "musicfs unpin --help"/],
    ["warm Album --cache-dir /proc/none --bwlimit fast", /--bwlimit cannot be "fast"/],
    ["doctor here", /`here`.*See "musicfs doctor --help"/],
    ["mount", /MOUNTPOINT.*See "musicfs mount --help"/],
    ["mount /m", /No origin is configured; name one with --origin/],
    [`mount /m ${origin} --bogus`, /`--bogus`.*See "musicfs mount --help"/],
    [`mount /m /n ${origin}`, /`\/n`/],
    [`mount /m ${origin} --cache maybe`, /--cache.*"on", "off".*"maybe"/],
    [`mount /m ${origin} --max-size lots`, /--max-size cannot be "lots": write a size/],
    [`mount /m ${origin} --max-size 0`, /max_size cannot be 0/],
    [`mount /m ${origin} --read-timeout soon`, /--read-timeout cannot be "soon"/],
    [`mount /m ${origin} --umask 9`, /--umask cannot be "9"/],
    [`mount /m ${origin} --cache-dir /music/c`, /cache \/music\/c lies in the origin \/music/],
    [`mount /m ${origin} --cache off --no-passthrough`, /--no-passthrough means --cache on/],
    ["mount /m --origin s3://bucket?prefix=x", /^--origin: .*s3:\/\/bucket.*"prefix"/],
    ["mount /m --origin sftp://a:b@nas/m", /^--origin: .*sftp:\/\/nas\/m.*password_file/],
    ["gc --max-size", /--max-size.*SIZE/],
    ["gc --max-size 1G --max-size 2G", /--max-size.*multiple/],
    ["gc --config /nonexistent/c.toml", /\/nonexistent\/c\.toml: there is no such file/],
    ["unmount", /MOUNTPOINT/],
    ["check-mount /a /b", /`\/b`/],
    ["version --verbose", /`--verbose`/],
    ["completions tcsh", /"tcsh".*"bash"/],
  ];
  for (const [line, message] of cases) {
    await t.step(`musicfs ${line}`, async () => assert.match(await refused(2, line), message));
  }
});

Deno.test("run() names what is not there with exit code 1", async () => {
  await using dir = await tempDir("cli");
  const none = `${dir.path}/none`;
  const runtime = { env: (name: string) => name === "XDG_RUNTIME_DIR" ? dir.path : undefined };
  assert.match(await refused(1, `gc --cache-dir ${none}`), /no cache at .*none; .*--cache-dir/);
  assert.match(await refused(1, `status --cache-dir ${none}`), /no cache at/);
  assert.match(await refused(1, `verify --cache-dir ${none}`), /no cache at/);
  assert.match(await refused(1, `status ${none}`, runtime), /No musicfs daemon serves/);
  assert.match(await refused(1, `unmount ${none}`, runtime), /Nothing of musicfs is mounted/);
});

Deno.test("run() gives the daemon its configuration and its exit code", async () => {
  await using dir = await tempDir("cli");
  await Deno.mkdir(`${dir.path}/real`);
  await Deno.symlink("real", `${dir.path}/link`);
  let given: { config: Config; options: DaemonOptions } | undefined;
  const ran = await cli("mount link --origin music --no-passthrough --exclude a --exclude b", {
    cwd: dir.path,
    env: (name) => name === "MUSICFS_MAX_SIZE" ? "1.5G" : undefined,
    runDaemon: (config, options) => {
      given = { config, options };
      return Promise.resolve(17);
    },
  });
  assert.deepEqual(ran, { code: 17, stdout: "", stderr: "" });
  assert(given);
  assert.equal(given.options.mountpoint, `${dir.path}/real`);
  assert.equal(given.config.cache, "on");
  assert.equal(given.config.maxSizeBytes, 1.5 * 2 ** 30);
  assert.deepEqual(given.config.exclude, ["a", "b"]);
  assert.equal(given.config.origins[0]?.url, `${dir.path}/music`);
  assert.deepEqual(given.options.reload(), given.config);
});

Deno.test("run() opens the cache under its lock when no daemon has it", async () => {
  await using dir = await tempDir("cli");
  const asked: GcOptions[] = [];
  const cache = fakeCache({
    gc: (options) => {
      asked.push(options);
      assert.throws(() =>
        acquireLock(dir.path, { pid: 1, supervisor_pid: null, mountpoint: null })
      );
      return Promise.resolve(GC);
    },
  });
  const openCache = () => Promise.resolve(cache);
  const ran = await cli(`gc --dry-run --max-size 1G --json --cache-dir ${dir.path}`, { openCache });
  assert.deepEqual(asked, [{ dryRun: true, maxSizeBytes: 2 ** 30 }]);
  assert.deepEqual(JSON.parse(ran.stdout), GC);
  assert(cache.isClosed);
  const shown = await cli(`gc --dry-run --cache-dir ${dir.path}`, { openCache });
  assert.deepEqual(asked[1], { dryRun: true });
  assert.match(shown.stdout, /would free\s+512\.0 MiB\nused\s+512\.0 MiB of 1\.0 GiB\n/);
});

Deno.test("run() asks the daemon that has the cache, and takes no lock then", async () => {
  await using dir = await tempDir("cli");
  using _lock = acquireLock(dir.path, {
    pid: 4711,
    supervisor_pid: null,
    mountpoint: "/mnt/music",
  });
  const asked: unknown[] = [];
  const commands: CacheCommands & { unmount(): Promise<void> } = {
    ...fakeCache({
      gc: (options) => {
        asked.push(options);
        return Promise.resolve(GC);
      },
      status: () => Promise.resolve(STATUS),
    }),
    unmount: () => Promise.resolve(),
  };
  const path = `${dir.path}/control.sock`;
  await using _server = await serveControl({ path, commands, log: silentLog });
  assert.equal((await cli(`gc --cache-dir ${dir.path}`)).code, 0);
  assert.deepEqual(asked, [{ dryRun: false }]);
  const json = await cli(`status --json --cache-dir ${dir.path}`);
  assert.deepEqual(JSON.parse(json.stdout), STATUS);
  assert.equal(JSON.parse(await Deno.readTextFile(`${dir.path}/${LOCK_FILE}`)).pid, 4711);
});

Deno.test("run() finds the daemon of a mountpoint, and shows what it says", async () => {
  await using dir = await tempDir("cli");
  const mountpoint = `${dir.path}/mnt`;
  const cacheDir = `${dir.path}/cache`;
  await Deno.mkdir(mountpoint);
  await Deno.mkdir(cacheDir);
  const env = (name: string): string | undefined =>
    name === "XDG_RUNTIME_DIR" ? dir.path : undefined;
  const info = { pid: Deno.pid, cache_dir: cacheDir, mountpoint };
  using _registration = registerDaemon(info, registryPlace(env));
  const commands = {
    ...fakeCache({ status: () => Promise.resolve(STATUS) }),
    unmount: () => Promise.resolve(),
  };
  const path = `${cacheDir}/control.sock`;
  await using _server = await serveControl({ path, commands, log: silentLog });
  const ran = await cli(`status mnt/`, { env, cwd: dir.path });
  assert.equal(ran.stderr, "");
  assert.equal(
    ran.stdout,
    await Deno.readTextFile(new URL("expected/status.txt", import.meta.url)),
  );
});

Deno.test("run() prints what a daemon tells, line by line, until it stops", async () => {
  await using dir = await tempDir("cli");
  const time_ms = Date.UTC(2026, 10, 23, 12);
  const nas = { time_ms, origin: "nas" };
  const counts = { folders: 5, files: 8, added: 8, changed: 0, moved: 1, gone: 0 };
  const rest = { resumed: false, held_deletions: 0, seconds: 0.1, error: null };
  const events: DaemonEvent[] = [
    { event: "connected", time_ms, pid: 7, mountpoint: "/mnt/music", version: "1" },
    { event: "added", time_ms, path: "a\nb.flac" },
    { event: "changed", time_ms, path: "c" },
    { event: "removed", time_ms, path: "d" },
    { event: "moved", time_ms, path: "new", from: "old" },
    { event: "origin_down", ...nas, reason: "no answer" },
    { event: "origin_degraded", ...nas, reason: null },
    { event: "origin_up", ...nas, offline_s: 65 },
    { event: "evicted", time_ms, chunks: 1_200, extents: 3, bytes: 2 ** 20 },
    { event: "scan_begun", ...nas },
    { event: "scan_ended", ...nas, state: "complete", ...counts, ...rest },
    { event: "lost", time_ms, count: 12_345 },
    { event: "stopping", time_ms, reason: "unmount" },
  ];
  await using _server = await serveControl({
    path: `${dir.path}/control.sock`,
    commands: { ...fakeCache({}), unmount: () => Promise.resolve() },
    streams: {
      events: (_args, { progress }) => {
        for (const event of events) progress({ events: [event] });
        return Promise.resolve({});
      },
    },
    log: silentLog,
  });
  const shown = await cli(`events --cache-dir ${dir.path}`);
  const lines = [
    "connected  to daemon 7 at /mnt/music",
    "added      a\\nb.flac",
    "changed    c",
    "removed    d",
    "moved      old -> new",
    "origin     nas is down: no answer",
    "origin     nas is slow or fails",
    "origin     nas is up again after 1 min 5 s",
    "evicted    1,200 chunks, 3 extents, 1.0 MiB",
    "scan       of nas begun",
    "scan       of nas complete, 8 files in 5 folders, 8 added, 0 changed, 1 moved, 0 gone (0.1 s)",
    "lost       12,345 events: they are read too slowly",
    "stopping   the daemon ends: unmount",
  ];
  const stdout = lines.map((line) => `2026-11-23T12:00:00.000Z  ${line}\n`).join("");
  assert.deepEqual(shown, { code: 0, stdout, stderr: "" });
  const json = await cli(`events --json --cache-dir ${dir.path}`);
  assert.deepEqual(json.stdout.trim().split("\n").map((line) => JSON.parse(line)), events);
});

Deno.test("run() follows a daemon only where there is one, and starts none", async () => {
  await using dir = await tempDir("cli");
  assert.match(
    await refused(1, `events --cache-dir ${dir.path}`),
    /No daemon serves the cache .*; mount first/,
  );
  assert.match(await refused(1, `events --cache-dir ${dir.path}/none`), /no cache at/);
  assert.deepEqual(await Array.fromAsync(Deno.readDir(dir.path)), []);
});

Deno.test("run() names the process that works on the cache and listens to nobody", async () => {
  await using dir = await tempDir("cli");
  using _lock = acquireLock(dir.path, { pid: 4711, supervisor_pid: null, mountpoint: null });
  assert.match(await refused(1, `gc --cache-dir ${dir.path}`), /process 4711 is working on it/);
});

Deno.test("run() waits for the socket of a daemon that is starting, not for ever", async () => {
  await using dir = await tempDir("cli");
  using _lock = acquireLock(dir.path, {
    pid: 4711,
    supervisor_pid: null,
    mountpoint: "/mnt/music",
  });
  let time = 0;
  const clock = {
    now: () => time,
    monotonic: () => time,
    sleep: (ms: number) => {
      time += ms;
      return Promise.resolve();
    },
  };
  const message = await refused(1, `status --cache-dir ${dir.path}`, { clock });
  assert.match(message, /daemon 4711 uses it for \/mnt\/music.*--cache-dir/);
  assert(time >= 1_000 && time < 60_000);
});

Deno.test("run() prints a scan's changes as they come, and fails when a scan was held", async () => {
  await using dir = await tempDir("cli");
  const scan = (options: ScanOptions): ReturnType<CacheCommands["scan"]> => {
    options.onProgress?.({
      origin: "/music",
      folders: 1,
      files: 2,
      changes: [{ kind: "added", path: "a\nb.flac" }, { kind: "moved", path: "new", from: "old" }],
    });
    const counts = {
      folders: 1,
      files: 2,
      added: 1,
      changed: 0,
      moved: 1,
      gone: 0,
      resumed: false,
      seconds: 0.25,
    };
    const held = { state: "held", held_deletions: 9, error: null } as const;
    assert.deepEqual(options.origins, ["/music"]);
    return Promise.resolve({ origins: [{ name: "/music", ...counts, ...held }] });
  };
  const openCache = () => Promise.resolve(fakeCache({ scan }));
  const ran = await cli(`scan --origin /music --cache-dir ${dir.path}/new`, { openCache });
  assert.equal(ran.code, 1);
  assert.equal(
    ran.stdout,
    "added    a\\nb.flac\nmoved    old -> new\n" +
      "/music: held, 2 files in 1 folders, 1 added, 0 changed, 1 moved, 0 gone (0.3 s)\n",
  );
  assert.match(ran.stderr, /^musicfs: \/music: 9 deletions are held back; .*--accept-deletions/);
  const json = await cli(`scan --json --origin /music --cache-dir ${dir.path}/new`, { openCache });
  assert.equal(JSON.parse(json.stdout).changes.length, 2);
});

Deno.test("run() fails a verification only for what stays bad", async () => {
  await using dir = await tempDir("cli");
  const result = {
    checked_chunks: 10,
    checked_bytes: 1024,
    bad_chunks: 2,
    missing_chunks: 1,
    bad_extent_blocks: 0,
    repaired_chunks: 3,
    repaired_extent_blocks: 0,
    paths: ["A/b.flac"],
    seconds: 1,
  };
  let repaired = 3;
  const openCache = () =>
    Promise.resolve(fakeCache({
      verify: () => Promise.resolve({ ...result, repaired_chunks: repaired }),
    }));
  assert.equal((await cli(`verify --repair --cache-dir ${dir.path}`, { openCache })).code, 0);
  repaired = 0;
  const ran = await cli(`verify --cache-dir ${dir.path}`, { openCache });
  assert.equal(ran.code, 1);
  assert.equal(
    ran.stderr,
    "musicfs: 3 chunks or blocks are bad or missing; fetch them with --repair\n",
  );
});

Deno.test("run() scans without an origin of its own only where a daemon has some", async () => {
  await using dir = await tempDir("cli");
  const line = `scan --cache-dir ${dir.path}`;
  assert.match(await refused(2, line), /No origin is configured/);
  using _lock = acquireLock(dir.path, {
    pid: 4711,
    supervisor_pid: null,
    mountpoint: "/mnt/music",
  });
  const commands = {
    ...fakeCache({ scan: () => Promise.resolve({ origins: [] }) }),
    unmount: () => Promise.resolve(),
  };
  const path = `${dir.path}/control.sock`;
  await using _server = await serveControl({ path, commands, log: silentLog });
  assert.deepEqual(await cli(line), { code: 0, stdout: "", stderr: "" });
});

Deno.test("run() tells an expected failure from a bug", async () => {
  const failing = (error: unknown): Partial<CliContext> => ({
    runDaemon: () => Promise.reject(error),
  });
  const line = "mount /m --origin /music --cache-dir /c";
  const context = { op: "mount.open", subject: "/m" };
  const denied = new MusicfsError("denied", "Cannot mount at /m\n:\nno", context);
  assert.equal(await refused(1, line, failing(denied)), "Cannot mount at /m\\n: no");
  const invalid = new MusicfsError("invalid", "Cannot read the cache", context);
  assert.equal(await refused(1, line, failing(invalid)), "Cannot read the cache");
  assert.match(
    await refused(1, line, failing(new TypeError("x"))),
    /a bug in musicfs: TypeError: x at/,
  );
});

Deno.test("run() prints its version, for people and for programs", async () => {
  assert.match((await cli("version")).stdout, /^musicfs \d+\.\d+\.\d+\n$/);
  assert.equal((await cli("--version")).stdout, (await cli("version")).stdout);
  const json = JSON.parse((await cli("version --json")).stdout);
  assert.equal(`musicfs ${json.version}\n`, (await cli("version")).stdout);
});

Deno.test("run() writes completions that know commands, options and choices", async () => {
  for (const shell of ["bash", "zsh", "fish", "pwsh", "nu"]) {
    const ran = await cli(`completions ${shell}`);
    assert.equal(ran.code, 0);
    assert.match(ran.stdout, /musicfs/);
    assert(ran.stdout.endsWith("\n"));
  }
  const suggested = async (words: readonly string[]): Promise<string[]> =>
    (await cli(["completions", "bash", ...words])).stdout.split("\n").filter(Boolean);
  assert((await suggested(["ch"])).includes("check-mount"));
  assert((await suggested(["gc", "--"])).includes("--max-size"));
  assert.deepEqual(await suggested(["mount", "/m", "--cache", "o"]), ["on", "off"]);
  const commands = await suggested([""]);
  assert(commands.includes("doctor") && !commands.some((word) => word.startsWith("__")));
});

Deno.test("run() warms paths, says how much, and names what failed with exit code 1", async () => {
  await using dir = await tempDir("cli");
  const asked: WarmOptions[] = [];
  let failures: { path: string; error: string }[] = [];
  const warm = (options: WarmOptions): Promise<WarmResult> => {
    asked.push(options);
    const failed = failures.length;
    const counts = { files: 1_200, bytes: 3 * 2 ** 20, fetched_bytes: 2 ** 20, seconds: 1 };
    return Promise.resolve({ ...counts, failed, failures });
  };
  const openCache = () => Promise.resolve(fakeCache({ warm }));
  const line = `warm Artist/Album /x --origin /music --cache-dir ${dir.path}`;
  const ran = await cli(line, { openCache });
  assert.deepEqual(ran, { code: 0, stdout: "1,200 files, 3.0 MiB, 1.0 MiB fetched\n", stderr: "" });
  assert.deepEqual(asked[0]?.paths, [
    { typed: "Artist/Album", candidates: ["Artist/Album"] },
    { typed: "/x", candidates: ["x"] },
  ]);
  failures = Array.from({ length: 30 }, (_, i) => ({ path: `A/${i}\n`, error: "Cannot read it" }));
  const failing = await cli(line, { openCache });
  assert.equal(failing.code, 1);
  const lines = failing.stderr.trimEnd().split("\n");
  assert.equal(lines.length, 21);
  assert.equal(lines[0], "musicfs: A/0\\n: Cannot read it");
  assert.match(lines[20] ?? "", /^musicfs: 30 of 1,200 files could not be fetched; .*status/);
  const json = await cli(`${line} --json`, { openCache });
  assert.equal(JSON.parse(json.stdout).failures.length, 30);
  assert.equal(json.stderr.trimEnd().split("\n").length, 1);
  assert.match(await refused(2, `warm Album --cache-dir ${dir.path}`), /No origin is configured/);
});

Deno.test("run() asks the daemon to pin what lies in its mount, and streams how far it is", async () => {
  await using dir = await tempDir("cli");
  const mountpoint = `${dir.path}/mnt`;
  await Deno.mkdir(`${mountpoint}/Artist`, { recursive: true });
  using _lock = acquireLock(dir.path, { pid: 4711, supervisor_pid: null, mountpoint });
  const asked: unknown[] = [];
  const pin = (options: WarmOptions): Promise<PinResult> => {
    asked.push(options.paths);
    const progress = { done_files: 1, total_files: 2, done_bytes: 5, total_bytes: 10 };
    options.onProgress?.({ ...progress, fetched_bytes: 5 });
    const counts = { files: 2, bytes: 10, fetched_bytes: 10, seconds: 1 };
    const pinned = ["Artist/Album"];
    return Promise.resolve({ ...counts, pinned, failed: 0, failures: [] });
  };
  const pins = { pins: [], pinned_bytes: 0, limit_bytes: 2 ** 30 };
  const unpin = ({ paths }: { paths: readonly TypedPath[] }) => {
    asked.push(paths);
    return Promise.resolve({ unpinned: ["", "Artist"] });
  };
  const commands = {
    ...fakeCache({ pin, unpin, pins: () => Promise.resolve(pins) }),
    unmount: () => Promise.resolve(),
  };
  const path = `${dir.path}/control.sock`;
  await using _server = await serveControl({ path, commands, log: silentLog });
  const at = { cwd: `${mountpoint}/Artist` };
  const ran = await cli(`pin Album --cache-dir ${dir.path}`, at);
  assert.equal(ran.stdout, "pinned   Artist/Album\n2 files, 10 B, 10 B fetched\n");
  assert.equal(ran.code, 0);
  const unpinned = await cli(`unpin Album --cache-dir ${dir.path}`, at);
  assert.equal(unpinned.stdout, "unpinned /\nunpinned Artist\n");
  const typed = { typed: "Album", candidates: ["Artist/Album", "Album"] };
  assert.deepEqual(asked, [[typed], [typed]]);
  const none = await cli(`pin --cache-dir ${dir.path}`);
  assert.equal(none.stdout, "nothing is pinned  0 B of 1.0 GiB\n");
  assert.deepEqual(JSON.parse((await cli(`pin --json --cache-dir ${dir.path}`)).stdout), pins);
});

Deno.test("run() lists pins, and what is yet to come of them", async () => {
  await using dir = await tempDir("cli");
  const pins = [
    { path: "", since_ms: 0, files: 3, bytes: 2 ** 20, missing_bytes: 2 ** 19 },
    { path: "Artist/Album", since_ms: 0, files: 1, bytes: 1, missing_bytes: 0 },
  ];
  const result = { pins, pinned_bytes: 2 ** 19, limit_bytes: 2 ** 30 };
  const openCache = () => Promise.resolve(fakeCache({ pins: () => Promise.resolve(result) }));
  const ran = await cli(`pin --cache-dir ${dir.path}`, { openCache });
  assert.equal(
    ran.stdout,
    "/             3 files, 1.0 MiB, 512.0 KiB yet to be fetched\n" +
      "Artist/Album  1 files, 1 B\n" +
      "all pins      512.0 KiB of 1.0 GiB\n",
  );
});

Deno.test("run() says what is pinned when gc cannot reach the size", async () => {
  await using dir = await tempDir("cli");
  const result = { ...GC, dry_run: false, limit_bytes: 2 ** 20, pinned_bytes: 2 ** 28 };
  const openCache = () => Promise.resolve(fakeCache({ gc: () => Promise.resolve(result) }));
  const { stdout } = await cli(`gc --max-size 1M --cache-dir ${dir.path}`, { openCache });
  assert.match(stdout, /\npinned\s+256\.0 MiB, which stay: 1\.0 MiB cannot be reached\. .*unpin/);
});

Deno.test("run() names each origin that could not be scanned on a line, and the others", async () => {
  await using dir = await tempDir("cli");
  const counts = { folders: 1, files: 2, added: 2, changed: 0, moved: 0, gone: 0, seconds: 0.25 };
  const down = { ...counts, files: 0, folders: 0, added: 0, held_deletions: 0, state: "failed" };
  const origins = [
    { name: "nas", ...counts, held_deletions: 0, state: "complete", error: null },
    { name: "s3://a", ...down, error: "Cannot reach a:443:\nre\nfused" },
    { name: "sftp://b", ...down, files: 7, folders: 1, error: "Cannot log in to b" },
  ] as OriginScanResult[];
  const openCache = () => Promise.resolve(fakeCache({ scan: () => Promise.resolve({ origins }) }));
  const ran = await cli(`scan --origin /music --cache-dir ${dir.path}`, { openCache });
  assert.equal(ran.code, 1);
  assert.match(
    ran.stdout,
    /^nas: 2 files.*\ns3:\/\/a: failed \(0\.3 s\)\nsftp:\/\/b: failed after 7 files in 1 folders, /,
  );
  assert.equal(
    ran.stderr,
    "musicfs: s3://a: Cannot reach a:443: re\\nfused\nmusicfs: sftp://b: Cannot log in to b\n",
  );
});
