import assert from "node:assert/strict";
import { type ErrorCode, MusicfsError } from "../../src/base/errors.ts";
import { type ChunkHash, openChunkHash } from "../../src/chunking/chunk_hash.ts";
import { CHUNK_BYTES_MAX } from "../../src/chunking/chunk_sizes.ts";
import type { CasStore } from "../../src/store/cas_store.ts";

/** An empty store, a way to do it harm, and a way to close it. */
export interface CasStoreFixture extends AsyncDisposable {
  store: CasStore;
  /** Puts `bytes` where the chunk `hash` lies, behind the store's back. */
  damage(hash: Uint8Array, bytes: Uint8Array<ArrayBuffer>): void;
}

/** Registers the tests that every store must pass. */
export function testCasStoreContract(
  kind: string,
  open: (hash: ChunkHash) => Promise<CasStoreFixture>,
): void {
  const song = (length: number, seed = 0): Uint8Array<ArrayBuffer> =>
    Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8) + seed) & 0xff);

  function throwsWith(code: ErrorCode, call: () => unknown): void {
    assert.throws(call, (error) => error instanceof MusicfsError && error.code === code);
  }

  function test(
    name: string,
    body: (fixture: CasStoreFixture, hash: ChunkHash) => void,
  ): void {
    Deno.test(`${kind}${name}`, async () => {
      const hash = await openChunkHash("xxh128");
      await using fixture = await open(hash);
      body(fixture, hash);
    });
  }

  test(".get() returns what put() stored, for every length", ({ store }, hash) => {
    for (const length of [1, 4095, 4096, 65_536, CHUNK_BYTES_MAX]) {
      const bytes = song(length);
      assert.equal(store.put(hash.digest(bytes), bytes), "stored");
      assert.deepEqual(store.get(hash.digest(bytes), length), bytes);
    }
    assert.equal(store.stats().chunks, 5);
  });

  test(".get() gives bytes that are the caller's own", ({ store }, hash) => {
    const bytes = song(100);
    const name = hash.digest(bytes);
    store.put(name, bytes);
    store.get(name, 100).fill(0);
    bytes.fill(0);
    assert.deepEqual(store.get(name, 100), song(100));
  });

  test(".get() throws not_found for what was never stored", ({ store }, hash) => {
    throwsWith("not_found", () => store.get(hash.digest(song(9)), 9));
    assert.equal(store.has(hash.digest(song(9)), 9), false);
  });

  test(".put() takes the same bytes for a duplicate and keeps one", ({ store }, hash) => {
    const name = hash.digest(song(5000));
    assert.equal(store.put(name, song(5000)), "stored");
    assert.equal(store.put(name, song(5000)), "duplicate");
    assert.equal(store.stats().chunks, 1);
    assert.equal(store.stats().chunkBytes, 5000);
  });

  const damages: Record<string, (bytes: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>> = {
    "truncated by a byte": (bytes) => bytes.slice(0, -1),
    "empty": () => new Uint8Array(0),
    "longer by a byte": (bytes) => new Uint8Array([...bytes, 0]),
    "different in its first byte": (bytes) => bytes.with(0, 1),
    "different in its last byte": (bytes) => bytes.with(-1, 1),
    "all zeros": (bytes) => new Uint8Array(bytes.length),
  };
  for (const [harm, apply] of Object.entries(damages)) {
    test(`.put() replaces a file that is ${harm}`, ({ store, damage }, hash) => {
      const name = hash.digest(song(70_000));
      store.put(name, song(70_000));
      damage(name, apply(song(70_000)));

      assert.equal(store.put(name, song(70_000)), "stored");

      assert.deepEqual(store.get(name, 70_000), song(70_000));
      assert.equal(store.stats().chunks, 1);
      assert.equal(store.stats().chunkBytes, 70_000);
    });

    if (harm === "longer by a byte") continue; // Its first bytes are right, and checked.
    test(`.get() deletes a file that is ${harm} and throws corrupt`, ({ store, damage }, hash) => {
      const name = hash.digest(song(70_000));
      store.put(name, song(70_000));
      damage(name, apply(song(70_000)));

      throwsWith("corrupt", () => store.get(name, 70_000));

      throwsWith("not_found", () => store.get(name, 70_000));
      assert.equal(store.stats().chunks, 0);
    });
  }

  test(".has() goes by the length", ({ store, damage }, hash) => {
    const name = hash.digest(song(300));
    store.put(name, song(300));
    assert.equal(store.has(name, 300), true);
    assert.equal(store.has(name, 299), false);
    damage(name, song(10));
    assert.equal(store.has(name, 300), false);
  });

  test(".delete() removes a chunk and says whether there was one", ({ store }, hash) => {
    const name = hash.digest(song(300));
    store.put(name, song(300));
    assert.equal(store.delete(name), true);
    assert.equal(store.delete(name), false);
    assert.equal(store.has(name, 300), false);
    assert.equal(store.stats().chunkBytes, 0);
  });

  test(".put() refuses lengths and names that cannot be", ({ store }, hash) => {
    const name = hash.digest(song(1));
    throwsWith("invalid", () => store.put(name, new Uint8Array(0)));
    throwsWith("invalid", () => store.put(name, new Uint8Array(CHUNK_BYTES_MAX + 1)));
    throwsWith("invalid", () => store.put(name.subarray(1), song(1)));
  });
}
