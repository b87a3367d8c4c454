import assert from "node:assert/strict";
import { cProgram } from "../support/c_program.ts";
import { tempDir } from "../support/temp_dir.ts";
import { knownBytes, knownSize, VERSIONS_MAX, versionsOf, writeKnown } from "./known_bytes.ts";
import { KnownReaders } from "./known_readers.ts";

const PATH = "Ana Vidal/Bron — live/01 Första.flac";

Deno.test("versionsOf() knows every version by its whole, and only that one", () => {
  for (const version of [1, 2, 3, 5, 8, VERSIONS_MAX]) {
    const bytes = knownBytes(PATH, version);
    assert.equal(bytes.length, knownSize(PATH, version));
    assert.deepEqual(versionsOf(PATH, 0, bytes), [version]);
  }
});

Deno.test("versionsOf() sees a mix of versions, another place, and another path", () => {
  const [before, after] = [knownBytes(PATH, 3), knownBytes(PATH, 4)];
  const at = [...before.keys()].find((i) => before[i] !== after[i]) ?? -1;
  const end = before.findLastIndex((byte, i) => byte !== after[i]);
  const mixed = new Uint8Array([...after.subarray(0, at + 8), ...before.subarray(at + 8, end + 1)]);
  assert.deepEqual(versionsOf(PATH, 0, mixed), []);
  assert.deepEqual(versionsOf(PATH, 4096, before.subarray(0, 4096)), []);
  assert.deepEqual(versionsOf("Ana Vidal/02.flac", 0, before.subarray(0, 4096)), []);
  assert.deepEqual(versionsOf(PATH, 0, before.slice(0, 9000).with(8000, 1)), []);
});

Deno.test("a version has blocks in common with the one before, and others of its own", () => {
  const [before, after] = [knownBytes(PATH, 3), knownBytes(PATH, 4)];
  let same = 0;
  for (const [i, byte] of before.entries()) if (byte === after[i]) same += 1;
  assert(same > before.length / 2 && same < before.length * 0.9, `${same} of ${before.length}`);
});

Deno.test("known_reads finds all in order on a plain folder, and a wrong byte, and a mix", async () => {
  await cProgram("known_reads");
  await using dir = await tempDir("known");
  const root = `${dir.path}/music`;
  const paths = [PATH, "Ana Vidal/02.flac", "03.flac"];
  for (const path of paths) await writeKnown(root, path, 4);
  const sound = await read(root, paths);
  assert.deepEqual([sound.total.wrong, sound.total.reads], [0, 3_000], sound.lines.join("\n"));
  assert(sound.total.bytes > 10_000_000);

  const bytes = knownBytes("03.flac", 4);
  await Deno.writeFile(`${root}/03.flac`, bytes.with(150_000, (bytes[150_000] ?? 0) ^ 4));
  const damaged = await read(root, paths);
  assert(damaged.total.wrong > 0);
  assert(damaged.lines.some((line) => /03\.flac.*the first at 150000/.test(line)));

  const other = knownBytes("03.flac", 9); // Of the same size; some blocks differ.
  assert.equal(other.length, bytes.length);
  const half = bytes.length >> 1;
  await Deno.writeFile(
    `${root}/03.flac`,
    new Uint8Array([...bytes.subarray(0, half), ...other.subarray(half)]),
  );
  assert((await read(root, paths)).total.wrong > 0);
});

async function read(mount: string, paths: readonly string[]): Promise<KnownReaders> {
  const readers = await KnownReaders.start({
    mount,
    paths,
    processes: 2,
    reads: 1_500,
    seed: 7,
    limitMs: 60_000,
  });
  await readers.done;
  return readers;
}
