import assert from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openIndex } from "../../src/store/safe_open.ts";
import { type Opened, OPENER, writeSample } from "../support/index_opener.ts";
import { run } from "../support/process.ts";
import { tempDir } from "../support/temp_dir.ts";

/** Of the sizes in libraries.md, section 3: its suite has 192 cases. */
const CASES = Number(Deno.env.get("MUSICFS_DAMAGE_CASES") ?? "24");
const SEED = Number(Deno.env.get("MUSICFS_DAMAGE_SEED") ?? "1");
const RECORDS = 2_000;
const PAGE = 4096;

type Bytes = Uint8Array<ArrayBuffer>;
type Damage = (file: Bytes, random: () => number) => Bytes;

/** What must be found, whatever it strikes. */
const WHOLE_FILE: Record<string, Damage> = {
  "a text file": () => new TextEncoder().encode("This is no index.\n".repeat(2_000)),
  "a short text": () => new TextEncoder().encode("x"),
  "zeros": (file) => new Uint8Array(file.length),
  "random bytes": (file, random) => file.map(() => random() * 256),
  "cut to 100 bytes": (file) => file.slice(0, 100),
  "cut to one page": (file) => file.slice(0, PAGE),
  "cut to the meta pages": (file) => file.slice(0, 2 * PAGE),
  "cut in half": (file) => file.slice(0, Math.floor(file.length / 2)),
  "cut by three pages": (file) => file.slice(0, file.length - 3 * PAGE),
  "the first page zeroed": (file) => file.fill(0, 0, PAGE),
  "both meta pages random": (file, random) => randomise(file, { at: 0, length: 2 * PAGE }, random),
};

/** What may strike unused space: found, or without effect. */
const WITHIN: Record<string, Damage> = {
  "a page random": (file, random) =>
    randomise(file, { at: somePage(file, random), length: PAGE }, random),
  "a page zeroed": (file, random) => {
    const at = somePage(file, random);
    return file.fill(0, at, at + PAGE);
  },
  "a page header random": (file, random) =>
    randomise(file, { at: somePage(file, random), length: 16 }, random),
  "a bit flipped": (file, random) => flip(file, { from: 2 * PAGE, bits: 1 }, random),
  "64 bits flipped": (file, random) => flip(file, { from: 2 * PAGE, bits: 64 }, random),
  "a bit of a meta page flipped": (file, random) => {
    const at = Math.floor(random() * 2) * PAGE + 0x18 + Math.floor(random() * 0x88);
    file[at] = (file[at] ?? 0) ^ (1 << Math.floor(random() * 8));
    return file;
  },
  "256 KiB random": (file, random) =>
    randomise(file, { at: somePage(file, random), length: 256 * 1024 }, random),
  "two pages swapped": (file, random) => {
    const [a, b] = [somePage(file, random), somePage(file, random)];
    const kept = file.slice(a, a + PAGE);
    file.copyWithin(a, b, b + PAGE);
    file.set(kept, b);
    return file;
  },
};

function somePage(file: Bytes, random: () => number): number {
  return (2 + Math.floor(random() * (file.length / PAGE - 2))) * PAGE;
}

function randomise(
  file: Bytes,
  { at, length }: { at: number; length: number },
  random: () => number,
): Bytes {
  const end = Math.min(file.length, at + length);
  for (let i = at; i < end; i += 1) file[i] = random() * 256;
  return file;
}

function flip(
  file: Bytes,
  { from, bits }: { from: number; bits: number },
  random: () => number,
): Bytes {
  for (let i = 0; i < bits; i += 1) {
    const at = from + Math.floor(random() * (file.length - from));
    file[at] = (file[at] ?? 0) ^ (1 << Math.floor(random() * 8));
  }
  return file;
}

/** mulberry32: the seed is the bug report. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

async function makeSample(dir: string): Promise<void> {
  const probe = () => Promise.resolve("ok" as const);
  const newEpoch = "a".repeat(32);
  const opened = await openIndex({ dir, clock: systemClock, log: silentLog, probe, newEpoch });
  await using index = opened.index;
  writeSample(index, RECORDS);
}

async function openAll(dirs: readonly string[]): Promise<Opened[]> {
  const [program, ...args] = OPENER;
  const { code, stdout, stderr } = await run(program, [...args, "open", ...dirs]);
  const lines = stdout.trim().split("\n").filter((line) => line !== "");
  assert.equal(code, 0, `ended with ${code} at ${dirs[lines.length]}: ${stderr.slice(-500)}`);
  return lines.map((line) => JSON.parse(line));
}

Deno.test(`openIndex() lives through ${CASES} damaged files, seed ${SEED}, and gives no wrong record`, async () => {
  await using dir = await tempDir("damage");
  const sound = `${dir.path}/sound`;
  await makeSample(sound);
  const kinds = [...Object.entries(WHOLE_FILE), ...repeated(Object.entries(WITHIN), CASES)];
  const dirs: string[] = [sound];
  for (const [number, [name, damage]] of kinds.slice(0, CASES).entries()) {
    const copy = `${dir.path}/${number} ${name}`;
    await Deno.mkdir(copy);
    for await (const { name } of Deno.readDir(sound)) {
      if (name !== "ballast") await Deno.copyFile(`${sound}/${name}`, `${copy}/${name}`);
    }
    const file = await Deno.readFile(`${sound}/data.mdb`);
    await Deno.writeFile(`${copy}/data.mdb`, damage(file, randomFrom(SEED * 1000 + number)));
    dirs.push(copy);
  }

  const half = Math.ceil(dirs.length / 2);
  const parts = await Promise.all([openAll(dirs.slice(0, half)), openAll(dirs.slice(half))]);
  const opened = parts.flat();

  assert.equal(opened.length, dirs.length);
  const all = { right: 3 * RECORDS, wrong: 0 };
  for (const [number, { right, wrong, writable, ...rest }] of opened.entries()) {
    const what = dirs[number];
    assert.equal(writable, true, what);
    assert.deepEqual({ right, wrong }, rest.setAside ? { right: 0, wrong: 0 } : all, what);
    assert.equal(rest.created, rest.setAside, what);
    const wholeFile = number >= 1 && number <= Object.keys(WHOLE_FILE).length;
    if (number === 0) assert.equal(rest.setAside, false, what);
    if (wholeFile) assert.equal(rest.setAside, true, what);
  }
  const found = opened.filter(({ setAside }) => setAside).length;
  assert(found > Object.keys(WHOLE_FILE).length, "damage within the file was never found");
});

function repeated<T>(items: readonly T[], atLeast: number): T[] {
  return Array.from({ length: Math.ceil(atLeast / items.length) }, () => items).flat();
}
