import fc from "fast-check";
import assert from "node:assert/strict";
import {
  DeltaDetector,
  isName,
  type KnownChild,
  Listing,
  nameOf,
} from "../../src/library/delta_detector.ts";
import { sourceOf } from "../../src/library/folder_commit.ts";
import type { OriginEntry } from "../../src/origins/origin.ts";

function file(path: string, more: Partial<OriginEntry> = {}): OriginEntry {
  return { path, kind: "file", size: 1, mtimeNs: 1n, version: "v", target: "", ...more };
}

function listingOf(
  folder: string,
  entries: readonly OriginEntry[],
  hidden: string[] = [],
): Listing {
  const listing = new Listing(folder, new Set(hidden));
  for (const entry of entries) listing.add(entry);
  return listing;
}

function namesOf(listing: Listing): string[] {
  return Array.from({ length: listing.count }, (_, place) => nameOf(listing.at(place).path));
}

function known(entries: readonly OriginEntry[]): KnownChild[] {
  return entries.map((entry, i) => ({
    id: 100 + i,
    name: entry.path,
    source: sourceOf(1, entry, undefined),
    hidden: false,
  }));
}

/** A delta with the entries at the places that it names. */
interface Detected {
  added: OriginEntry[];
  modified: OriginEntry[];
  replaced: { id: number; entry: OriginEntry }[];
  missing: number[];
  folders: number[];
}

function detect(before: readonly OriginEntry[], after: readonly OriginEntry[]): Detected {
  const listing = listingOf("", after);
  const detector = new DeltaDetector(listing);
  for (const child of known(before)) detector.compare(child);
  const { added, modified, replaced, missing, folders } = detector.finish();
  const at = listing.at.bind(listing);
  return {
    added: Array.from(added, at),
    modified: modified.map(at),
    replaced: replaced.map(({ id, place }) => ({ id, entry: at(place) })),
    missing,
    folders,
  };
}

const nothing: Detected = { added: [], modified: [], replaced: [], missing: [], folders: [] };

Deno.test("DeltaDetector sees size, time in ns, version and target, each by itself", () => {
  assert.deepEqual(detect([file("a")], [file("a")]), nothing);
  for (const change of [{ size: 2 }, { mtimeNs: 2n }, { version: "w" }]) {
    const entry = file("a", change);
    assert.deepEqual(detect([file("a")], [entry]), { ...nothing, modified: [entry] });
  }
  const link: OriginEntry = { ...file("l"), kind: "symlink", size: 0, version: "", target: "x" };
  const entry = { ...link, target: "y" };
  assert.deepEqual(detect([link], [entry]), { ...nothing, modified: [entry] });
});

Deno.test("DeltaDetector tells another kind from another version", () => {
  const entry: OriginEntry = { ...file("a"), kind: "folder", size: 0, version: "" };
  assert.deepEqual(detect([file("a")], [entry]), { ...nothing, replaced: [{ id: 100, entry }] });
});

const entryOf = fc.record({
  name: fc.constantFrom(..."abcdefgh"),
  kind: fc.constantFrom("file" as const, "folder" as const),
  size: fc.nat(1),
}).map(({ name, kind, size }): OriginEntry =>
  kind === "file"
    ? file(name, { size })
    : { path: name, kind, size: 0, mtimeNs: 1n, version: "", target: "" }
);
const folder = fc.uniqueArray(entryOf, { selector: (entry) => entry.path });

Deno.test("DeltaDetector's delta turns what was known into what was listed, for any two", () => {
  fc.assert(fc.property(folder, folder, (before, after) => {
    const delta = detect(before, after);
    const now = new Map(before.map((entry, i) => [100 + i, entry]));
    for (const id of delta.missing) assert(now.delete(id));
    const idOf = new Map(before.map((entry, i) => [entry.path, 100 + i]));
    const modified = delta.modified.map((entry) => ({ id: idOf.get(entry.path) ?? 0, entry }));
    for (const { id, entry } of [...modified, ...delta.replaced]) {
      const old = now.get(id);
      assert.notDeepEqual(old, entry);
      assert.equal(old?.path, entry.path);
      now.set(id, entry);
    }
    const all = [...now.values(), ...delta.added];
    const byPath = (a: OriginEntry, b: OriginEntry): number => a.path < b.path ? -1 : 1;
    assert.deepEqual(all.toSorted(byPath), after.toSorted(byPath));
    const kept = delta.folders.map((id) => now.get(id)?.kind);
    assert(kept.every((kind) => kind === "folder"));
    assert.deepEqual(delta.added, delta.added.toSorted(byPath));
  }));
});

Deno.test("Listing refuses hostile and repeated names, and says how many", () => {
  const hostile = [
    "..",
    ".",
    "",
    "a/b",
    "a\0b",
    "\uD800",
    "é".repeat(128),
    "x".repeat(256),
    "../up",
    "/etc",
  ];
  const listing = listingOf("f", [
    ...hostile.map((name) => file(`f/${name}`)),
    file("other/x"),
    file("f"),
    file("f/ok"),
    file("f/ok", { size: 7 }),
    file("f/" + "x".repeat(255)),
  ]);
  assert.deepEqual(namesOf(listing), ["ok", "x".repeat(255)]);
  assert.equal(listing.at(listing.find("ok")).size, 1);
  assert.equal(listing.refused, hostile.length + 3);
  assert.equal(listing.firstRefused, "f/..");
});

Deno.test("Listing refuses sizes, times and texts that no record could hold", () => {
  const listing = listingOf("", [
    file("a", { size: -1 }),
    file("b", { size: 2 ** 53 }),
    file("c", { size: 1.5 }),
    file("d", { mtimeNs: 2n ** 63n }),
    file("e", { version: "v".repeat(5_000) }),
    { ...file("f"), kind: "symlink", size: 0, version: "", target: "/etc/passwd" },
    { ...file("g"), kind: "symlink", size: 0, version: "", target: "" },
  ]);
  assert.equal(listing.count, 0);
  assert.equal(listing.refused, 7);
});

Deno.test("Listing leaves hidden names out without a word", () => {
  const listing = listingOf("f", [file("f/@eaDir"), file("f/x")], ["@eaDir"]);
  assert.deepEqual(namesOf(listing), ["x"]);
  assert.equal(listing.refused, 0);
});

Deno.test("isName() takes every name of 1 to 255 bytes but . and ..", () => {
  const names = fc.string({ unit: "grapheme", maxLength: 100 });
  fc.assert(fc.property(names, (name) => {
    const length = new TextEncoder().encode(name).length;
    const expected = length >= 1 && length <= 255 && !/[/\0]/.test(name) && !/^\.\.?$/.test(name);
    assert.equal(isName(name), expected);
  }));
});
