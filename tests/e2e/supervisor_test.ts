/** The supervising parent: readers notice no death of a daemon, and `--replace` no upgrade. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { Daemon, musicfs, startDaemon, unmounted } from "../support/daemon.ts";
import { mountsAt } from "../support/mounts.ts";
import { eventually, output } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise } from "../support/sample_library.ts";
import { rounds } from "../support/scale.ts";
import { tempDir } from "../support/temp_dir.ts";
import { GIVEN_UP } from "../../src/mount/exit_codes.ts";

const NEEDS = ["fuse", "fusermount3"] as const;

/** Longest wait for daemons that come after each other, in ms: the machine may be loaded. */
const WAIT_MS_MAX = 60_000;

const FILES = 4;
const FILE_BYTES = 3_000_000;

/** Slow enough that a reader of it all is still reading when daemons have come and gone. */
const SLOWLY = ["--cache", "on", "--bwlimit", "6M"];

/** A folder with music of which every byte is to be seen through the mount. */
async function rig(name: string): Promise<{ dir: string; origin: string } & AsyncDisposable> {
  const dir = await tempDir(name);
  const origin = join(dir.path, "origin");
  for (let i = 0; i < FILES; i += 1) {
    await writeNoise(join(origin, `${i}.flac`), { bytes: FILE_BYTES + i * 7_777, seed: i });
  }
  return { dir: dir.path, origin, [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose]() };
}

/** Who serves, as the lock says; it is empty for a moment while that is written. */
async function lockOf(daemon: Daemon): Promise<{ pid: number; supervisor_pid: number | null }> {
  let text = "";
  await eventually(async () => {
    text = await Deno.readTextFile(join(daemon.cacheDir, "musicfs.lock"));
    return text.endsWith("\n");
  }, { ms: WAIT_MS_MAX, what: "the lock's holder" });
  return JSON.parse(text);
}

/** Waits for the `count`th daemon that says that it answers. */
async function readyAgain(daemon: Daemon, count: number): Promise<void> {
  await eventually(() => readyCount(daemon) >= count, {
    ms: WAIT_MS_MAX,
    what: `READY=1 for the ${count}th time; the daemons wrote:\n${daemon.log}`,
  });
}

function readyCount({ notifications }: Daemon): number {
  return notifications.filter((line) => line === "READY=1").length;
}

/** Sums of all files, read one after another, each from its start to its end. */
function sums(folder: string): Promise<string> {
  return output("bash", ["-c", "cat ./*.flac | sha256sum; sha256sum ./*.flac"], { cwd: folder });
}

/** Resolves once something was fetched: a reader is under way. */
async function isReading({ cacheDir }: Daemon): Promise<void> {
  await eventually(async () => {
    const found = await output("find", [join(cacheDir, "extents"), "-type", "f"]);
    return found !== "";
  }, { ms: WAIT_MS_MAX, what: "something to be read" });
}

function isRunning(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(Deno.readTextFileSync(`/proc/${pid}/stat`));
  } catch (error) {
    if (error instanceof Error) return false; // There is no such process.
    throw error;
  }
}

async function ended(pid: number): Promise<void> {
  await eventually(() => !isRunning(pid), { ms: WAIT_MS_MAX, what: `the end of ${pid}` });
}

testWith(NEEDS, "kill -9 of the daemon, twice, is not noticed by a reader", async () => {
  await using music = await rig("sv-kill");
  const origins = [music.origin];
  await using daemon = await startDaemon({
    dir: music.dir,
    origins,
    supervise: true,
    args: SLOWLY,
  });
  const before = mountsAt(daemon.mountpoint);
  const reader = sums(daemon.mountpoint);
  await isReading(daemon);
  for (const count of [2, 3]) {
    Deno.kill((await lockOf(daemon)).pid, "SIGKILL");
    await readyAgain(daemon, count);
  }
  assert.equal(await reader, await sums(music.origin));
  assert.deepEqual(mountsAt(daemon.mountpoint), before, "it is the same mount");
  assert.equal(await daemon.stop(), 0, daemon.log);
  assert.deepEqual(mountsAt(daemon.mountpoint), []);
});

testWith(NEEDS, "kill -9 of the parent, then of the daemon, harms nothing", async () => {
  await using music = await rig("sv-parent");
  const origins = [music.origin];
  await using daemon = await startDaemon({ dir: music.dir, origins, supervise: true });
  using open = await Deno.open(join(daemon.mountpoint, "0.flac"));
  const before = mountsAt(daemon.mountpoint);
  const first = await lockOf(daemon);
  assert(first.supervisor_pid !== null && first.supervisor_pid !== first.pid);
  daemon.signal("SIGKILL");
  await eventually(async () => (await lockOf(daemon)).supervisor_pid !== first.supervisor_pid, {
    ms: WAIT_MS_MAX,
    what: "another parent",
  });
  const second = await lockOf(daemon);
  assert(second.supervisor_pid !== null);
  const words = ["status", "--json", "--cache-dir", daemon.cacheDir];
  const status = JSON.parse((await musicfs(words)).stdout);
  assert.deepEqual([status.pid, status.supervisor_pid], [first.pid, second.supervisor_pid]);
  Deno.kill(first.pid, "SIGKILL");
  await readyAgain(daemon, 2);
  assert.deepEqual(mountsAt(daemon.mountpoint), before);
  const bytes = new Uint8Array(64 * 1024);
  const length = await open.read(bytes) ?? 0;
  const original = await Deno.readFile(join(music.origin, "0.flac"));
  assert.deepEqual(bytes.subarray(0, length), original.subarray(0, length), "opened before");
  const { pid } = await lockOf(daemon);
  Deno.kill(second.supervisor_pid, "SIGTERM");
  await unmounted(daemon.mountpoint);
  await Promise.all([ended(pid), ended(second.supervisor_pid)]);
});

testWith(NEEDS, "kill -9 of the parent while the daemon starts harms nothing", async () => {
  await using music = await rig("sv-start");
  await using daemon = await Daemon.spawn({
    dir: music.dir,
    origins: [music.origin],
    supervise: true,
  });
  await eventually(async () => (await childrenOf(daemon)).length > 0, {
    ms: WAIT_MS_MAX,
    what: "a daemon",
  });
  daemon.signal("SIGKILL");
  await daemon.ended;
  await readyAgain(daemon, 1);
  await eventually(async () => {
    const { supervisor_pid } = await lockOf(daemon);
    return (await wordsOf(supervisor_pid ?? 0)).includes("__supervise");
  }, { ms: WAIT_MS_MAX, what: "another parent" });
  Deno.kill((await lockOf(daemon)).pid, "SIGKILL");
  await readyAgain(daemon, 2);
  assert.equal(await sums(daemon.mountpoint), await sums(music.origin));
});

/** The command line of a process; empty if there is none. */
async function wordsOf(pid: number): Promise<string[]> {
  const text = await Deno.readTextFile(`/proc/${pid}/cmdline`).catch(() => "");
  return text.split("\0");
}

async function childrenOf({ childPid }: Daemon): Promise<number[]> {
  const path = `/proc/${childPid}/task/${childPid}/children`;
  return (await Deno.readTextFile(path)).split(" ").filter((pid) => pid !== "").map(Number);
}

testWith(NEEDS, "kill -9 of both leaves a dead mount, which the next mount clears", async () => {
  await using music = await rig("sv-both");
  const options = { dir: music.dir, origins: [music.origin], supervise: true };
  await using daemon = await startDaemon(options);
  const pid = await daemon.pid();
  // Stopped first: it would start another daemon at once.
  daemon.signal("SIGSTOP");
  Deno.kill(pid, "SIGKILL");
  daemon.signal("SIGKILL");
  await daemon.exitCode();
  assert.equal(mountsAt(daemon.mountpoint).length, 1);
  await using next = await startDaemon(options);
  assert.equal(await sums(next.mountpoint), await sums(music.origin));
  assert.equal(mountsAt(next.mountpoint).length, 1);
  assert.equal(await next.stop(), 0);
});

testWith(NEEDS, "SIGUSR1 to the parent puts another daemon behind the same mount", async () => {
  await using music = await rig("sv-usr1");
  const origins = [music.origin];
  await using daemon = await startDaemon({
    dir: music.dir,
    origins,
    supervise: true,
    args: SLOWLY,
  });
  const before = mountsAt(daemon.mountpoint);
  const first = await lockOf(daemon);
  const reader = sums(daemon.mountpoint);
  await isReading(daemon);
  daemon.signal("SIGUSR1");
  await readyAgain(daemon, 2);
  const second = await lockOf(daemon);
  assert.notEqual(second.pid, first.pid);
  assert.equal(second.supervisor_pid, first.supervisor_pid);
  assert.equal(await reader, await sums(music.origin));
  assert.deepEqual(mountsAt(daemon.mountpoint), before);
  assert.match(daemon.log, /Stopped reason=handover/);
});

/** Each way to end a mount on purpose. */
const ENDS: Record<string, (daemon: Daemon) => Promise<unknown>> = {
  "SIGTERM to the parent": (daemon) => Promise.resolve(daemon.signal("SIGTERM")),
  "SIGTERM to the daemon": async (daemon) => Deno.kill((await lockOf(daemon)).pid, "SIGTERM"),
  "Ctrl-C, SIGINT to the whole group,": (daemon) =>
    output("kill", ["-INT", "--", `-${daemon.childPid}`]),
  "fusermount3 -u from outside": (daemon) => output("fusermount3", ["-u", daemon.mountpoint]),
  "musicfs unmount": (daemon) => musicfs(["unmount", daemon.mountpoint]),
};

for (const [what, end] of Object.entries(ENDS)) {
  testWith(NEEDS, `${what} ends daemon and parent with 0, unmounted`, async () => {
    await using music = await rig("sv-end");
    const origins = [music.origin];
    const options = { dir: music.dir, origins, supervise: true, prefix: ["setsid"] };
    await using daemon = await startDaemon(options);
    const pid = await daemon.pid();
    await end(daemon);
    assert.equal(await daemon.exitCode(), 0, daemon.log);
    assert(!isRunning(pid));
    assert.deepEqual(mountsAt(daemon.mountpoint), []);
    assert.match(daemon.log, /Stopped reason=(signal|outside|unmount) [^\n]*\n$/);
    assert.doesNotMatch(daemon.log, /second signal/);
  });
}

testWith(NEEDS, "a start that fails passes its exit code and its one line on", async () => {
  await using dir = await tempDir("sv-fails");
  const absent = join(dir.path, "absent");
  await using daemon = await Daemon.spawn({ dir: dir.path, origins: [absent], supervise: true });
  assert.equal(await daemon.exitCode(), 1);
  assert.match(daemon.log, /^musicfs: [^\n]*absent[^\n]*\n$/);
  assert.deepEqual(mountsAt(daemon.mountpoint), []);
});

testWith(NEEDS, "a mount of which one daemon after another dies is given up with 3", async () => {
  await using music = await rig("sv-hopeless");
  await using daemon = await startDaemon({
    dir: music.dir,
    origins: [music.origin],
    supervise: true,
    env: { MUSICFS_FAILPOINTS: "daemon.takeover=kill" },
  });
  Deno.kill((await lockOf(daemon)).pid, "SIGKILL");
  await eventually(() => !daemon.isRunning, { ms: WAIT_MS_MAX, what: "the end of them all" });
  assert.equal(await daemon.exitCode(), GIVEN_UP, daemon.log);
  assert.match(daemon.log, /The mount is given up/);
  assert.equal(daemon.log.match(/Started in the place of a daemon/g)?.length, 6, daemon.log);
  assert.deepEqual(mountsAt(daemon.mountpoint), []);
});

testWith(NEEDS, "mount --replace, again and again, is not noticed by readers", async () => {
  await using music = await rig("sv-replace");
  const options = { dir: music.dir, origins: [music.origin], supervise: true };
  await using daemons = new AsyncDisposableStack();
  let daemon = daemons.use(await startDaemon(options));
  const before = mountsAt(daemon.mountpoint);
  await using reader = readingOn(daemon.mountpoint, music.dir);
  for (let round = 0; round < rounds({ ci: 4, long: 10 }); round += 1) {
    await reader.readMore();
    const next = daemons.use(
      await startDaemon({ ...options, args: ["--cache", "on", "--replace"] }),
    );
    assert.equal(await daemon.exitCode(), 0, daemon.log);
    assert.deepEqual(mountsAt(daemon.mountpoint), before, next.log);
    daemon = next;
  }
  await reader.readMore();
  const [sum] = (await output("bash", ["-c", "cat ./*.flac | sha256sum"], { cwd: music.origin }))
    .split("\n");
  assert.deepEqual([...new Set(await reader.end())], [sum]);
  // A successor of the last one has nobody to replace.
  Deno.kill((await lockOf(daemon)).pid, "SIGKILL");
  await readyAgain(daemon, 2);
  assert.deepEqual(mountsAt(daemon.mountpoint), before);
  assert.equal(await daemon.stop(), 0, daemon.log);
  assert.deepEqual(mountsAt(daemon.mountpoint), []);
});

/** Reads all files again and again, past the kernel's cache, and notes the sum of each round. */
function readingOn(mountpoint: string, dir: string): AsyncDisposable & {
  /** Resolves when a round has ended that began after this call. */
  readMore(): Promise<void>;
  /** Ends with the round that is on its way; the sums. */
  end(): Promise<string[]>;
} {
  const stop = join(dir, "stop");
  const sums = join(dir, "sums");
  const round =
    'for f in ./*.flac; do dd if="$f" iflag=direct bs=64k status=none || echo bad; done';
  const line = `until [ -e "$1" ]; do { ${round}; } | sha256sum >>"$2"; done`;
  const ended = output("bash", ["-c", line, "bash", stop, sums], { cwd: mountpoint });
  const read = async (): Promise<string[]> => {
    const text = await Deno.readTextFile(sums).catch(() => "");
    return text.split("\n").filter((line) => line !== "");
  };
  const end = async (): Promise<string[]> => {
    await Deno.writeTextFile(stop, "");
    await ended;
    return await read();
  };
  return {
    readMore: async () => {
      const enough = (await read()).length + 2;
      await eventually(async () => (await read()).length >= enough, {
        ms: WAIT_MS_MAX,
        what: "two more rounds of reading",
      });
    },
    end,
    [Symbol.asyncDispose]: async () => void await end(),
  };
}

testWith(NEEDS, "mount --replace without a daemon there mounts", async () => {
  await using music = await rig("sv-nobody");
  const origins = [music.origin];
  await using daemon = await startDaemon({ dir: music.dir, origins, args: ["--replace"] });
  assert.equal(await sums(daemon.mountpoint), await sums(music.origin));
});

testWith(NEEDS, "mount --replace with another cache fails, and the daemon serves on", async () => {
  await using music = await rig("sv-other");
  const options = { dir: music.dir, origins: [music.origin] };
  await using daemon = await startDaemon(options);
  const words = ["mount", daemon.mountpoint, "--origin", music.origin, "--replace"];
  const other = await musicfs([...words, "--cache-dir", join(music.dir, "other")]);
  assert.equal(other.code, 1);
  assert.match(other.stderr, /^musicfs: Cannot replace the daemon at [^\n]*--cache-dir\n$/);
  assert.equal(await sums(daemon.mountpoint), await sums(music.origin));
});
