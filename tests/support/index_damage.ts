/** What bad disks, bad luck and people do to `index/data.mdb`: the kinds of libraries.md, section 3. */

import { randomNumbers } from "./churn.ts";

const PAGE = 4096;

type Bytes = Uint8Array<ArrayBuffer>;
/** Damages a copy of the file's bytes; what lies there now. */
export type Damage = (file: Bytes, random: () => number) => Bytes;

/** What must be found, whatever it strikes. */
export const WHOLE_FILE: Record<string, Damage> = {
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

/** So many damages: the whole file's first, then the others by turns; each with its own chance. */
export function indexDamages(
  count: number,
  seed: number,
): { name: string; apply: (file: Bytes) => Bytes }[] {
  const whole = Object.entries(WHOLE_FILE);
  const within = Object.entries(WITHIN);
  const rounds = Math.ceil(count / within.length);
  const kinds = [...whole, ...Array.from({ length: rounds }, () => within).flat()];
  return kinds.slice(0, count).map(([name, damage], number) => ({
    name,
    apply: (file) => damage(file, randomNumbers(seed * 1000 + number)),
  }));
}
