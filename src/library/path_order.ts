/** The order in which scans and published indexes go through a tree. */

/** The order of names' UTF-8 bytes, which surrogates make another than JavaScript's. */
export function compareNames(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i += 1) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/**
 * The order of files in a walk: all files of a folder by name, then its folders by name, each with
 * all that is in it. Negative if the file at path `a` comes before the one at `b`.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { comparePaths } from "./path_order.ts";
 *
 * const paths = ["a/b/1.flac", "a/a.flac", "b.flac", "a/z.flac"];
 * assert.deepEqual(paths.sort(comparePaths), ["b.flac", "a/a.flac", "a/z.flac", "a/b/1.flac"]);
 * ```
 */
export function comparePaths(a: string, b: string): number {
  if (a === b) return 0;
  let start = 0;
  for (;;) {
    const [endA, endB] = [a.indexOf("/", start), b.indexOf("/", start)];
    if ((endA < 0) !== (endB < 0)) return endA < 0 ? -1 : 1;
    const nameA = a.slice(start, endA < 0 ? undefined : endA);
    const nameB = b.slice(start, endB < 0 ? undefined : endB);
    const order = compareNames(nameA, nameB);
    if (order !== 0 || endA < 0) return order;
    start = endA + 1;
  }
}

/** UTF-16 units in the order of the code points they begin: surrogates stand behind all others. */
function rank(unit: number): number {
  return (unit & 0xf800) === 0xd800 ? unit + 0x10000 : unit;
}
