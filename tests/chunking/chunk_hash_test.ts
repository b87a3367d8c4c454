import fc from "fast-check";
import assert from "node:assert/strict";
import {
  fromHex,
  HASH_BYTES,
  type HashName,
  hex,
  openChunkHash,
  sameHash,
  writeHex,
} from "../../src/chunking/chunk_hash.ts";
import { openXxh64 } from "../../src/chunking/xxh64.ts";
import { MusicfsError } from "../../src/base/errors.ts";
import { goldenRows } from "./golden_files.ts";

interface HashVector extends Record<HashName, string> {
  bytes: number;
}

/** The input of tests/golden/xxhash_vectors.py. */
const input = Uint8Array.from(
  { length: 262_144 },
  (_, i) => Math.floor(i * 2_654_435_761 / 8192) % 256,
);
const hashes = fc.uint8Array({ maxLength: 16 });

for (const name of ["xxh128", "xxh64"] as const) {
  Deno.test(`ChunkHash ${name} gives the reference implementation's digests`, async () => {
    const hash = await openChunkHash(name);
    assert.deepEqual([hash.name, hash.bytes], [name, HASH_BYTES[name]]);
    const rows = goldenRows<HashVector>("xxhash.jsonl");
    assert.equal(rows.length, 30);
    for (const row of rows) {
      const digest = hash.digest(input.subarray(0, row.bytes));
      assert.equal(digest.length, hash.bytes);
      assert.equal(hex(digest), row[name], `${row.bytes} bytes`);
    }
  });

  Deno.test(`ChunkHash ${name} hands out digests that the next call leaves alone`, async () => {
    const hash = await openChunkHash(name);
    const first = hash.digest(input.subarray(0, 10));
    const kept = hex(first);
    const second = hash.digest(input.subarray(0, 11));
    assert.equal(hex(first), kept);
    assert.notEqual(hex(second), kept);
  });

  Deno.test(`ChunkHash ${name} hashes a view in the middle of a buffer`, async () => {
    const hash = await openChunkHash(name);
    const copy = input.slice(5, 70_005);
    assert.deepEqual(hash.digest(input.subarray(5, 70_005)), hash.digest(copy));
  });
}

Deno.test("openXxh64() gives the reference implementation's number", async () => {
  const xxh64 = await openXxh64();
  for (const row of goldenRows<HashVector>("xxhash.jsonl")) {
    assert.equal(xxh64(input.subarray(0, row.bytes)), BigInt(`0x${row.xxh64}`));
  }
});

Deno.test("fromHex() reads what hex() and writeHex() write", () => {
  fc.assert(fc.property(hashes, fc.nat(5), (hash, at) => {
    const text = hex(hash);
    assert.deepEqual([...fromHex(text)], [...hash]);
    const path = new Uint8Array(at + text.length + 1);
    writeHex(hash, path, at);
    assert.equal(new TextDecoder().decode(path), "\0".repeat(at) + text + "\0");
  }));
});

Deno.test("fromHex() refuses what hex() never writes", () => {
  for (const text of ["0", "0g", "AB", " 0", "0x00", "é0"]) {
    assert.throws(
      () => fromHex(text),
      (error) => error instanceof MusicfsError && error.code === "invalid",
      text,
    );
  }
});

Deno.test("sameHash() tells hashes apart by every byte and by length", () => {
  const hash = input.slice(0, 16);
  assert(sameHash(hash, hash.slice()));
  assert(!sameHash(hash, hash.subarray(0, 8)));
  for (let i = 0; i < 16; i += 1) {
    const other = hash.slice();
    other[i] = (other[i] ?? 0) ^ 1;
    assert(!sameHash(hash, other));
  }
});
