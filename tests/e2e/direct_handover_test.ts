/** Files of a local disk that are open, read, opened and closed while the daemon is killed again and again. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { musicfs, musicfsCommand, startDaemon } from "../support/daemon.ts";
import { randomNumbers } from "../support/churn.ts";
import { FileUser } from "../support/file_user.ts";
import { eventually, output, run } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { randomBytes } from "../support/sample_library.ts";
import { rounds, seed } from "../support/scale.ts";
import { smallDisk } from "../support/small_disk.ts";
import { tempDir } from "../support/temp_dir.ts";
import { AS_NOBODY, fuseForEverybody, NOBODY, readableCommand } from "../support/unprivileged.ts";

const FILE_BYTES = 200_000;
const FILES = 4;

/** Successors that may die before they have settled, in a row; after one more the mount is given up. */
const QUICK_KILLS = 4;

/** Longest wait for a successor, in ms, on a loaded machine. */
const SUCCESSOR_MS_MAX = 30_000;

function bytesOf(i: number): Uint8Array {
  return randomBytes(FILE_BYTES, i + 1);
}

async function check(user: FileUser, handle: number, i: number): Promise<void> {
  for (const at of [0, 100_000, FILE_BYTES - 500]) {
    const wanted = bytesOf(i).subarray(at, at + 500);
    assert.deepEqual(await user.read(handle, at, 500), wanted, `file ${i} from ${at} on`);
  }
}

/** A number from a JSON file that is written meanwhile; undefined while it cannot be read. */
async function numberIn(path: string, key: string): Promise<number | undefined> {
  try {
    return JSON.parse(await Deno.readTextFile(path))[key];
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Opens, reads and closes at random until `isOver`, and then closes all. */
async function useFiles(
  mountpoint: string,
  { prefix, seed, isOver }: { prefix: readonly string[]; seed: number; isOver: () => boolean },
): Promise<number> {
  const random = randomNumbers(seed);
  await using user = await FileUser.start(prefix);
  const open: { handle: number; i: number }[] = [];
  let opens = 0;
  while (!isOver()) {
    const chance = random();
    const one = open[Math.floor(random() * open.length)];
    if (!one || (chance < 0.35 && open.length < 5)) {
      const i = Math.floor(random() * FILES);
      open.push({ handle: await user.open(join(mountpoint, `${i}`)), i });
      opens += 1;
    } else if (chance < 0.7) {
      await user.close(one.handle);
      open.splice(open.indexOf(one), 1);
    } else await check(user, one.handle, one.i);
  }
  for (const { handle, i } of open) {
    await check(user, handle, i);
    await user.close(handle);
  }
  return opens;
}

/** Kills whoever serves, `count` times at random moments, with a pause before it would be given up. */
async function killAgainAndAgain(
  cacheDir: string,
  { count, random }: { count: number; random: () => number },
): Promise<void> {
  const [lock, session] = [join(cacheDir, "musicfs.lock"), join(cacheDir, "session.json")];
  let killed: number | undefined;
  for (let i = 0; i < count; i += 1) {
    let pid: number | undefined;
    await eventually(async () => {
      pid = await numberIn(lock, "pid");
      return pid !== undefined && pid !== killed;
    }, { ms: SUCCESSOR_MS_MAX, what: `a successor of ${killed}` });
    assert(pid !== undefined);
    if (i % QUICK_KILLS === 0) {
      await eventually(async () => await numberIn(session, "quickDeaths") === 0, {
        ms: SUCCESSOR_MS_MAX,
        what: "a daemon that has settled",
      });
    }
    await new Promise((resolve) => setTimeout(resolve, random() * 600));
    Deno.kill(pid, "SIGKILL");
    killed = pid;
  }
}

for (const how of ["passthrough", "pread"] as const) {
  testWith(
    ["fuse", how === "passthrough" ? "passthrough" : "fusermount3", "root", "setpriv", "gcc"],
    `kill -9 while files of a local disk are used, by ${how}: no error, no wrong byte, all given back`,
    async () => {
      const start = seed();
      const random = randomNumbers(start);
      await using dir = await tempDir("direct-handover");
      await using disk = await smallDisk(8 * 1024 * 1024);
      for (let i = 0; i < FILES; i += 1) await Deno.writeFile(join(disk.path, `${i}`), bytesOf(i));
      const isRoot = how === "passthrough";
      await using _device = isRoot ? undefined : await fuseForEverybody();
      const home = join(dir.path, "home");
      await Deno.mkdir(join(home, "mnt"), { recursive: true });
      await output("chown", ["-R", isRoot ? "0:0" : `${NOBODY}:${NOBODY}`, home]);
      const prefix = isRoot ? [] : AS_NOBODY;
      const command = isRoot ? musicfsCommand() : await readableCommand(dir.path);
      const env = isRoot ? {} : { DENO_DIR: join(home, "deno"), HOME: home };
      const args = ["--cache", "auto"];
      await using daemon = await startDaemon({
        ...{ dir: home, origins: [disk.path], args, supervise: true },
        ...{ prefix, command, env },
      });
      const { mountpoint, cacheDir } = daemon;
      await using user = await FileUser.start(prefix);
      const old = await user.open(join(mountpoint, "0"));

      let isOver = false;
      const users = Array.from(
        { length: 4 },
        (_, i) => useFiles(mountpoint, { prefix, seed: start + i, isOver: () => isOver }),
      );
      const count = rounds({ ci: 4, long: 50 });
      const killing = killAgainAndAgain(cacheDir, { count, random }).finally(() => isOver = true);
      const results = await Promise.allSettled([killing, ...users]);
      for (const result of results) {
        if (result.status === "fulfilled") continue;
        const message = `seed ${start}; the daemons wrote:\n${daemon.log}`;
        throw new Error(message, { cause: result.reason });
      }
      const opens = (await Promise.all(users)).reduce((sum, value) => sum + value);
      assert(opens > count, `seed ${start}: ${opens} opens`);

      // A version that comes now is shown to who opens, and not to who has the old one open.
      await Deno.writeFile(join(disk.path, "new"), bytesOf(99));
      await Deno.rename(join(disk.path, "new"), join(disk.path, "0"));
      await eventually(async () => {
        const handle = await user.open(join(mountpoint, "0"));
        const [first] = await user.read(handle, 0, 1);
        await user.close(handle);
        return first === bytesOf(99)[0];
      }, { ms: 30_000, what: "the new version" });
      if (isRoot) await check(user, old, 0);
      await user.close(old);

      let passed = 0;
      await eventually(async () => {
        const { stdout } = await musicfs(["status", "--json", "--cache-dir", cacheDir]);
        const status = JSON.parse(stdout);
        passed = status.reads.passthrough_opens;
        return status.open_handles === 0;
      }, { ms: 30_000, what: "all handles to be closed" });
      assert.equal(passed > 0, isRoot, "the last daemon still passes files through");
      let said = "";
      await eventually(async () => {
        const { code, stderr } = await run("umount", [disk.path]);
        said = stderr;
        return code === 0;
      }, { ms: 30_000, what: `nobody to use the disk: ${said}` });
      assert.equal(await daemon.stop(), 0);
    },
  );
}
