import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { type ErrorCode, MusicfsError } from "../../src/base/errors.ts";
import { silentLog } from "../../src/base/log.ts";
import { CdcChunker } from "../../src/chunking/cdc_chunker.ts";
import { openChunkHash } from "../../src/chunking/chunk_hash.ts";
import { cutFile } from "../../src/chunking/cut_file.ts";
import { PublishedIndex } from "../../src/library/published_index.ts";
import {
  buildIndex,
  type IndexBuildOptions,
  type IndexResult,
} from "../../src/mount/index_build.ts";
import type { FolderWriter } from "../../src/origins/folder_writer.ts";
import { walkOrigin } from "../../src/library/scan_origin.ts";
import { LocalOrigin } from "../../src/origins/local.ts";
import { LocalWriter } from "../../src/origins/local_writer.ts";
import type { Origin, OriginEntry } from "../../src/origins/origin.ts";
import { tempDir } from "../support/temp_dir.ts";

const hash = await openChunkHash("xxh128");
const chunker = new CdcChunker();
const MIB = 2 ** 20;

Deno.test("buildIndex() gives every file the chunks that cutFile cuts, and its MD5", async () => {
  await using rig = await indexRig();
  const result = await rig.build();
  const sizes = { files: 5, folders: 4, added: 5, indexed: 5, failed: 0, interrupted: false };
  assert.deepEqual(pick(result, sizes), sizes);
  assert.equal(result.read_bytes >= result.bytes, true);
  const index = await rig.open();
  assert.deepEqual([...index.folders()].map(({ path }) => path), ["", "Ana", "Ana/Salt", "empty"]);
  for (const file of await rig.files()) {
    const bytes = await Deno.readFile(join(rig.root, file.path));
    const readRange = (offset: number, length: number): Promise<Uint8Array> =>
      Promise.resolve(bytes.subarray(offset, offset + length));
    const regions = await cutFile(bytes.length, { readRange, chunker, hash });
    const options = { signal: AbortSignal.timeout(10_000), hash: "xxh128" } as const;
    assert.deepEqual(await index.chunks(file, options), regions, file.path);
    const md5 = createHash("md5").update(bytes).digest("hex");
    assert.equal(index.find(file.path)?.md5?.toHex(), md5);
  }
});

Deno.test("buildIndex() reads again only what was added or modified", async () => {
  await using rig = await indexRig();
  await rig.build();
  const again = await rig.build();
  const nothing = { read_bytes: 0, lists_bytes: 0, added: 0, changed: 0, moved: 0, gone: 0 };
  assert.deepEqual(pick(again, nothing), nothing);
  assert.equal(again.indexed, 5);
  await Deno.writeFile(join(rig.root, "Ana/Salt/1.flac"), bytesOf(MIB + 1, 9));
  await Deno.writeFile(join(rig.root, "new.flac"), bytesOf(1000, 8));
  await Deno.remove(join(rig.root, "Ana/Salt/2.flac"));
  const later = await rig.build();
  const counts = { added: 1, changed: 1, moved: 0, gone: 1, indexed: 5 };
  assert.deepEqual(pick(later, counts), counts);
  // A header may be read twice.
  assert.ok(later.read_bytes >= MIB + 1001 && later.read_bytes < MIB + 100_000);
  await rig.verify();
});

Deno.test("buildIndex() keeps the list of what moved, after a look at its head and tail", async () => {
  await using rig = await indexRig();
  await rig.build();
  await Deno.rename(join(rig.root, "Ana/Salt"), join(rig.root, "Bea"));
  const moved = await rig.build();
  const counts = { added: 0, changed: 0, moved: 3, gone: 0, indexed: 5 };
  assert.deepEqual(pick(moved, counts), counts);
  assert.ok(moved.read_bytes <= 6 * 256 * 1024 && moved.read_bytes < MIB + MIB / 2);
  await rig.verify();
  // Another file of the same size and time is not taken for it.
  const old = join(rig.root, "Bea/1.flac");
  const { mtimeNs } = await rig.stat("Bea/1.flac");
  await Deno.remove(old);
  await Deno.writeFile(join(rig.root, "other.flac"), bytesOf(MIB, 77));
  await setTime(join(rig.root, "other.flac"), mtimeNs);
  const forged = await rig.build();
  assert.equal(forged.moved, 1, "it seems to have moved");
  assert.ok(forged.read_bytes >= MIB, "and is read all the same");
  await rig.verify();
});

Deno.test("buildIndex() leaves out what cannot be read, and says so", async () => {
  await using rig = await indexRig();
  rig.faults.set("Ana/Salt/1.flac", "denied");
  const result = await rig.build();
  const counts = { files: 5, indexed: 4, failed: 1 };
  assert.deepEqual(pick(result, counts), counts);
  assert.equal(result.failures[0]?.path, "Ana/Salt/1.flac");
  const index = await rig.open();
  const file = await rig.stat("Ana/Salt/1.flac");
  assert.equal(index.find(file.path)?.size, file.size, "its name is there");
  const options = { signal: AbortSignal.timeout(10_000), hash: "xxh128" } as const;
  assert.equal(await index.chunks(file, options), undefined);
  rig.faults.clear();
  assert.equal((await rig.build()).indexed, 5);
  await rig.verify();
});

Deno.test("buildIndex() reads a file again that changed under it, and its index is of the new one", async () => {
  await using rig = await indexRig();
  const path = "Ana/Salt/3.flac";
  let writing: Promise<void> | undefined;
  rig.onRead = async (file, offset) => {
    if (file !== path || offset === 0 || writing) return;
    writing = Deno.writeFile(join(rig.root, path), bytesOf(2 * MIB + 1, 50));
    await writing;
  };
  // It waits a second; here until the file is written.
  const clock = { ...systemClock, sleep: () => writing ?? Promise.resolve() };
  const result = await rig.build({ clock });
  assert.equal(result.failed, 0);
  assert.ok(writing);
  await rig.verify();
  await Deno.writeFile(join(rig.root, path), bytesOf(3 * MIB, 60));
  rig.faults.set(path, "changed");
  const restless = await rig.build({ clock });
  assert.deepEqual(pick(restless, { failed: 1, indexed: 4 }), { failed: 1, indexed: 4 });
});

Deno.test("buildIndex() that is interrupted publishes what it has; the next one goes on", async () => {
  await using rig = await indexRig();
  const stop = new AbortController();
  rig.onRead = (path) => {
    if (path === "Ana/Salt/3.flac") stop.abort(new Error("stop"));
    return Promise.resolve();
  };
  const first = await rig.build({ signal: stop.signal });
  assert.equal(first.interrupted, true);
  assert.ok(first.indexed < 5);
  const index = await rig.open();
  assert.equal(index.files, 5, "all names are there");
  rig.onRead = () => Promise.resolve();
  const second = await rig.build();
  assert.deepEqual(pick(second, { indexed: 5, added: 0 }), { indexed: 5, added: 0 });
  assert.ok(second.read_bytes < second.bytes, "what was cut is not read again");
  await rig.verify();
});

Deno.test("buildIndex() that is interrupted while it walks changes nothing", async () => {
  await using rig = await indexRig();
  const reason = new MusicfsError("unavailable", "stop", { op: "test", subject: "" });
  await assert.rejects(rig.build({ signal: AbortSignal.abort(reason) }), { message: "stop" });
  assert.equal(await rig.tryOpen(), undefined);
});

Deno.test("buildIndex() of an empty folder fails, and leaves the index of before", async () => {
  await using rig = await indexRig();
  await rig.build();
  for (const name of ["Ana", "b.flac", "empty.flac"]) {
    await Deno.remove(join(rig.root, name), { recursive: true });
  }
  await assert.rejects(rig.build(), { code: "not_found" });
  assert.equal((await rig.open()).files, 5);
});

Deno.test("buildIndex() whose writing fails at any point leaves an index that can be used", async () => {
  await using rig = await indexRig();
  await rig.build();
  await Deno.writeFile(join(rig.root, "new.flac"), bytesOf(MIB, 8));
  await Deno.remove(join(rig.root, "Ana/Salt/2.flac"));
  let isOver = false;
  for (let call = 1; !isOver; call += 1) {
    let left = call;
    const writer = failing(new LocalWriter(rig.root, { random: Math.random }), () => --left === 0);
    try {
      await rig.build({ writer });
      isOver = left > 0;
    } catch (error) {
      assert.ok(error instanceof MusicfsError && error.code === "full", String(error));
    }
    const index = await rig.open();
    for (const file of await rig.files()) {
      const options = { signal: AbortSignal.timeout(10_000), hash: "xxh128" } as const;
      const regions = await index.chunks(file, options);
      if (regions) await rig.matches(file, regions);
      else assert.equal(file.path, "new.flac");
    }
  }
  await rig.verify();
});

Deno.test("PublishedIndex that is opened while it is replaced is the old or the new one", async () => {
  await using rig = await indexRig();
  await rig.build();
  const done = new AbortController();
  const replacing = (async (): Promise<void> => {
    for (let i = 0; i < 20; i += 1) {
      await Deno.writeFile(join(rig.root, "b.flac"), bytesOf(300_000 + i, i));
      await rig.build();
    }
  })().finally(() => done.abort());
  let opened = 0;
  while (!done.signal.aborted) {
    const index = await rig.open();
    opened += 1;
    const { size = 0, mtimeNs = 0n, list } = index.find("b.flac") ?? {};
    assert.ok(list);
    const file = { path: "b.flac", size, version: `${size}-${mtimeNs}` };
    const options = { signal: AbortSignal.timeout(10_000), hash: "xxh128" } as const;
    const regions = await index.chunks(file, options);
    const expected = await regionsOf(bytesOf(size, size < 300_000 ? 4 : size - 300_000));
    // Its part may be gone by now; then there is no list.
    if (regions) assert.deepEqual(regions, expected);
  }
  await replacing;
  assert.ok(opened > 0);
  await rig.verify();
});

Deno.test("buildIndex() removes the parts that nothing refers to, and writes many parts into one", async () => {
  await using rig = await indexRig();
  await rig.build();
  for (let i = 0; i < 6; i += 1) {
    await Deno.writeFile(join(rig.root, "b.flac"), bytesOf(300_000 + i, i));
    await rig.build();
  }
  const parts = (await rig.lying()).filter((name) => name.startsWith("chunks-"));
  assert.equal(parts.length, 2, "those of the first run and of the last one");
  await Deno.writeTextFile(join(rig.root, ".musicfs/index.0123abcd.tmp"), "left by a crash");
  await Deno.writeTextFile(join(rig.root, ".musicfs/notes.txt"), "somebody's own");
  const old = new Date(Date.now() - 2 * 86_400_000);
  await Deno.utime(join(rig.root, ".musicfs/index.0123abcd.tmp"), old, old);
  await rig.build();
  assert.deepEqual(
    (await rig.lying()).filter((name) => !name.startsWith("chunks-")),
    ["index", "notes.txt"],
  );
});

Deno.test("buildIndex() again and again is what one of a fresh folder would be", async () => {
  for (const seed of [1, 2, 3]) {
    await using rig = await indexRig();
    const random = chanceOf(seed);
    for (let round = 0; round < 6; round += 1) {
      for (let edit = 0; edit < 4; edit += 1) await editOnce(rig, random);
      const result = await rig.build();
      await rig.verify();
      const index = await rig.open();
      const folders = walkOrigin(rig.origin, {
        signal: AbortSignal.timeout(10_000),
        hidden: new Set([".musicfs"]),
      });
      assert.deepEqual([...index.folders()], await Array.fromAsync(folders), `seed ${seed}`);
      assert.equal(result.indexed, result.files);
    }
  }
});

/** Adds, edits, renames, touches or removes a file, or renames a folder. */
async function editOnce(rig: Rig, random: (below: number) => number): Promise<void> {
  const files = await rig.files();
  const file = files[random(files.length)];
  const path = join(rig.root, file?.path ?? "b.flac");
  const other = join(rig.root, ["", "Ana", "empty"][random(3)] ?? "", `${random(6)}.flac`);
  await Deno.mkdir(join(other, ".."), { recursive: true });
  switch (random(6)) {
    case 0:
      return await Deno.writeFile(other, bytesOf(random(400_000), random(5)));
    case 1:
      return await Deno.writeFile(path, bytesOf(1 + random(400_000), random(5)));
    case 2:
      return await Deno.rename(path, other);
    case 3:
      return files.length > 1 ? await Deno.remove(path) : undefined;
    case 4:
      return await Deno.copyFile(path, `${path} ${random(9)}`);
    default: {
      const from = join(rig.root, "Ana");
      await Deno.mkdir(from, { recursive: true });
      await Deno.rename(from, join(rig.root, "Bea"));
      await Deno.rename(join(rig.root, "Bea"), join(rig.root, random(2) === 0 ? "Ana" : "Cleo"))
        .catch(() => Deno.rename(join(rig.root, "Bea"), from));
    }
  }
}

/** Whole numbers below a bound, the same for the same seed. */
function chanceOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor(state / 2 ** 32 * below);
  };
}

/** A folder of music, and what makes and reads its index. */
interface Rig extends AsyncDisposable {
  root: string;
  origin: Origin;
  /** Files whose reads fail. */
  faults: Map<string, ErrorCode>;
  /** Called before each read of a file. */
  onRead: (path: string, offset: number) => Promise<void>;
  build(options?: Partial<IndexBuildOptions>): Promise<IndexResult>;
  open(): Promise<PublishedIndex>;
  tryOpen(): Promise<PublishedIndex | undefined>;
  stat(path: string): Promise<OriginEntry>;
  /** All that is to be indexed. */
  files(): Promise<OriginEntry[]>;
  /** Names in `.musicfs`. */
  lying(): Promise<string[]>;
  /** Holds the index to the folder: each file named, with the chunks that it has. */
  verify(): Promise<void>;
  matches(file: OriginEntry, regions: Awaited<ReturnType<typeof regionsOf>>): Promise<void>;
}

async function indexRig(): Promise<Rig> {
  await using stack = new AsyncDisposableStack();
  const root = stack.use(await tempDir("index")).path;
  await Deno.mkdir(join(root, "Ana/Salt"), { recursive: true });
  await Deno.mkdir(join(root, "empty"));
  for (const [i, size] of [MIB, 1_500_000, 2 * MIB].entries()) {
    await Deno.writeFile(join(root, `Ana/Salt/${i + 1}.flac`), bytesOf(size, i + 1));
  }
  await Deno.writeFile(join(root, "b.flac"), bytesOf(250_000, 4));
  await Deno.writeFile(join(root, "empty.flac"), new Uint8Array(0));
  await Deno.symlink("b.flac", join(root, "link"));
  const origin = stack.use(new LocalOrigin("nas", root, { log: silentLog }));
  const resources = stack.move();
  const signal = new AbortController().signal;
  const watched: Origin = {
    name: "nas",
    list: origin.list.bind(origin),
    stat: origin.stat.bind(origin),
    read: async (file, range, options) => {
      await rig.onRead(file.path, range.offset);
      const code = rig.faults.get(file.path);
      if (code) throw new MusicfsError(code, `It is ${code}`, { op: "test", subject: file.path });
      return await origin.read(file, range, options);
    },
  };
  const rig: Rig = {
    root,
    origin,
    faults: new Map(),
    onRead: () => Promise.resolve(),
    build: (options) =>
      buildIndex({
        origin: watched,
        kind: "local",
        writer: new LocalWriter(root, { random: Math.random }),
        chunker,
        hash,
        exclude: [],
        clock: systemClock,
        log: silentLog,
        signal,
        ...options,
      }),
    tryOpen: () => PublishedIndex.open(origin, { kind: "local", signal, log: silentLog }),
    async open(): Promise<PublishedIndex> {
      const index = await this.tryOpen();
      assert.ok(index, "there is an index");
      return index;
    },
    stat: (path) => origin.stat(path, { signal }),
    async files(): Promise<OriginEntry[]> {
      const folders = walkOrigin(origin, { signal, hidden: new Set([".musicfs"]) });
      const all = (await Array.fromAsync(folders)).flatMap(({ entries }) => entries);
      return all.filter(({ kind }) => kind === "file");
    },
    lying: async () =>
      (await Array.fromAsync(Deno.readDir(join(root, ".musicfs"))))
        .map(({ name }) => name).sort(),
    async verify(): Promise<void> {
      const index = await this.open();
      const files = await this.files();
      assert.equal(index.files, files.length);
      for (const file of files) {
        const regions = await index.chunks(file, { signal, hash: "xxh128" });
        assert.ok(regions, `${file.path} has a list`);
        await this.matches(file, regions);
      }
    },
    async matches(file, regions): Promise<void> {
      assert.deepEqual(regions, await regionsOf(await Deno.readFile(join(root, file.path))));
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
  return rig;
}

async function regionsOf(bytes: Uint8Array): ReturnType<typeof cutFile> {
  const readRange = (offset: number, length: number): Promise<Uint8Array> =>
    Promise.resolve(bytes.subarray(offset, offset + length));
  return await cutFile(bytes.length, { readRange, chunker, hash });
}

/** A writer whose calls fail when `isNow` says so; one call may be told apart by counting. */
function failing(writer: FolderWriter, isNow: () => boolean): FolderWriter {
  const check = (): void => {
    if (isNow()) throw new MusicfsError("full", "No room", { op: "test", subject: "" });
  };
  return {
    makeFolder: (path) => Promise.try(check).then(() => writer.makeFolder(path)),
    write: (path, bytes) => Promise.try(check).then(() => writer.write(path, bytes)),
    remove: (path) => Promise.try(check).then(() => writer.remove(path)),
    [Symbol.asyncDispose]: () => writer[Symbol.asyncDispose](),
  };
}

/** Bytes that look random, the same for the same seed. */
function bytesOf(length: number, seed: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let state = seed * 2_654_435_761 + 1;
  for (let i = 0; i < length; i += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

async function setTime(path: string, mtimeNs: bigint): Promise<void> {
  const seconds = mtimeNs / 1_000_000_000n;
  const time = `@${seconds}.${String(mtimeNs % 1_000_000_000n).padStart(9, "0")}`;
  const { success } = await new Deno.Command("touch", { args: ["-d", time, path] }).output();
  assert.ok(success);
}

function pick<T extends object>(from: T, like: Partial<T>): Partial<T> {
  const names = Object.keys(like) as (keyof T)[];
  return Object.fromEntries(names.map((name) => [name, from[name]])) as Partial<T>;
}
