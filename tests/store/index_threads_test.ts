import assert from "node:assert/strict";
import { openXxh64 } from "../../src/chunking/xxh64.ts";
import { openEnvironment } from "../../src/store/lmdb.ts";
import type { Index } from "../../src/store/index.ts";
import { READER, READER_KEY, type ReaderStart } from "../support/index_reader_worker.ts";
import { tempDir } from "../support/temp_dir.ts";

const hash = await openXxh64();
const VALUE_BYTES = 100_000;

/** A thread that reads and never yields, beside the index that this thread writes. */
class BlockedReader implements AsyncDisposable {
  readonly #worker: Worker;
  readonly #state: Int32Array<SharedArrayBuffer>;
  readonly #done: Promise<unknown>;

  constructor(start: Omit<ReaderStart, "control">) {
    const control = new SharedArrayBuffer(16);
    this.#state = new Int32Array(control);
    const url = new URL("../support/index_reader_worker.ts?worker", import.meta.url);
    this.#worker = new Worker(url, { type: "module" });
    this.#done = new Promise((resolve, reject) => {
      this.#worker.onmessage = resolve;
      this.#worker.onerror = (event) => reject(new Error(event.message));
    });
    this.#worker.postMessage({ ...start, control });
  }

  hold(hold: boolean): void {
    Atomics.store(this.#state, READER.HOLD, Number(hold));
  }

  /** What it reads once it has begun and ended a whole round after this call. */
  async seen(): Promise<number> {
    const enough = Atomics.load(this.#state, READER.ROUNDS) + 2;
    for (;;) {
      const rounds = Atomics.load(this.#state, READER.ROUNDS);
      if (rounds >= enough) return Atomics.load(this.#state, READER.SEEN);
      await Atomics.waitAsync(this.#state, READER.ROUNDS, rounds).value;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    Atomics.store(this.#state, READER.STOP, 1);
    Atomics.notify(this.#state, READER.STOP);
    await this.#done;
    this.#worker.terminate();
  }
}

function put(index: Index, number: number): void {
  const value = new Uint8Array(VALUE_BYTES);
  new DataView(value.buffer).setInt32(0, number);
  index.transaction(() => index.table("names").put(READER_KEY, value));
}

Deno.test("Index.releaseSnapshot() shows a thread that never yields what was committed", async () => {
  await using dir = await tempDir("threads");
  const shared = new SharedArrayBuffer(4);
  const options = { dir: dir.path, shared, hash, writable: true, newEpoch: "0".repeat(32) };
  await using index = openEnvironment(options);
  put(index, 1);
  await using reader = new BlockedReader({ dir: dir.path, shared });
  assert.equal(await reader.seen(), 1);

  put(index, 2);
  assert.equal(await reader.seen(), 2);

  reader.hold(true);
  await reader.seen();
  put(index, 3);
  assert.equal(await reader.seen(), 2);

  reader.hold(false);
  assert.equal(await reader.seen(), 3);
});

Deno.test("Index.releaseSnapshot() lets the pages go that a waiting thread has read", async () => {
  await using dir = await tempDir("threads");
  const shared = new SharedArrayBuffer(4);
  const options = { dir: dir.path, shared, hash, writable: true, newEpoch: "0".repeat(32) };
  await using index = openEnvironment(options);
  put(index, 0);
  await using reader = new BlockedReader({ dir: dir.path, shared });
  await reader.seen();
  for (let number = 1; number <= 100; number += 1) {
    put(index, number);
    if (number % 10 === 0) await reader.seen();
  }
  const released = index.diskBytes();

  reader.hold(true);
  await reader.seen();
  for (let number = 1; number <= 100; number += 1) put(index, number);
  const held = index.diskBytes();

  assert(released < 20 * VALUE_BYTES, `${released} bytes with the snapshot let go`);
  assert(held > 80 * VALUE_BYTES, `${held} bytes with the snapshot held`);
});
