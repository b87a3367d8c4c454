import { Buffer } from "node:buffer";
import fc from "fast-check";
import assert from "node:assert/strict";
import { type FoldedFolder, TreeFold } from "../../src/library/tree_fold.ts";
import type { OriginEntry } from "../../src/origins/origin.ts";

/** "a/" is a folder, all else a file. */
function entryOf(key: string): OriginEntry {
  const isFolder = key.endsWith("/");
  const path = isFolder ? key.slice(0, -1) : key;
  const kind = isFolder ? "folder" : "file";
  return { path, kind, size: 0, mtimeNs: 0n, version: isFolder ? "" : "v", target: "" };
}

/** Each folder with its names, those of folders with a `/`. */
function namesOf(folders: readonly FoldedFolder[]): Record<string, string[]> {
  const names = folders.map(({ path, listing }) => {
    const entries = Array.from({ length: listing.count }, (_, place) => listing.at(place));
    assert.equal(listing.refused, 0);
    return [path, entries.map(({ path, kind }) => kind === "folder" ? `${path}/` : path).sort()];
  });
  assert.equal(new Set(folders.map(({ path }) => path)).size, folders.length);
  return Object.fromEntries(names);
}

function folded(keys: readonly string[], hidden: string[] = []): Record<string, string[]> {
  const fold = new TreeFold(new Set(hidden));
  const complete: FoldedFolder[] = [];
  for (const key of keys) {
    fold.take(entryOf(key));
    complete.push(...fold.complete());
  }
  return namesOf([...complete, ...fold.finish()]);
}

/** The same, with all keys in memory: a folder hides a file of its name. */
function expectedOf(keys: readonly string[]): Record<string, string[]> {
  const folders = new Map<string, Set<string>>([["", new Set()]]);
  for (const key of keys) {
    for (let cut = key.indexOf("/"); cut >= 0; cut = key.indexOf("/", cut + 1)) {
      const path = key.slice(0, cut);
      folders.set(path, folders.get(path) ?? new Set());
      folders.get(parentOf(path))?.add(`${path}/`);
    }
  }
  for (const key of keys) {
    if (!key.endsWith("/") && !folders.has(key)) folders.get(parentOf(key))?.add(key);
  }
  return Object.fromEntries([...folders].map(([path, names]) => [path, [...names].sort()]));
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

const name = fc.constantFrom("a", "b", "a-", "a.", "a0", "ab", "\u{1F3B5}", "\uFF01");
const key = fc.tuple(fc.array(name, { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([names, isFolder]) => names.join("/") + (isFolder ? "/" : ""));
const sortedKeys = fc.uniqueArray(key, { maxLength: 40 })
  .map((keys) => keys.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));

Deno.test("TreeFold makes each folder's listing of keys in order, a folder before a file", () => {
  fc.assert(
    fc.property(sortedKeys, (keys) => assert.deepEqual(folded(keys), expectedOf(keys))),
    { numRuns: 500 },
  );
});

Deno.test("TreeFold gives out a folder as soon as nothing more can come of it", () => {
  const fold = new TreeFold(new Set());
  const steps: [string, string[]][] = [
    ["a/b/1", []],
    ["a/b/2", []],
    ["a/c", ["a/b"]],
    ["b-/x/1", ["a"]],
    ["b", ["b-/x", "b-"]],
  ];
  for (const [key, complete] of steps) {
    fold.take(entryOf(key));
    assert.deepEqual(fold.complete().map(({ path }) => path), complete, key);
  }
  assert.deepEqual(namesOf(fold.finish()), { "": ["a/", "b", "b-/"] });
});

Deno.test("TreeFold leaves hidden folders and refused names out, with all below them", () => {
  const long = "n".repeat(256);
  const fold = new TreeFold(new Set(["@eaDir"]));
  for (const key of ["@eaDir/x/y", "a/@eaDir/y", `a/${long}/y`, "a/z"]) fold.take(entryOf(key));
  const folders = fold.finish();
  assert.deepEqual(folders.map(({ path }) => path), ["a", ""]);
  assert.deepEqual(folders.map(({ listing }) => listing.refused), [1, 0]);
  assert.deepEqual(folders.map(({ listing }) => listing.count), [1, 1]);
});
