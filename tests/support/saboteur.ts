import { chunkFiles } from "./damage.ts";
import { output } from "./process.ts";
import { join } from "node:path";

/** Damages files of a live cache behind its daemon's back, at random. */
export class Saboteur {
  /** Files damaged so far. */
  total = 0;

  constructor(readonly cacheDir: string, readonly random: () => number) {}

  /** Damages one chunk or extent, in one of the ways disks and people do. */
  async strike(): Promise<void> {
    const files = this.#below(5) === 0 ? await this.#extents() : await chunkFiles(this.cacheDir);
    const path = files[this.#below(files.length || 1)];
    if (path === undefined) return;
    try {
      await this.#damage(path);
      this.total += 1;
    } catch (error) {
      // The daemon may have evicted it meanwhile.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }

  async #damage(path: string): Promise<void> {
    const { size } = await Deno.stat(path);
    switch (this.#below(5)) {
      case 0:
        return await Deno.remove(path);
      case 1:
        return await Deno.truncate(path, this.#below(size + 1));
      case 2:
        return await Deno.truncate(path, 0);
      case 3:
        return await overwrite(path, this.#below(size + 1), this.#bytes(1));
      default:
        return await overwrite(path, this.#below(size + 1), this.#bytes(1 + this.#below(5000)));
    }
  }

  async #extents(): Promise<string[]> {
    const found = await output("find", [join(this.cacheDir, "extents"), "-type", "f"]);
    return found.split("\n").filter((line) => line !== "").sort();
  }

  #bytes(length: number): Uint8Array<ArrayBuffer> {
    return Uint8Array.from({ length }, () => this.random());
  }

  #below(bound: number): number {
    return (this.random() >>> 0) % bound;
  }
}

async function overwrite(path: string, at: number, bytes: Uint8Array): Promise<void> {
  using file = await Deno.open(path, { write: true });
  await file.seek(at, Deno.SeekMode.Start);
  await file.write(bytes);
}
