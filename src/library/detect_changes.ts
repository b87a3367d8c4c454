/** What differs between the files that were known and those that a scan finds. Pure. */

import { comparePaths } from "./path_order.ts";
import type { ScannedFile } from "./scan_origin.ts";

/** One difference. `from` is what was known. */
export type FileChange =
  | { kind: "added"; file: ScannedFile }
  | { kind: "modified" | "moved"; file: ScannedFile; from: ScannedFile }
  | { kind: "removed"; from: ScannedFile };

/** How files are compared. */
export interface DetectOptions {
  /**
   * Whether a file still has the content that was known, asked where size, time and version say
   * so; without it those are believed.
   */
  checksum?: ((file: ScannedFile, from: ScannedFile) => Promise<boolean>) | undefined;
  /** Added and removed files that are held to be paired; the oldest go unpaired beyond. */
  unpairedMax?: number;
}

/** Added and removed files that are held at once: some tens of MB. */
const UNPAIRED_MAX = 100_000;

/**
 * Yields what was added, modified, moved and removed. Both sides must come in the order of
 * `comparePaths`, each path once; only what may have moved is kept.
 *
 * A file moved if it is gone in one place and appeared in another with the same size and version,
 * and nothing else among those that are held did. Whether its content is the same as well is for
 * the caller to prove.
 * Additions, removals and moves come at the end.
 */
export async function* detectChanges(
  known: AsyncIterable<ScannedFile> | Iterable<ScannedFile>,
  scanned: AsyncIterable<ScannedFile> | Iterable<ScannedFile>,
  options: DetectOptions = {},
): AsyncGenerator<FileChange> {
  const { checksum, unpairedMax = UNPAIRED_MAX } = options;
  const moves = new Moves();
  const before = inOrder(known);
  const now = inOrder(scanned);
  let from = await next(before);
  let file = await next(now);
  while (from || file) {
    const order = !from ? 1 : !file ? -1 : comparePaths(from.path, file.path);
    if (order === 0 && from && file) {
      const isSame = !isModified(from, file) && (await checksum?.(file, from) ?? true);
      if (!isSame) yield { kind: "modified", file, from };
    } else if (order < 0 && from) moves.gone.push(from);
    else if (file) moves.appeared.push(file);
    if (order <= 0) from = await next(before);
    if (order >= 0) file = await next(now);
    if (moves.count > unpairedMax) yield* moves.takeUnpaired(unpairedMax >> 1);
  }
  yield* moves.take();
}

/** Whether size, time or version differ. */
export function isModified(from: ScannedFile, file: ScannedFile): boolean {
  return from.size !== file.size || from.mtimeNs !== file.mtimeNs || from.version !== file.version;
}

/** What is gone and what appeared, until they are paired. */
class Moves {
  gone: ScannedFile[] = [];
  appeared: ScannedFile[] = [];

  get count(): number {
    return this.gone.length + this.appeared.length;
  }

  /** Gives up the oldest, so that no more than `left` stay. */
  *takeUnpaired(left: number): Iterable<FileChange> {
    const give = this.count - left;
    const gone = Math.min(this.gone.length, Math.ceil(give * this.gone.length / this.count));
    for (const from of this.gone.splice(0, gone)) yield { kind: "removed", from };
    for (const file of this.appeared.splice(0, give - gone)) yield { kind: "added", file };
  }

  *take(): Iterable<FileChange> {
    const gone = Map.groupBy(this.gone, keyOf);
    for (const [key, files] of Map.groupBy(this.appeared, keyOf)) {
      const from = gone.get(key) ?? [];
      const [first] = from;
      const [file] = files;
      if (first && file && from.length === 1 && files.length === 1) {
        yield { kind: "moved", file, from: first };
        gone.delete(key);
      } else for (const file of files) yield { kind: "added", file };
    }
    for (const files of gone.values()) for (const from of files) yield { kind: "removed", from };
  }
}

function keyOf({ size, version }: ScannedFile): string {
  return `${size} ${version}`;
}

async function* inOrder(
  files: AsyncIterable<ScannedFile> | Iterable<ScannedFile>,
): AsyncGenerator<ScannedFile, undefined> {
  let last: string | undefined;
  for await (const file of files) {
    if (last !== undefined && comparePaths(last, file.path) >= 0) {
      throw new RangeError(`"${file.path}" does not come after "${last}"`);
    }
    last = file.path;
    yield file;
  }
}

async function next(
  files: AsyncGenerator<ScannedFile, undefined>,
): Promise<ScannedFile | undefined> {
  const { value } = await files.next();
  return value;
}
