import assert from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { rounds } from "../support/scale.ts";
import { tempDir } from "../support/temp_dir.ts";
import { assertSameBytes, KiB, MiB, noise, Rig } from "./rig.ts";

/** A rig with one file that is whole in chunks. */
async function wholeFile(
  dir: string,
  size: number,
): Promise<{ rig: Rig; bytes: Uint8Array<ArrayBuffer>; origin: MemoryOrigin }> {
  const origin = new MemoryOrigin("nas");
  const rig = new Rig(dir, { origins: [origin] });
  const bytes = noise(size, size);
  const version = rig.know(1, "nas", origin.put("song.flac", bytes));
  await rig.readThrough(version, MiB);
  return { rig, bytes, origin };
}

Deno.test("CachedReader.read() gives what FileReader stored, to the end of the file", async () => {
  await using dir = await tempDir();
  const { rig, bytes } = await wholeFile(dir.path, 2 * MiB + 5);
  await using _ = rig;
  const worker = rig.cachedReader();
  for (const [offset, length] of [[0, 1], [0, MiB], [123_456, 700_001], [2 * MiB, 4096]] as const) {
    const into = new Uint8Array(length);
    const expected = bytes.subarray(offset, offset + length);
    assert.equal(worker.read(1, offset, into), expected.length);
    assertSameBytes(into.subarray(0, expected.length), expected);
  }
  assert.equal(worker.read(1, bytes.length, new Uint8Array(10)), 0);
  assert.equal(worker.read(1, bytes.length + 10, new Uint8Array(10)), 0);
});

Deno.test("CachedReader.read() answers from the extent while the file is not whole", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const bytes = noise(2 * MiB);
  const version = rig.know(1, "nas", origin.put("song.flac", bytes));
  const worker = rig.cachedReader();
  const into = new Uint8Array(64 * KiB);
  assert.equal(worker.read(1, MiB, into), -1);
  await rig.read(version, MiB, 64 * KiB);
  assert.equal(worker.read(1, MiB + 1, into), -1);
  assert.equal(worker.read(1, MiB, into), into.length);
  assertSameBytes(into, bytes.subarray(MiB, MiB + 64 * KiB));
  await rig.readThrough(version);
  const all = new Uint8Array(2 * MiB);
  assert.equal(worker.read(1, 0, all), all.length);
  assertSameBytes(all, bytes);
});

Deno.test("CachedReader.read() gives -1 for versions that nobody knows", async () => {
  await using dir = await tempDir();
  await using rig = new Rig(dir.path);
  assert.equal(rig.cachedReader().read(99, 0, new Uint8Array(10)), -1);
});

Deno.test("CachedReader.read() checks a chunk once, and again when its file changed", async () => {
  await using dir = await tempDir();
  const { rig, bytes } = await wholeFile(dir.path, MiB);
  await using _ = rig;
  // Files that changed a moment ago are not remembered as checked.
  const worker = rig.cachedReader({ ...systemClock, now: () => Date.now() + 1_000 });
  const into = new Uint8Array(MiB);
  assert.equal(worker.read(1, 0, into), MiB);
  const { checked } = worker.stats();
  assert.equal(checked, rig.manifests.listOf(rig.versions.get(1) ?? assert.fail()).count);
  assert.equal(worker.read(1, 0, into), MiB);
  assert.equal(worker.stats().checked, checked);

  const name = rig.manifests.list(1)?.hash(1).toHex() ?? "";
  const path = `${dir.path}/chunks/${name.slice(0, 2)}/${name}`;
  const sound = await Deno.readFile(path);
  const spoilt = sound.slice();
  spoilt[100] = (spoilt[100] ?? 0) ^ 1;
  await Deno.writeFile(path, spoilt);
  assert.equal(worker.read(1, 0, into), -1);
  await Deno.writeFile(path, sound);
  assert.equal(worker.read(1, 0, into), MiB);
  assertSameBytes(into, bytes);
  await Deno.truncate(path, 5);
  assert.equal(worker.read(1, 0, into), -1);
  await Deno.remove(path);
  assert.equal(worker.read(1, 0, into), -1);
});

Deno.test("CachedReader.read() answers from the extent of a file that was whole and evicted", async () => {
  await using dir = await tempDir();
  const { rig, bytes } = await wholeFile(dir.path, MiB);
  await using _ = rig;
  const worker = rig.cachedReader();
  const into = new Uint8Array(64 * KiB);
  assert.equal(worker.read(1, 0, into), into.length);
  await rig.space.evictTo(0);
  assert.equal(rig.manifests.prune(), 1);
  assert.equal(worker.read(1, 512 * KiB, into), -1);
  await rig.read(rig.versions.get(1) ?? assert.fail(), 512 * KiB, into.length);
  assert.equal(worker.read(1, 512 * KiB, into), into.length);
  assertSameBytes(into, bytes.subarray(512 * KiB, 512 * KiB + into.length));
});

Deno.test("CachedReader.read() does not check chunks again when the list has grown", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const version = rig.know(1, "nas", origin.put("song.flac", noise(2 * MiB)));
  await rig.read(version, 0, MiB);
  await rig.reader.idle();
  const { frontier, count } = rig.manifests.listOf(version);
  const worker = rig.cachedReader({ ...systemClock, now: () => Date.now() + 1_000 });
  const into = new Uint8Array(frontier);
  assert.equal(worker.read(1, 0, into), frontier);
  assert.equal(worker.stats().checked, count);
  await rig.readThrough(version);
  assert.equal(rig.manifests.listOf(version).whole, true);
  assert.equal(worker.read(1, 0, into), frontier);
  assert.equal(worker.stats().checked, count);
});

Deno.test("CachedReader.uses() tells which bytes were read, chunks whole, once", async () => {
  await using dir = await tempDir();
  const { rig, origin } = await wholeFile(dir.path, MiB);
  await using _ = rig;
  const list = rig.manifests.list(1);
  assert(list);
  const worker = rig.cachedReader();
  const into = new Uint8Array(100);
  for (const i of [1, 2, 1, 4]) assert.equal(worker.read(1, list.start(i), into), 100);
  const second = rig.know(2, "nas", origin.put("other.flac", noise(MiB)));
  await rig.read(second, 512 * KiB, 32 * KiB);
  assert.equal(worker.read(2, 520 * KiB, into), 100);
  assert.deepEqual([...worker.uses()], [
    ...[1, list.start(1), list.start(3)],
    ...[1, list.start(4), list.start(5)],
    ...[2, 520 * KiB, 520 * KiB + 100],
  ]);
  assert.deepEqual([...worker.uses()], []);
});

/** Damages and mends files for as long as `running` holds 1. */
const SABOTEUR = `
  self.onmessage = ({ data: { paths, running } }) => {
    const sound = paths.map((path) => Deno.readFileSync(path));
    const flag = new Int32Array(running);
    let state = 12345, rounds = 0;
    const below = (n) => (state = (state * 1103515245 + 12345) & 0x7fffffff) % n;
    while (Atomics.load(flag, 0) === 1) {
      const i = below(paths.length), bytes = sound[i], at = below(bytes.length);
      const file = Deno.openSync(paths[i], { write: true });
      file.seekSync(at, 0);
      file.writeSync(new Uint8Array(Math.min(4096, bytes.length - at)).fill(below(256)));
      if (below(4) === 0) file.truncateSync(below(bytes.length));
      file.close();
      if (below(8) !== 0) Deno.writeFileSync(paths[i], bytes);
      else { Deno.removeSync(paths[i]); Deno.writeFileSync(paths[i], bytes); }
      rounds += 1;
    }
    self.postMessage(rounds);
  };
`;

Deno.test("CachedReader.read() gives true bytes or -1 while its files are being overwritten", async () => {
  await using dir = await tempDir();
  const { rig, bytes } = await wholeFile(dir.path, 2 * MiB);
  await using _ = rig;
  const list = rig.manifests.list(1);
  assert(list);
  const paths = Array.from({ length: list.count }, (_, i) => {
    const name = list.hash(i).toHex();
    return `${dir.path}/chunks/${name.slice(0, 2)}/${name}`;
  });
  const running = new SharedArrayBuffer(4);
  const flag = new Int32Array(running);
  Atomics.store(flag, 0, 1);
  const url = URL.createObjectURL(new Blob([SABOTEUR], { type: "text/javascript" }));
  const saboteur = new Worker(url, { type: "module" });
  URL.revokeObjectURL(url);
  const { promise: spoilt, resolve } = Promise.withResolvers<number>();
  saboteur.onmessage = ({ data }) => resolve(data);
  saboteur.postMessage({ paths, running });

  const worker = rig.cachedReader();
  const counts = { right: 0, missed: 0 };
  const into = new Uint8Array(8 * KiB);
  const reads = rounds({ ci: 12_000, long: 100_000 });
  for (let i = 0; i < reads; i += 1) {
    const offset = i * 7919 * 13 % (bytes.length - into.length);
    const n = worker.read(1, offset, into);
    if (n === -1) {
      counts.missed += 1;
    } else {
      counts.right += 1;
      assertSameBytes(into, bytes.subarray(offset, offset + n), `read ${i}`);
    }
    if (i % 1_000 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
  }
  Atomics.store(flag, 0, 0);
  assert(await spoilt > 20);
  saboteur.terminate();
  assert(counts.right > 1_000 && counts.missed > 10, JSON.stringify(counts));
});
