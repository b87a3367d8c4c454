import { Buffer } from "node:buffer";
import fc from "fast-check";
import assert from "node:assert/strict";
import { PackedEntries, type PackedEntry } from "../../src/library/packed_entries.ts";
import { sizeTimeVersion } from "../../src/origins/size_time_version.ts";

const name = fc.string({ unit: "grapheme", minLength: 1, maxLength: 60 })
  .filter((name) => new TextEncoder().encode(name).length <= 255);
const size = fc.nat(2 ** 31);
const mtimeNs = fc.bigInt({ min: -(2n ** 63n) + 1n, max: 2n ** 63n - 1n });
const entry: fc.Arbitrary<PackedEntry> = fc.oneof(
  fc.record({ name, size, mtimeNs, version: fc.string() }).map((e) => ({
    ...e,
    kind: "file" as const,
    version: e.version.toWellFormed(),
    target: "",
  })),
  fc.record({ name, size, mtimeNs }).map((e) => ({
    ...e,
    kind: "file" as const,
    version: sizeTimeVersion(e.size, e.mtimeNs),
    target: "",
  })),
  fc.record({ name, mtimeNs }).map((e) => ({
    ...e,
    kind: "folder" as const,
    size: 0,
    version: "",
    target: "",
  })),
  fc.record({ name, mtimeNs, target: fc.string({ minLength: 1 }) }).map((e) => ({
    ...e,
    kind: "symlink" as const,
    size: 0,
    version: "",
    target: e.target.toWellFormed(),
  })),
);

Deno.test("PackedEntries gives back what it was given, each name once", () => {
  fc.assert(fc.property(fc.array(entry, { maxLength: 300 }), (entries) => {
    const packed = new PackedEntries();
    const expected = new Map<string, PackedEntry>();
    for (const entry of entries) {
      const isNew = !expected.has(entry.name);
      assert.equal(packed.add(entry), isNew);
      if (isNew) expected.set(entry.name, entry);
    }
    assert.equal(packed.count, expected.size);
    for (const [place, entry] of [...expected.values()].entries()) {
      assert.equal(packed.find(entry.name), place);
      assert.deepEqual(packed.at(place), entry);
    }
    assert.equal(packed.find("x".repeat(300)), -1);
    assert.throws(() => packed.at(packed.count), RangeError);
  }));
});

Deno.test("PackedEntries holds 50,000 names and sorts them byte by byte", () => {
  const packed = new PackedEntries();
  const nameOf = (i: number): string => `${(i * 7919) % 50_000} ü.flac`;
  for (let i = 0; i < 50_000; i += 1) {
    const version = i % 3 === 0 ? "e".repeat(4_096) : "f".repeat(32);
    if (i % 1_000 !== 0 && i % 3 === 0) continue;
    packed.add({ name: nameOf(i), kind: "file", size: i, mtimeNs: 1n, version, target: "" });
  }
  const places = Array.from({ length: packed.count }, (_, place) => place);
  const names = places.toSorted((a, b) => packed.compareNames(a, b))
    .map((place) => packed.at(place).name);
  assert.deepEqual(names, names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
  for (let i = 1; i < 50_000; i += 3) assert.equal(packed.at(packed.find(nameOf(i))).size, i);
});
