import assert from "node:assert/strict";
import { dirname } from "node:path";
import type { OriginFile } from "../../src/origins/origin.ts";
import { PartialRead } from "../../src/origins/partial_read.ts";
import type { SftpOrigin } from "../../src/origins/sftp.ts";
import { type Held, testOriginContract } from "../contracts/origin_contract.ts";
import { shell } from "../support/process.ts";
import { failure, names, never, type Rig, sftpRig, song, whole } from "./sftp_rig.ts";

testOriginContract("SftpOrigin", async (held) => {
  const rig = await sftpRig();
  const { dir, root } = rig;
  await Deno.remove(`${root}/song`);
  for (const [path, what] of Object.entries(held)) await write(`${root}/${path}`, what);
  return {
    origin: rig.open(),
    replace: (path, bytes) => replace(rig, path, bytes),
    remove: (path) => Deno.remove(`${dir}/music/${path}`, { recursive: true }),
    [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose](),
  };
});

async function write(path: string, what: Held): Promise<void> {
  await Deno.mkdir(what === "folder" ? path : dirname(path), { recursive: true });
  if (what instanceof Uint8Array) await Deno.writeFile(path, what);
  else if (what !== "folder") await Deno.symlink(what.target, path);
}

async function replace(rig: Rig, path: string, bytes: Uint8Array): Promise<void> {
  await Deno.writeFile(`${rig.dir}/new`, bytes);
  // SFTP tells whole seconds.
  await Deno.utime(`${rig.dir}/new`, 1_700_000_000, 1_700_000_000);
  await Deno.rename(`${rig.dir}/new`, `${rig.root}/${path}`);
}

/** A file whose every byte tells its place, and that is too large for any buffer on the way. */
async function bigFile(rig: Rig, origin: SftpOrigin): Promise<[OriginFile, Uint8Array]> {
  const bytes = new Uint8Array(24 * 1024 * 1024);
  const words = new Uint32Array(bytes.buffer);
  for (let i = 0; i < words.length; i += 1) words[i] = i * 2_654_435_761;
  await Deno.writeFile(`${rig.root}/big`, bytes);
  return [await origin.stat("big", never()), bytes];
}

Deno.test("SftpOrigin.read() puts a long range together from many answers", async () => {
  await using rig = await sftpRig();
  const origin = rig.open();
  const [file, bytes] = await bigFile(rig, origin);
  const ranges = [[0, 4_194_304], [65_535, 131_074], [3_000_001, 5_000_000], [25_165_823, 1]];
  await Promise.all(ranges.map(async ([offset = 0, length = 0]) => {
    let progress = 0;
    const options = { ...never(), onProgress: () => progress += 1 };
    const read = await origin.read(file, { offset, length }, options);
    assert.deepEqual(read, bytes.slice(offset, offset + length));
    assert(progress >= Math.ceil(length / 65_536), `${progress}`);
  }));
});

Deno.test("SftpOrigin.read() keeps what came before the server died, and goes on when it is back", async () => {
  await using rig = await sftpRig();
  const origin = rig.open(rig.sshd.url(rig.root) + "&sessions=1");
  const [file, bytes] = await bigFile(rig, origin);
  const killed = Promise.withResolvers<void>();
  const onProgress = (): void => killed.resolve(rig.sshd.kill());
  const range = { offset: 1_000_000, length: 24_000_000 };
  const error = await failure("unavailable", origin.read(file, range, { ...never(), onProgress }));
  await killed.promise;
  assert(error instanceof PartialRead, error.message);
  const { received } = error;
  assert(received.length > 0 && received.length < range.length);
  assert.deepEqual(received, bytes.slice(1_000_000, 1_000_000 + received.length));
  await failure("unavailable", origin.read(file, range, never()));
  await rig.sshd.start();
  const rest = { offset: 1_000_000 + received.length, length: 100_000 };
  const read = await origin.read(file, rest, never());
  assert.deepEqual(read, bytes.slice(rest.offset, rest.offset + rest.length));
});

Deno.test("SftpOrigin leaves a frozen server at once when the signal says so", async () => {
  await using rig = await sftpRig();
  const origin = rig.open();
  const file = await origin.stat("song", never());
  rig.sshd.freeze();
  const aborting = new AbortController();
  const { signal } = aborting;
  const reason = new Error("enough");
  const calls = [
    origin.read(file, whole, { signal }),
    origin.stat("song", { signal }),
    Array.fromAsync(origin.list("", { signal })),
  ];
  aborting.abort(reason);
  for (const result of await Promise.allSettled(calls)) {
    assert(result.status === "rejected" && result.reason === reason);
  }
  rig.sshd.thaw();
  assert.deepEqual(await origin.read(file, whole, never()), song);
});

Deno.test("SftpOrigin opens another session when calls meet, and never more than it may", async () => {
  await using rig = await sftpRig();
  const origin = rig.open(rig.sshd.url(rig.root) + "&sessions=3");
  for (let i = 0; i < 100; i += 1) {
    await Promise.all(Array.from({ length: 8 }, () => origin.stat("song", never())));
  }
  const sessions = rig.log.filter((line) => line.startsWith("Opened an SFTP session"));
  assert.equal(sessions.length, 3);
});

Deno.test("SftpOrigin.read() shows the old version while it has it open, and the new one", async () => {
  await using rig = await sftpRig();
  const origin = rig.open();
  const old = await origin.stat("song", never());
  assert.deepEqual(await origin.read(old, whole, never()), song);
  await replace(rig, "song", new Uint8Array(9).fill(9));
  assert.deepEqual(await origin.read(old, whole, never()), song);
  const now = await origin.stat("song", never());
  const read = await origin.read(now, { offset: 0, length: 9 }, never());
  assert.deepEqual(read, new Uint8Array(9).fill(9));
  await failure("changed", origin.read(old, whole, never()));
});

Deno.test("SftpOrigin.read() throws changed for a file edited in place, cut, or now a folder", async () => {
  await using rig = await sftpRig();
  const origin = rig.open();
  const file = await origin.stat("song", never());
  assert.deepEqual(await origin.read(file, whole, never()), song);
  await Deno.writeFile(`${rig.root}/song`, new Uint8Array(3));
  await failure("changed", origin.read(file, whole, never()));
  await Deno.remove(`${rig.root}/song`);
  await Deno.mkdir(`${rig.root}/song`);
  await failure("changed", origin.read(file, whole, never()));
});

Deno.test("SftpOrigin.read() throws denied for what the server's user may not read", async () => {
  await using rig = await sftpRig({ withPassword: true });
  const { passwordUser, fingerprint } = rig.sshd;
  const env = { MUSICFS_SFTP_PASSWORD: passwordUser?.password ?? "" };
  const origin = rig.open(rig.url({ fingerprint }, passwordUser?.name), env);
  await shell(`cd '${rig.root}' && chmod 600 song && mkdir locked && chmod 700 locked`);
  const file = await origin.stat("song", never());
  await failure("denied", origin.read(file, whole, never()));
  await failure("denied", names(origin, "locked"));
});

Deno.test("SftpOrigin.list() says of a large folder each name once", async () => {
  await using rig = await sftpRig();
  await shell(`cd '${rig.root}' && mkdir large && cd large && touch $(seq 1 2500)`);
  const listed = await names(rig.open(), "large");
  assert.equal(new Set(listed).size, 2_500);
  assert.equal(listed.length, 2_500);
});

Deno.test("SftpOrigin.list() skips FIFOs and sockets", async () => {
  await using rig = await sftpRig();
  await shell(`mkfifo '${rig.root}/fifo'`);
  const socket = Deno.listen({ transport: "unix", path: `${rig.root}/socket` });
  const origin = rig.open();
  assert.deepEqual(await names(origin), ["song"]);
  await failure("not_found", origin.stat("fifo", never()));
  socket.close();
});

Deno.test("SftpOrigin.list() skips names that are not UTF-8, with one line for a scan", async () => {
  await using rig = await sftpRig();
  // The third is a name of its own, which looks like what ssh2 makes of the first.
  await shell(
    `cd '${rig.root}' && mkdir sub && touch "$(printf 'a\\377')" "$(printf 'sub/b\\376c')" ` +
      `"$(printf 'c\\357\\277\\275')"`,
  );
  const origin = rig.open();
  assert.deepEqual(await names(origin), ["c\uFFFD", "song", "sub"]);
  assert.deepEqual(await names(origin, "sub"), []);
  const lines = (): number => rig.log.filter((line) => line.includes("not UTF-8")).length;
  assert.equal(lines(), 1);
  await names(origin);
  await names(origin, "sub");
  assert.equal(lines(), 2);
});

Deno.test("SftpOrigin.list() shows links inside the root relative to their folder, no others", async () => {
  await using rig = await sftpRig();
  const { root, dir } = rig;
  await Deno.mkdir(`${root}/a/b`, { recursive: true });
  await Deno.mkdir(`${root}/deep/er`, { recursive: true });
  await Deno.writeFile(`${root}/deep/tune`, song);
  await Deno.symlink("deep/er", `${root}/short`);
  await Deno.writeFile(`${dir}/secret`, song);
  await Deno.symlink("music", `${dir}/alias`);
  const links = {
    absolute: `${root}/song`,
    aliased: `${dir}/alias/song`,
    relative: "../../song",
    chain: "relative",
    itself: "itself",
    dangling: "../none",
    dots: "../b/../../a",
    folder: ".",
    root: root,
    meets: "../../short/../tune",
    out: "../../../secret",
    outAbsolute: `${dir}/secret`,
    outDangling: "../../../none",
    throughOut: "outAbsolute",
  };
  for (const [name, target] of Object.entries(links)) {
    await Deno.symlink(target, `${root}/a/b/${name}`);
  }
  const expected = {
    absolute: "../../song",
    aliased: "../../song",
    relative: "../../song",
    chain: "relative",
    itself: "itself",
    dangling: "../none",
    dots: "..",
    folder: ".",
    root: "../..",
    meets: "../../deep/tune",
  };
  for (const folder of [root, `${dir}/alias`]) {
    const origin = rig.open(rig.sshd.url(folder));
    const entries = await Array.fromAsync(origin.list("a/b", never()));
    const targets = Object.fromEntries(entries.map(({ path, target }) => [path.slice(4), target]));
    assert.deepEqual(targets, expected);
    for (const entry of entries) assert.deepEqual(await origin.stat(entry.path, never()), entry);
    await failure("not_found", origin.stat("a/b/out", never()));
  }
});

Deno.test("SftpOrigin never leaves the root, whatever links appear on the way", async () => {
  await using rig = await sftpRig();
  const { root, dir } = rig;
  await Deno.mkdir(`${root}/album`);
  await Deno.mkdir(`${dir}/album`);
  await Deno.writeFile(`${root}/album/song`, song);
  const origin = rig.open();
  const file = await origin.stat("album/song", never());
  await shell(`cp -a '${root}/album/song' '${dir}/album/song'; rm -r '${root}/album'`);
  await Deno.symlink(`${dir}/album`, `${root}/album`);
  await failure("denied", origin.read(file, whole, never()));
  await failure("invalid", names(origin, "album"));
  await failure("invalid", origin.stat("album/song", never()));
  await failure("invalid", origin.stat("../album/song", never()));
  await failure("invalid", origin.stat("/etc/passwd", never()));
});

Deno.test("SftpOrigin follows a root that is a link, also when it is made to lead elsewhere", async () => {
  await using rig = await sftpRig();
  const { dir } = rig;
  await Deno.mkdir(`${dir}/other/sub`, { recursive: true });
  await Deno.writeFile(`${dir}/other/sub/new`, song);
  await Deno.symlink("music", `${dir}/current`);
  const origin = rig.open(rig.sshd.url(`${dir}/current`));
  assert.deepEqual(await names(origin), ["song"]);
  assert.equal((await origin.stat("", never())).kind, "folder");
  await shell(`cd '${dir}' && ln -sfn other current`);
  assert.deepEqual(await names(origin), ["sub"]);
  assert.deepEqual(await names(origin, "sub"), ["sub/new"]);
  const file = await origin.stat("sub/new", never());
  assert.deepEqual(await origin.read(file, whole, never()), song);
});

Deno.test("SftpOrigin is unavailable without its folder: nothing in it counts as gone", async () => {
  await using rig = await sftpRig();
  const origin = rig.open();
  const file = await origin.stat("song", never());
  await Deno.rename(rig.root, `${rig.dir}/unmounted`);
  await failure("unavailable", names(origin));
  await failure("unavailable", names(origin, "album"));
  await failure("unavailable", origin.stat("song", never()));
  await failure("unavailable", origin.stat("", never()));
  await failure("unavailable", origin.read(file, whole, never()));
  await Deno.rename(`${rig.dir}/unmounted`, rig.root);
  assert.deepEqual(await names(origin), ["song"]);
});
