import assert from "node:assert/strict";
import type { FilesAfter } from "../../src/reader/scan_ahead.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { tempDir } from "../support/temp_dir.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { assertSameBytes, KiB, MiB, noise, Rig, type RigOptions } from "./rig.ts";

const SIZE = 3 * MiB;
const HEAD = 64 * KiB;
const TAIL = 128 * KiB;
const bytes = noise(SIZE);

/** Files 1, 2, 3, …, in the same order whatever is asked for. */
const inOrder: FilesAfter = (id, { count }) =>
  Array.from({ length: count }, (_, i) => id + 1 + i).filter((next) => next <= 1_000);

interface Scene extends AsyncDisposable {
  readonly origin: MemoryOrigin;
  readonly rig: Rig;
  readonly versions: FileVersion[];
}

async function setUp(files: number, options: RigOptions = {}): Promise<Scene> {
  const stack = new AsyncDisposableStack();
  const dir = stack.use(await tempDir());
  const origin = new MemoryOrigin("nas");
  const clock = new VirtualClock();
  const rig = stack.use(
    new Rig(dir.path, { origins: [origin], filesAfter: inOrder, clock, ...options }),
  );
  const versions: FileVersion[] = [];
  for (let id = 1; id <= files; id += 1) {
    versions.push(rig.know(id, "nas", origin.put(`${id}.flac`, bytes)));
  }
  return { origin, rig, versions, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/** Opens a file and reads its head and its tail as the kernel would have them read. */
async function scanOne(
  { rig }: Scene,
  version: FileVersion,
  { worker = rig.cachedReader(), tail = TAIL }: {
    worker?: ReturnType<Rig["cachedReader"]>;
    tail?: number;
  } = {},
): Promise<{ misses: number }> {
  let misses = 0;
  rig.reader.opened(version.id);
  await rig.reader.idle();
  for (const [offset, length] of [[0, HEAD], [SIZE - tail, tail]] as const) {
    const into = new Uint8Array(length);
    if (length > 0 && worker.read(version.id, offset, into) < 0) {
      misses += 1;
      into.set(await rig.read(version, offset, length, version.id));
    }
    assertSameBytes(into, bytes.subarray(offset, offset + length));
  }
  rig.reader.release(version.id, version.id);
  return { misses };
}

async function scan(
  scene: Scene,
  versions: readonly FileVersion[],
  options: { tail?: number } = {},
): Promise<number> {
  const worker = scene.rig.cachedReader();
  let misses = 0;
  for (const version of versions) {
    misses += (await scanOne(scene, version, { worker, ...options })).misses;
    scene.rig.reader.noteUses(worker.uses());
  }
  await scene.rig.reader.idle();
  return misses;
}

Deno.test("FileReader.opened() has heads and tails of a scan here before they are read", async () => {
  await using scene = await setUp(60);
  const misses = await scan(scene, scene.versions);
  // Four heads until it is a scan; three tails until that is the habit, the fourth comes with its head.
  assert.equal(misses, 7);
  assert.equal(scene.origin.bytesRead, 60 * (HEAD + TAIL));
});

Deno.test("FileReader.opened() has heads alone here where nobody reads tails", async () => {
  await using scene = await setUp(60);
  assert.equal(await scan(scene, scene.versions, { tail: 0 }), 4);
  assert.equal(scene.origin.bytesRead, 60 * HEAD);
});

Deno.test("FileReader.opened() wastes a few files' heads and tails when a scan stops", async () => {
  await using scene = await setUp(60);
  await scan(scene, scene.versions.slice(0, 30));
  const wasted = scene.origin.bytesRead - 30 * (HEAD + TAIL);
  assert(wasted > 0 && wasted <= 6 * (HEAD + TAIL), `${wasted}`);
});

Deno.test("FileReader.opened() fetches nothing while nobody scans, or of what is here", async () => {
  await using scene = await setUp(40);
  const { rig, origin, versions } = scene;
  for (const { id } of versions) rig.reader.opened(id);
  await rig.reader.idle();
  assert.equal(origin.reads.length, 0);
  await scan(scene, versions);
  origin.reads.length = 0;
  assert.equal(await scan(scene, versions), 0);
  assert.equal(origin.reads.length, 0);
});

Deno.test("FileReader.read() of whole files one after the other is no scan", async () => {
  await using scene = await setUp(8);
  const { rig, origin, versions } = scene;
  for (const version of versions) {
    rig.reader.opened(version.id);
    for (let offset = 0; offset < SIZE; offset += 128 * KiB) {
      await rig.read(version, offset, 128 * KiB, version.id);
      assert(origin.reads.every(({ path }) => parseInt(path) <= version.id));
    }
    rig.reader.release(version.id, version.id);
  }
  await rig.reader.idle();
  assert.equal(origin.bytesRead, 8 * SIZE);
});

Deno.test("FileReader.opened() leaves the link to what is fetched ahead of a player", async () => {
  await using scene = await setUp(60);
  const { rig, origin, versions } = scene;
  await scan(scene, versions.slice(0, 10), { tail: 0 });
  const song = rig.know(2_000, "nas", origin.put("song.flac", noise(40 * MiB)));
  await rig.read(song, 0, 2 * MiB, 2_000);
  await rig.reader.idle();
  origin.hold();
  rig.reader.noteUses(Float64Array.of(2_000, 2 * MiB, 10 * MiB));
  for (const { id } of versions.slice(10, 16)) rig.reader.opened(id);
  origin.reads.length = 0;
  for (let i = 0; i < 1_000; i += 1) await Promise.resolve();
  assert(origin.reads.length > 0);
  assert(origin.reads.every(({ path }) => path === "song.flac"));
  origin.release();
  await rig.reader.idle();
  rig.reader.opened(17);
  await rig.reader.idle();
  assert(origin.reads.some(({ path }) => parseInt(path) > 17));
});

Deno.test("FileReader.opened() costs no reader anything when what comes next cannot be told", async () => {
  const filesAfter = (): never => {
    throw new Error("on purpose");
  };
  await using scene = await setUp(10, { filesAfter });
  assert.equal(await scan(scene, scene.versions, { tail: 0 }), 10);
});

Deno.test("FileReader.opened() goes on beside files that the origin has lost", async () => {
  await using scene = await setUp(40);
  const { rig, origin, versions } = scene;
  for (const id of [12, 13, 20]) origin.remove(`${id}.flac`);
  const left = versions.filter(({ id }) => ![12, 13, 20].includes(id));
  assert.equal(await scan(scene, left, { tail: 0 }), 4);
  await assert.rejects(rig.read(versions[11] ?? assert.fail(), 0, HEAD, 99), { code: "not_found" });
});

Deno.test("FileReader.close() ends what is fetched ahead of a scan", async () => {
  await using scene = await setUp(20);
  const { rig, origin, versions } = scene;
  await scan(scene, versions.slice(0, 6), { tail: 0 });
  origin.hold();
  rig.reader.opened(7);
  rig.reader.opened(8);
  await rig.reader.close();
  const { length } = origin.reads;
  rig.reader.opened(9);
  assert.equal(origin.reads.length, length);
  origin.release();
});
