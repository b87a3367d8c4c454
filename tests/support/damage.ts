/** Ways to damage a cache from outside, as bad disks and bad luck do. */

import { join } from "node:path";
import { output } from "./process.ts";

/** What can be done to the index; each must end in a rebuilt one. */
export const INDEX_DAMAGE = [
  "its first page zeroed",
  "a page in the middle zeroed",
  "random bytes in the middle",
  "half of it cut off",
  "a text file in its place",
  "nothing left of it",
] as const;

export type IndexDamage = typeof INDEX_DAMAGE[number] | "a newer format";

const PAGE_BYTES = 4096;

/** Every chunk file of a cache, sorted. */
export async function chunkFiles(cacheDir: string): Promise<string[]> {
  const found = await output("find", [join(cacheDir, "chunks"), "-type", "f"]);
  return found.split("\n").filter((line) => line !== "").sort();
}

/** Flips a byte in the middle of every chunk, keeping its size; how many there were. */
export async function damageEveryChunk(cacheDir: string): Promise<number> {
  const files = await chunkFiles(cacheDir);
  for (const path of files) {
    const bytes = await Deno.readFile(path);
    const at = bytes.length >> 1;
    bytes[at] = (bytes[at] ?? 0) ^ 0x40;
    await Deno.writeFile(path, bytes);
  }
  return files.length;
}

/** Damages `index/` of a cache that no daemon uses. */
export async function damageIndex(cacheDir: string, damage: IndexDamage): Promise<void> {
  const path = join(cacheDir, "index", "data.mdb");
  const bytes = await Deno.readFile(path);
  const middle = Math.floor(bytes.length / PAGE_BYTES / 2) * PAGE_BYTES;
  switch (damage) {
    case "its first page zeroed":
      bytes.fill(0, 0, PAGE_BYTES);
      return await Deno.writeFile(path, bytes);
    case "a page in the middle zeroed":
      bytes.fill(0, middle, middle + PAGE_BYTES);
      return await Deno.writeFile(path, bytes);
    case "random bytes in the middle":
      crypto.getRandomValues(bytes.subarray(middle, middle + 8 * PAGE_BYTES));
      return await Deno.writeFile(path, bytes);
    case "half of it cut off":
      return await Deno.truncate(path, middle);
    case "a text file in its place":
      return await Deno.writeTextFile(path, "This is no index.\n".repeat(2000));
    case "nothing left of it":
      return await Deno.remove(join(cacheDir, "index"), { recursive: true });
    case "a newer format":
      return await writeNewerFormat();
  }
}

/** Where the format is noted is the index's own business: filled in with docs/formats.md. */
function writeNewerFormat(): Promise<void> {
  return Promise.reject(new Error("docs/formats.md does not say yet where the format is noted"));
}
