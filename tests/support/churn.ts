/** Random changes below a folder, as a busy owner of a music collection would make them, and worse. */

import { dirname, join } from "node:path";
import { mulberry32 } from "../chunking/golden_inputs.ts";

const BYTES_MAX = 3_000;
const FOLDERS_MAX = 200;

/** Numbers in [0, 1) from a seed. */
export function randomNumbers(seed: number): () => number {
  const next = mulberry32(seed);
  return () => next() / 2 ** 32;
}

/** Makes, writes, moves and removes files and folders below a folder that it alone changes. */
export class Churn {
  readonly #root: string;
  readonly #random: () => number;
  #files: string[] = [];
  #folders: string[] = [""];
  #next = 0;
  /** How often each kind of change was made. */
  readonly counts = new Map<string, number>();

  constructor(root: string, random: () => number) {
    this.#root = root;
    this.#random = random;
  }

  /** A path that is, was or may come to be there. */
  somePath(): string {
    return this.#random() < 0.3 ? this.#newPath("track") : this.#pick(this.#files) ?? "nothing";
  }

  /** Makes one change. */
  step(): void {
    const chance = this.#random();
    const [, name, change] = CHANGES.find(([limit]) => chance < limit) ?? CHANGES[0];
    change.call(this);
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
  }

  make(): void {
    const path = this.#newPath("track");
    Deno.writeFileSync(this.#at(path), this.#bytes(), { createNew: true });
    this.#files.push(path);
  }

  rewrite(): void {
    const path = this.#pick(this.#files);
    if (path !== undefined) Deno.writeFileSync(this.#at(path), this.#bytes());
  }

  /** Other bytes in the same place, as many as before. */
  editInPlace(): void {
    const path = this.#pick(this.#files);
    if (path === undefined) return;
    using file = Deno.openSync(this.#at(path), { write: true });
    const { size } = file.statSync();
    if (size > 0) file.writeSync(this.#bytes(Math.min(size, 10)));
  }

  /** As editors and taggers do: written beside it, and renamed over it. */
  replace(): void {
    const path = this.#pick(this.#files);
    if (path === undefined) return;
    const beside = `${this.#at(path)}.tmp`;
    Deno.writeFileSync(beside, this.#bytes());
    Deno.renameSync(beside, this.#at(path));
  }

  rename(): void {
    const path = this.#takeFile();
    if (path === undefined) return;
    const to = this.#newPath("track");
    Deno.renameSync(this.#at(path), this.#at(to));
    this.#files.push(to);
  }

  renameOver(): void {
    const path = this.#takeFile();
    const to = this.#pick(this.#files);
    if (path === undefined) return;
    if (to === undefined) this.#files.push(path);
    else Deno.renameSync(this.#at(path), this.#at(to));
  }

  remove(): void {
    const path = this.#takeFile();
    if (path !== undefined) Deno.removeSync(this.#at(path));
  }

  makeAgain(): void {
    const path = this.#pick(this.#files);
    if (path === undefined) return;
    Deno.removeSync(this.#at(path));
    Deno.writeFileSync(this.#at(path), this.#bytes());
  }

  fileBecomesFolder(): void {
    const path = this.#takeFile();
    if (path === undefined) return;
    Deno.removeSync(this.#at(path));
    Deno.mkdirSync(this.#at(path));
    this.#folders.push(path);
    Deno.writeFileSync(this.#at(join(path, "inside")), this.#bytes());
    this.#files.push(join(path, "inside"));
  }

  makeFolders(): void {
    if (this.#folders.length > FOLDERS_MAX) return this.removeFolder();
    let path = this.#newPath("folder");
    for (let depth = 0; depth < 1 + this.#random() * 3; depth += 1) {
      Deno.mkdirSync(this.#at(path));
      this.#folders.push(path);
      const file = join(path, `track-${this.#next++}`);
      Deno.writeFileSync(this.#at(file), this.#bytes());
      this.#files.push(file);
      path = join(path, `folder-${this.#next++}`);
    }
  }

  renameFolder(): void {
    const path = this.#pick(this.#folders);
    if (!path) return;
    const to = this.#newPath("folder");
    if (`${to}/`.startsWith(`${path}/`)) return;
    Deno.renameSync(this.#at(path), this.#at(to));
    const moved = (known: string): string =>
      `${known}/`.startsWith(`${path}/`) ? to + known.slice(path.length) : known;
    this.#files = this.#files.map(moved);
    this.#folders = this.#folders.map(moved);
  }

  removeFolder(): void {
    const path = this.#pick(this.#folders);
    if (!path) return;
    Deno.removeSync(this.#at(path), { recursive: true });
    const isElsewhere = (known: string): boolean => !`${known}/`.startsWith(`${path}/`);
    this.#files = this.#files.filter(isElsewhere);
    this.#folders = this.#folders.filter(isElsewhere);
  }

  /** Gone, and there again with something else in it, under the same names. */
  makeFolderAgain(): void {
    const path = this.#pick(this.#folders);
    if (!path) return;
    const inside = this.#files.filter((file) => dirname(file) === path);
    this.#folders = this.#folders.filter((known) => !`${known}/`.startsWith(`${path}/`));
    this.#files = this.#files.filter((known) => !`${known}/`.startsWith(`${path}/`));
    Deno.removeSync(this.#at(path), { recursive: true });
    Deno.mkdirSync(this.#at(path));
    this.#folders.push(path);
    for (const file of inside) {
      Deno.writeFileSync(this.#at(file), this.#bytes());
      this.#files.push(file);
    }
  }

  touch(): void {
    const path = this.#pick(this.#files);
    const time = new Date(1_000_000_000_000 + Math.floor(this.#random() * 1e11));
    if (path !== undefined) Deno.utimeSync(this.#at(path), time, time);
  }

  #at(path: string): string {
    return join(this.#root, path);
  }

  #newPath(prefix: string): string {
    return join(this.#pick(this.#folders) ?? "", `${prefix}-${this.#next++}`);
  }

  #pick<T>(from: readonly T[]): T | undefined {
    return from[Math.floor(this.#random() * from.length)];
  }

  #takeFile(): string | undefined {
    const [path] = this.#files.splice(Math.floor(this.#random() * this.#files.length), 1);
    return path;
  }

  #bytes(count = Math.floor(this.#random() * BYTES_MAX)): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(count);
    const [a, b] = [Math.floor(this.#random() * 256), Math.floor(this.#random() * 256)];
    for (let i = 0; i < count; i += 1) bytes[i] = a + i * b;
    return bytes;
  }
}

/** Changes, each up to its share of all. */
const CHANGES: [[number, string, () => void], ...[number, string, () => void][]] = [
  [0.3, "made", Churn.prototype.make],
  [0.42, "rewritten", Churn.prototype.rewrite],
  [0.5, "edited in place", Churn.prototype.editInPlace],
  [0.6, "replaced", Churn.prototype.replace],
  [0.7, "renamed", Churn.prototype.rename],
  [0.75, "renamed over", Churn.prototype.renameOver],
  [0.86, "removed", Churn.prototype.remove],
  [0.9, "made again", Churn.prototype.makeAgain],
  [0.91, "became a folder", Churn.prototype.fileBecomesFolder],
  [0.94, "folders made", Churn.prototype.makeFolders],
  [0.96, "folder renamed", Churn.prototype.renameFolder],
  [0.97, "folder removed", Churn.prototype.removeFolder],
  [0.98, "folder made again", Churn.prototype.makeFolderAgain],
  [1, "touched", Churn.prototype.touch],
];
