import fc from "fast-check";
import { Packr } from "msgpackr";
import assert from "node:assert/strict";
import { HASH_BYTES } from "../../src/chunking/chunk_hash.ts";
import {
  type ChunkManifest,
  decodeManifest,
  encodeManifest,
} from "../../src/chunking/chunk_manifest.ts";
import { CHUNK_BYTES_MAX } from "../../src/chunking/chunk_sizes.ts";
import { type ErrorCode, MusicfsError } from "../../src/base/errors.ts";
import { goldenBytes } from "./golden_files.ts";
import { hashOf, manifests } from "./manifest_arbitraries.ts";

const subject = "ab/abcd";

/** What tests/golden/chunk_manifest_1.hex says. */
const golden: ChunkManifest = {
  format: 1,
  origin: "nas",
  path: "Ä/1 – Intro.flac",
  version: "332372-1700000000123456789",
  size: 332_372,
  mtimeNs: 1_700_000_000_123_456_789n,
  hash: "xxh128",
  regions: [
    { kind: "metadata", chunks: [{ hash: hashOf(1, 16), length: 100 }] },
    {
      kind: "audio",
      chunks: [
        { hash: hashOf(2, 16), length: 70_000 },
        { hash: hashOf(3, 16), length: CHUNK_BYTES_MAX },
      ],
    },
    { kind: "metadata", chunks: [{ hash: hashOf(4, 16), length: 128 }] },
  ],
};

Deno.test("encodeManifest() writes format 1 as it was first written", () => {
  assert.equal(encodeManifest(golden).toHex(), goldenBytes("chunk_manifest_1.hex").toHex());
});

Deno.test("decodeManifest() reads format 1 as it was first written", () => {
  assert.deepEqual(decodeManifest(goldenBytes("chunk_manifest_1.hex"), { subject }), golden);
});

Deno.test("decodeManifest() gives back every manifest, to the nanosecond", () => {
  fc.assert(fc.property(manifests, (manifest) => {
    assert.deepEqual(decodeManifest(encodeManifest(manifest), { subject }), manifest);
  }));
});

Deno.test("decodeManifest() shares no memory with what it read", () => {
  const bytes = encodeManifest(golden);
  const manifest = decodeManifest(bytes, { subject });
  bytes.fill(0);
  assert.deepEqual(manifest, golden);
});

Deno.test("decodeManifest() reads integers of any width", () => {
  // Other encoders write the shortest form that fits.
  const fields = fieldsOf(golden);
  const bytes = pack([...fields.slice(0, 5), golden.size, 17, fields[7]]);
  assert.deepEqual(decodeManifest(bytes, { subject }), { ...golden, mtimeNs: 17n });
});

Deno.test("decodeManifest() throws corrupt wherever a manifest is cut off or goes on", () => {
  const bytes = encodeManifest(golden);
  for (let length = 0; length < bytes.length; length += 1) {
    throwsWith("corrupt", () => decodeManifest(bytes.subarray(0, length), { subject }));
  }
  throwsWith("corrupt", () => decodeManifest(new Uint8Array([...bytes, 0]), { subject }));
});

Deno.test("decodeManifest() gives a valid manifest or a MusicfsError for any bytes", () => {
  const bytes = encodeManifest(golden);
  const place = fc.tuple(fc.nat(bytes.length - 1), fc.nat(255));
  const damaged = fc.array(place, { minLength: 1, maxLength: 4 }).map((places) => {
    const copy = bytes.slice();
    for (const [at, value] of places) copy[at] = value;
    return copy;
  });
  fc.assert(
    fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 64 })), (input) => {
      const manifest = decodedOrUndefined(input);
      // What was let through can be written, and is the same again: nothing in it is unsound.
      if (manifest) {
        assert.deepEqual(decodeManifest(encodeManifest(manifest), { subject }), manifest);
      }
    }),
    { numRuns: 3_000 },
  );
});

Deno.test("decodeManifest() refuses fields of a wrong type, range or number", () => {
  const [format, hash, origin, path, version, size, mtime, regions] = fieldsOf(golden);
  const region = (fields: unknown): unknown[] => [1, "xxh128", "o", "p", "v", 1, 1, fields];
  const digest = hashOf(0, 16);
  const bad: unknown[] = [
    null,
    {},
    [],
    [format],
    [0, hash, origin, path, version, size, mtime, regions],
    ["1", hash, origin, path, version, size, mtime, regions],
    [format, hash, origin, path, version, size, mtime, regions, 1],
    [format, "md5", origin, path, version, size, mtime, regions],
    [format, "xxh64", origin, path, version, size, mtime, regions],
    [format, hash, 1, path, version, size, mtime, regions],
    [format, hash, "", path, version, size, mtime, regions],
    [format, hash, origin, "", version, size, mtime, regions],
    [format, hash, origin, "a\0b", version, size, mtime, regions],
    [format, hash, origin, path, null, size, mtime, regions],
    [format, hash, origin, path, version, 332_371, mtime, regions],
    [format, hash, origin, path, version, 332_372.5, mtime, regions],
    [format, hash, origin, path, version, "332372", mtime, regions],
    [format, hash, origin, path, version, size, 1.5, regions],
    [format, hash, origin, path, version, size, null, regions],
    [format, hash, origin, path, version, size, 2n ** 64n - 1n, regions],
    [format, hash, origin, path, version, size, mtime, null],
    [format, hash, origin, path, version, 0, mtime, [[0, [], new Uint8Array(0)]]],
    region([1]),
    region([[3, [1], digest]]),
    region([["length", [1], digest]]),
    region([[0, [1], "0123456789abcdef"]]),
    region([[0, [1], digest.subarray(1)]]),
    region([[0, [1, 0], new Uint8Array(32)]]),
    region([[0, [2, -1], new Uint8Array(32)]]),
    region([[0, ["1"], digest]]),
    region([[0, { length: 1 }, digest]]),
    [1, "xxh128", "o", "p", "v", CHUNK_BYTES_MAX + 1, 1, [[0, [CHUNK_BYTES_MAX + 1], digest]]],
  ];
  for (const fields of bad) {
    throwsWith(
      "corrupt",
      () => decodeManifest(pack(fields), { subject }),
      JSON.stringify(text(fields)),
    );
  }
});

Deno.test("decodeManifest() says that a newer format needs a newer musicfs", () => {
  const bytes = pack([2, "everything else may differ"]);
  const error = throwsWith("invalid", () => decodeManifest(bytes, { subject }));
  assert.equal(
    error.message,
    "Cannot read the chunk manifest ab/abcd: format 2 is newer than this musicfs; install a newer one",
  );
});

Deno.test("encodeManifest() refuses what decodeManifest() would", () => {
  const [region] = golden.regions;
  assert(region);
  const bad: ChunkManifest[] = [
    { ...golden, size: golden.size + 1 },
    { ...golden, origin: "" },
    { ...golden, path: "lone \ud800 surrogate" },
    { ...golden, mtimeNs: 2n ** 63n },
    { ...golden, hash: "xxh64" },
    { ...golden, size: 0, regions: [{ kind: "whole", chunks: [] }] },
    {
      ...golden,
      regions: [{ kind: "whole", chunks: [{ hash: hashOf(1, 16), length: golden.size }] }],
    },
  ];
  for (const manifest of bad) throwsWith("invalid", () => encodeManifest(manifest));
});

function fieldsOf(
  { format, hash, origin, path, version, size, mtimeNs }: ChunkManifest,
): unknown[] {
  const regions = golden.regions.map(({ kind, chunks }) => [
    ["whole", "metadata", "audio"].indexOf(kind),
    chunks.map((chunk) => chunk.length),
    Uint8Array.from(chunks.flatMap((chunk) => [...chunk.hash])),
  ]);
  assert.equal(HASH_BYTES[hash], 16);
  return [format, hash, origin, path, version, BigInt(size), mtimeNs, regions];
}

function pack(value: unknown): Uint8Array {
  return new Uint8Array(new Packr({ useRecords: false }).pack(value));
}

function decodedOrUndefined(bytes: Uint8Array): ChunkManifest | undefined {
  try {
    return decodeManifest(bytes, { subject });
  } catch (error) {
    if (error instanceof MusicfsError) return undefined;
    throw error;
  }
}

function throwsWith(code: ErrorCode, call: () => unknown, message?: string): MusicfsError {
  try {
    call();
  } catch (error) {
    assert(error instanceof MusicfsError, String(error));
    assert.equal(error.code, code, message);
    return error;
  }
  assert.fail(`nothing was thrown: ${message}`);
}

/** A value with its 64-bit integers as text, for messages. */
function text(value: unknown): unknown {
  if (typeof value === "bigint") return `${value}n`;
  return Array.isArray(value) ? value.map(text) : value;
}
