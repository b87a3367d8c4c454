import assert from "node:assert/strict";
import { type ErrorCode, MusicfsError } from "../../src/base/errors.ts";
import type { Log } from "../../src/base/log.ts";
import { silentLog } from "../../src/base/log.ts";
import { LocalOrigin } from "../../src/origins/local.ts";
import { OpenFiles } from "../../src/origins/open_files.ts";
import { isLocalDisk } from "../../src/origins/local_disk.ts";
import { tempDir } from "../support/temp_dir.ts";

const song = new Uint8Array([0, 1, 2, 3, 4, 5, 6, 7]);
const whole = { offset: 0, length: 8 };

function never(): { signal: AbortSignal } {
  return { signal: new AbortController().signal };
}

async function rejectsWith(code: ErrorCode, call: Promise<unknown>): Promise<void> {
  await assert.rejects(call, (error) => {
    assert(error instanceof MusicfsError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  });
}

async function withRoot(
  body: (origin: LocalOrigin, root: string, outside: string) => Promise<void>,
  log: Log = silentLog,
): Promise<void> {
  await using dir = await tempDir("local");
  const root = `${dir.path}/music`;
  await Deno.mkdir(root);
  await using origin = await LocalOrigin.open("local", root, { log });
  await body(origin, root, dir.path);
}

async function names(origin: LocalOrigin, folder = ""): Promise<string[]> {
  const entries = await Array.fromAsync(origin.list(folder, never()));
  return entries.map(({ path }) => path).sort();
}

async function sh(command: string): Promise<void> {
  const { code, stderr } = await new Deno.Command("sh", { args: ["-c", command] }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
}

/** Descriptors of this process that lie below a path. */
function descriptorsIn(path: string): number {
  let open = 0;
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    try {
      if (Deno.readLinkSync(`/proc/self/fd/${name}`).startsWith(path)) open += 1;
    } catch (error) {
      assert(error instanceof Deno.errors.NotFound);
    }
  }
  return open;
}

Deno.test("LocalOrigin.list() tells size and time to the nanosecond", async () => {
  await withRoot(async (origin, root) => {
    await Deno.writeFile(`${root}/song`, song);
    await sh(`touch -d '2020-01-02 03:04:05.123456789 UTC' '${root}/song'`);
    const [entry] = await Array.fromAsync(origin.list("", never()));
    assert.deepEqual(entry, {
      path: "song",
      kind: "file",
      size: 8,
      mtimeNs: 1577934245123456789n,
      version: "8-1577934245123456789",
      target: "",
    });
  });
});

Deno.test("LocalOrigin.list() skips FIFOs, sockets and devices", async () => {
  await withRoot(async (origin, root) => {
    await sh(`mkfifo '${root}/fifo'`);
    const socket = Deno.listen({ transport: "unix", path: `${root}/socket` });
    await Deno.writeFile(`${root}/song`, song);
    assert.deepEqual(await names(origin), ["song"]);
    await rejectsWith("not_found", origin.stat("fifo", never()));
    socket.close();
  });
});

Deno.test("LocalOrigin.list() skips names that are not UTF-8, with one line for a scan", async () => {
  const lines: unknown[] = [];
  const log: Log = { ...silentLog, warning: (_, fields) => lines.push(fields?.names) };
  await withRoot(async (origin, root) => {
    // The second is a name of its own, which looks like what Deno makes of the first.
    await sh(`cd '${root}' && mkdir sub && touch "$(printf 'a\\377')" "$(printf 'sub/b\\376c')"`);
    await Deno.writeFile(`${root}/a\uFFFD`, song);
    assert.deepEqual(await names(origin), ["a\uFFFD", "sub"]);
    assert.deepEqual(await names(origin, "sub"), []);
    assert.deepEqual(lines, [1]);
    await names(origin);
    await names(origin, "sub");
    assert.deepEqual(lines, [1, 1]);
  }, log);
});

Deno.test("LocalOrigin.list() shows links inside the root relative to their folder, no others", async () => {
  await withRoot(async (origin, root, outside) => {
    await Deno.mkdir(`${root}/a/b`, { recursive: true });
    await Deno.writeFile(`${root}/song`, song);
    await Deno.writeFile(`${outside}/secret`, song);
    const links = {
      absolute: `${root}/song`,
      relative: "../../song",
      itself: "itself",
      dangling: "../none",
      dots: "../b/../../a",
      folder: ".",
      root: root,
      out: "../../../secret",
      outAbsolute: `${outside}/secret`,
      outDangling: "../../../none",
      throughOut: "outAbsolute",
    };
    for (const [name, target] of Object.entries(links)) {
      await Deno.symlink(target, `${root}/a/b/${name}`);
    }
    const entries = await Array.fromAsync(origin.list("a/b", never()));
    const targets = Object.fromEntries(entries.map(({ path, target }) => [path.slice(4), target]));
    assert.deepEqual(targets, {
      absolute: "../../song",
      relative: "../../song",
      itself: "itself",
      dangling: "../none",
      dots: "..",
      folder: ".",
      root: "../..",
    });
  });
});

Deno.test("LocalOrigin.list() follows the real folder where `..` meets a linked one", async () => {
  await withRoot(async (origin, root) => {
    await Deno.mkdir(`${root}/deep/er`, { recursive: true });
    await Deno.writeFile(`${root}/deep/song`, song);
    await Deno.symlink("deep/er", `${root}/short`);
    await Deno.symlink("short/../song", `${root}/link`);
    assert.equal((await origin.stat("link", never())).target, "deep/song");
  });
});

Deno.test("LocalOrigin never leaves the root, whatever links appear on the way", async () => {
  await withRoot(async (origin, root, outside) => {
    await Deno.mkdir(`${root}/album`);
    await Deno.mkdir(`${outside}/album`);
    await Deno.writeFile(`${root}/album/song`, song);
    const file = await origin.stat("album/song", never());
    await sh(`cp -a '${root}/album/song' '${outside}/album/song'; rm -r '${root}/album'`);
    await Deno.symlink(`${outside}/album`, `${root}/album`);
    await rejectsWith("denied", origin.read(file, whole, never()));
    await using without = await LocalOrigin.open("old", root, { log: silentLog, beneath: false });
    await rejectsWith("denied", without.read(file, whole, never()));
    await rejectsWith("invalid", names(origin, "album"));
    await rejectsWith("invalid", origin.stat("album/song", never()));
    await rejectsWith("invalid", origin.stat("../album/song", never()));
    await rejectsWith("invalid", origin.stat("/etc/passwd", never()));
  });
});

Deno.test("LocalOrigin.read() throws changed for a file edited in place, and for a FIFO", async () => {
  await withRoot(async (origin, root) => {
    await Deno.writeFile(`${root}/song`, song);
    const file = await origin.stat("song", never());
    assert.deepEqual(await origin.read(file, whole, never()), song);
    await Deno.writeFile(`${root}/song`, new Uint8Array(8).fill(9));
    await rejectsWith("changed", origin.read(file, whole, never()));
    await Deno.writeFile(`${root}/song`, new Uint8Array(3));
    await rejectsWith("changed", origin.read(file, whole, never()));
    await sh(`rm '${root}/song' && mkfifo '${root}/song'`);
    await rejectsWith("changed", origin.read(file, whole, never()));
  });
});

Deno.test("LocalOrigin.hold() keeps a version readable after it was replaced or removed", async () => {
  await withRoot(async (origin, root, outside) => {
    await Deno.writeFile(`${root}/song`, song);
    const old = await origin.stat("song", never());
    await origin.hold(old, never());
    await Deno.writeFile(`${outside}/new`, new Uint8Array(9));
    await Deno.rename(`${outside}/new`, `${root}/song`);
    const now = await origin.stat("song", never());
    assert.deepEqual(await origin.read(old, whole, never()), song);
    assert.equal((await origin.read(now, { offset: 0, length: 9 }, never())).length, 9);
    await Deno.remove(`${root}/song`);
    assert.deepEqual(await origin.read(old, whole, never()), song);
  });
});

Deno.test("LocalOrigin keeps at most 64 descriptors, and none after it is disposed of", async () => {
  await using dir = await tempDir("local");
  const origin = await LocalOrigin.open("local", dir.path, { log: silentLog });
  for (let i = 0; i < 70; i += 1) await Deno.writeFile(`${dir.path}/${i}`, song);
  for await (const file of origin.list("", never())) await origin.read(file, whole, never());
  // What is over the limit is being closed on another thread by now.
  for (let turn = 0; turn < 1_000 && descriptorsIn(dir.path) > 64; turn += 1) {
    await Deno.stat(dir.path);
  }
  const open = descriptorsIn(dir.path);
  assert(open > 0 && open <= 64, String(open));
  await origin[Symbol.asyncDispose]();
  assert.equal(descriptorsIn(dir.path), 0);
});

Deno.test("OpenFiles does not close what is in use, and closes what is changed", async () => {
  let opened = 0;
  const open = (): Promise<number> => {
    opened += 1;
    return Promise.resolve(-1);
  };
  const files = new OpenFiles(open, 1);
  const file = (path: string) => ({ path, size: 1, version: "v" });
  await files.with(file("a"), async () => {
    await files.with(file("b"), () => Promise.resolve());
    await files.with(file("a"), () => Promise.resolve());
    assert.equal(opened, 2);
  });
  assert.equal(files.size, 1);
  const changed = new MusicfsError("changed", "changed", { op: "test", subject: "a" });
  await assert.rejects(files.with(file("a"), () => Promise.reject(changed)));
  assert.equal(files.size, 0);
  await files[Symbol.asyncDispose]();
  await assert.rejects(files.with(file("a"), () => Promise.resolve()));
});

Deno.test("LocalOrigin is unavailable, not empty, while its root is missing", async () => {
  await withRoot(async (origin, root, outside) => {
    await Deno.mkdir(`${root}/album`);
    await Deno.writeFile(`${root}/album/song`, song);
    const file = await origin.stat("album/song", never());
    await Deno.rename(root, `${outside}/away`);
    await rejectsWith("unavailable", names(origin));
    await rejectsWith("unavailable", names(origin, "album"));
    await rejectsWith("unavailable", origin.stat("album/song", never()));
    await rejectsWith("unavailable", origin.read(file, whole, never()));
    await Deno.writeFile(root, song);
    await rejectsWith("unavailable", names(origin));
    await Deno.remove(root);
    await Deno.rename(`${outside}/away`, root);
    assert.deepEqual(await origin.read(file, whole, never()), song);
  });
});

Deno.test({
  name: "LocalOrigin is unavailable when its disk is unmounted, and well when it is back",
  ignore: Deno.uid() !== 0,
  fn: async () => {
    await using dir = await tempDir("local");
    const root = `${dir.path}/nas`;
    await Deno.mkdir(root);
    await sh(`mount -t tmpfs musicfs-test '${root}'`);
    await Deno.mkdir(`${root}/album`);
    await Deno.writeFile(`${root}/album/song`, song);
    {
      await using origin = await LocalOrigin.open("nas", root, { log: silentLog });
      const file = await origin.stat("album/song", never());
      await sh(`umount '${root}'`);
      await rejectsWith("unavailable", names(origin));
      await rejectsWith("unavailable", names(origin, "album"));
      await rejectsWith("unavailable", origin.read(file, whole, never()));
      await sh(`mount -t tmpfs musicfs-test '${root}'`);
      await Deno.writeFile(`${root}/song`, song);
      assert.deepEqual(await names(origin), ["song"]);
      await rejectsWith("not_found", origin.read(file, whole, never()));
    }
    await sh(`umount '${root}'`);
  },
});

Deno.test("LocalOrigin leaves a call at once when its signal ends", async () => {
  await withRoot(async (origin, root) => {
    for (let i = 0; i < 500; i += 1) await Deno.writeFile(`${root}/${i}`, song);
    const controller = new AbortController();
    const listing = Array.fromAsync(origin.list("", { signal: controller.signal }));
    const reason = new Error("enough");
    controller.abort(reason);
    await assert.rejects(listing, (error) => error === reason);
    assert.equal((await names(origin)).length, 500);
  });
});

Deno.test("isLocalDisk() tells a disk of this machine from what is not there", async () => {
  await using dir = await tempDir("local");
  assert.equal(await isLocalDisk(dir.path), true);
  assert.equal(await isLocalDisk(`${dir.path}/none`), false);
});
