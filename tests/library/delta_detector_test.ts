import fc from "fast-check";
import assert from "node:assert/strict";
import {
  DeltaDetector,
  isModified,
  isName,
  type KnownChild,
  Listing,
  nameOf,
} from "../../src/library/delta_detector.ts";
import { encodeEntry } from "../../src/library/entry_record.ts";
import { sourceOf } from "../../src/library/folder_commit.ts";
import type { OriginEntry } from "../../src/origins/origin.ts";
import { sizeTimeVersion } from "../../src/origins/size_time_version.ts";

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

const versioned = fc.record({
  name: fc.constantFrom(..."abcd", "e\u00E9", "\u{1F3B5}"),
  kind: fc.constantFrom("file" as const, "folder" as const, "symlink" as const),
  size: fc.nat(1),
  mtimeNs: fc.bigInt({ min: -1n, max: 1n }),
  version: fc.constantFrom(undefined, "v", "1-1", "\u00E9"),
  shown: fc.constantFrom(0n, 5n),
}).map(({ name, kind, size, mtimeNs, version, shown }) => {
  const isFile = kind === "file";
  const entry: OriginEntry = {
    path: name,
    kind,
    size: isFile ? size : 0,
    mtimeNs,
    version: isFile ? version ?? sizeTimeVersion(size, mtimeNs) : "",
    target: kind === "symlink" ? "x" : "",
  };
  return { entry, shown };
});
const records = fc.uniqueArray(versioned, { selector: ({ entry }) => entry.path });

Deno.test("DeltaDetector.takeUnchanged() takes just what compare() finds nothing in", () => {
  fc.assert(fc.property(records, records, fc.nat(2), (before, after, origin) => {
    const listing = listingOf("", after.map(({ entry }) => entry));
    const [plain, fast] = [new DeltaDetector(listing), new DeltaDetector(listing)];
    let [taken, same] = [0, 0];
    for (const [i, { entry, shown }] of before.entries()) {
      const { path: name, kind, size, mtimeNs, target } = entry;
      const source = sourceOf(1, entry, undefined);
      const child = { id: 100 + i, name, source, hidden: false };
      const record = encodeEntry({
        ...{ id: child.id, parent: 1, name, kind, sequence: 1, listed: false, sources: [source] },
        ...{ size, mtimeNs: mtimeNs + shown, target },
      });
      const now = after.find(({ entry }) => entry.path === name)?.entry;
      const isSame = now?.kind === kind && kind !== "symlink" && !isModified(source, now);
      if (isSame && shown === 0n && origin === 1) same += 1;
      plain.compare(child);
      if (fast.takeUnchanged(child.id, record, origin)) taken += 1;
      else fast.compare(child);
    }
    assert.equal(taken, same);
    assert.deepEqual(fast.finish(), plain.finish());
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
