/** Ways to damage a cache from outside, as bad disks and bad luck do. */

import { join } from "node:path";
import { openXxh64 } from "../../src/chunking/xxh64.ts";
import { openEnvironment } from "../../src/store/lmdb.ts";
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
      return await writeNewerFormat(cacheDir);
  }
}

/** Notes a format far beyond this program's, as a later musicfs would, with notes of its own. */
async function writeNewerFormat(cacheDir: string): Promise<void> {
  await Deno.remove(join(cacheDir, "index", "last_life.json"));
  await using index = openEnvironment({
    dir: join(cacheDir, "index"),
    shared: new SharedArrayBuffer(4),
    hash: await openXxh64(),
    writable: true,
  });
  const format = new Uint8Array(4);
  new DataView(format.buffer).setUint32(0, 1_000_000);
  index.transaction(() => index.table("meta").put(new TextEncoder().encode("format"), format));
}
