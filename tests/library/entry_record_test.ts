import fc from "fast-check";
import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import type { Entry, EntrySource } from "../../src/library/entry.ts";
import { decodeEntry, decodeName, encodeEntry } from "../../src/library/entry_record.ts";
import { sizeTimeVersion } from "../../src/origins/size_time_version.ts";

function source(more: Partial<EntrySource>): EntrySource {
  return {
    origin: 1,
    kind: "file",
    size: 0,
    mtimeNs: 0n,
    version: "",
    target: "",
    listed: false,
    lastScan: 0,
    ...more,
  };
}

const track: Entry = {
  id: 4711,
  parent: 16,
  name: "01 Ö.flac",
  kind: "file",
  sequence: 3,
  size: 31_234_567,
  mtimeNs: 1_731_234_567_123_456_789n,
  target: "",
  listed: false,
  sources: [
    source({
      origin: 258,
      size: 31_234_567,
      mtimeNs: 1_731_234_567_123_456_789n,
      version: "31234567-1731234567123456789",
    }),
    source({ origin: 2, size: 5, mtimeNs: -1n, version: '"etag"' }),
  ],
};

const folder: Entry = {
  id: 16,
  parent: 1,
  name: "a",
  kind: "folder",
  sequence: 0,
  size: 0,
  mtimeNs: 2n,
  target: "",
  listed: true,
  sources: [source({ kind: "folder", mtimeNs: 1n, listed: true, lastScan: 9 })],
};

const published: Entry = {
  ...folder,
  sources: [source({ kind: "folder", mtimeNs: 1n, listed: true, lastScan: 9, isPublished: true })],
};

const link: Entry = {
  id: 17,
  parent: 16,
  name: "l",
  kind: "symlink",
  sequence: 0,
  size: 0,
  mtimeNs: 3n,
  target: "../x",
  listed: false,
  sources: [source({ kind: "symlink", mtimeNs: 3n, target: "../x" })],
};

/** What is on disk in format 1; a change here is a new format. */
const GOLDEN: readonly [entry: Entry, hex: string][] = [
  [
    track,
    "01080a021000000003000000303120c3962e666c6163" +
    "02010815534594aa94061800000070a0c97d41" +
    "020000ffffffffffffffff00000000000014400600226574616722",
  ],
  [
    folder,
    "01050101010000000000000061000000000000000002000000000000000000010005010000000000000009000000",
  ],
  [
    published,
    "01050101010000000000000061000000000000000002000000000000000000010025010000000000000009000000",
  ],
  [link, "010a010110000000000000006c010002030000000000000004002e2e2f78"],
];

Deno.test("encodeEntry() writes the bytes of format 1", () => {
  for (const [entry, hex] of GOLDEN) {
    assert.equal(encodeEntry(entry).toHex(), hex);
    assert.deepEqual(decodeEntry(entry.id, Uint8Array.fromHex(hex)), entry);
  }
});

Deno.test("encodeEntry() takes less than 100 bytes for a local track", () => {
  const [first] = track.sources;
  assert(first);
  const name = "03 - A Title of Some Length.flac";
  assert(encodeEntry({ ...track, name, sources: [first] }).length < 70);
});

const texts = fc.string({ unit: "grapheme", maxLength: 40 });
const times = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const sizes = fc.maxSafeNat();
const files = fc.record({ origin: fc.nat(65_535), size: sizes, mtimeNs: times, version: texts })
  .chain((some) =>
    fc.constantFrom(
      source(some),
      source({ ...some, version: sizeTimeVersion(some.size, some.mtimeNs) }),
    )
  );
const folders = fc.record({
  origin: fc.nat(65_535),
  kind: fc.constant("folder" as const),
  mtimeNs: times,
  listed: fc.boolean(),
  lastScan: fc.nat(0xffffffff),
}).map(source);
const links = fc.record({
  origin: fc.nat(65_535),
  kind: fc.constant("symlink" as const),
  mtimeNs: times,
  target: texts,
}).map(source);

const entries: fc.Arbitrary<Entry> = fc.record({
  id: fc.nat(0xffffffff),
  parent: fc.nat(0xffffffff),
  name: texts,
  kind: fc.constantFrom("file", "folder", "symlink"),
  sequence: fc.nat(2 ** 20),
  size: sizes,
  mtimeNs: times,
  target: texts,
  listed: fc.boolean(),
  sources: fc.array(fc.oneof(files, folders, links), { maxLength: 4 }),
}, { noNullPrototype: true });

Deno.test("decodeEntry() gives back every entry that encodeEntry() wrote", () => {
  fc.assert(fc.property(entries, (entry) => {
    const record = encodeEntry(entry).slice();
    assert.deepEqual(decodeEntry(entry.id, record), entry);
    assert.deepEqual(decodeName(entry.id, record), { parent: entry.parent, name: entry.name });
  }));
});

Deno.test("decodeEntry() throws corrupt for a record that is cut, or of another format", () => {
  const isCorrupt = (error: unknown): boolean =>
    error instanceof MusicfsError && error.code === "corrupt";
  const record = encodeEntry(track).slice();
  for (let length = 0; length < record.length; length += 1) {
    assert.throws(() => decodeEntry(1, record.slice(0, length)), isCorrupt, String(length));
  }
  record[0] = 2;
  assert.throws(() => decodeEntry(1, record), isCorrupt);
  assert.throws(() => decodeName(1, record), isCorrupt);
});
