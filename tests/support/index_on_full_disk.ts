/**
 * What the index does on a disk without a free byte, in a process of its own: lmdb-js could end it.
 *
 * Arguments: an empty folder on a small filesystem. Prints "ok", or throws.
 */
import assert from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import { MusicfsError } from "../../src/base/errors.ts";
import { silentLog } from "../../src/base/log.ts";
import { statFilesystem } from "../../src/base/posix.ts";
import { type OpenedIndex, openIndex } from "../../src/store/safe_open.ts";

const [disk = ""] = Deno.args;
const filler = `${disk}/filler`;

function open(dir: string): Promise<OpenedIndex> {
  const probe = () => Promise.resolve("ok" as const);
  const newEpoch = "f".repeat(32);
  return openIndex({ dir, clock: systemClock, log: silentLog, probe, newEpoch });
}

function freeBytes(): number {
  const status = statFilesystem(disk);
  assert(typeof status !== "number");
  return status.freeBytes;
}

/** Writes until not a byte more goes in. */
function fillDisk(): void {
  using file = Deno.openSync(filler, { append: true, create: true });
  for (let size = 1024 * 1024; size >= 1; size = Math.floor(size / 2)) {
    try {
      while (file.writeSync(new Uint8Array(size)) > 0);
    } catch (error) {
      assert.equal(error instanceof Error && Reflect.get(error, "code"), "ENOSPC");
    }
  }
  assert(freeBytes() < 4096, `${freeBytes()} bytes are left`);
}

function isFull(error: unknown): boolean {
  return error instanceof MusicfsError && error.code === "full";
}

function key(number: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array([number >> 8, number & 255]);
}

async function refusesToCreate(): Promise<void> {
  fillDisk();
  await assert.rejects(open(`${disk}/none`), isFull);
  await Deno.remove(filler);
}

async function livesThroughAFullDisk(): Promise<void> {
  const { index, ballast } = await open(`${disk}/index`);
  await using _ = index;
  const table = index.table("names");
  index.transaction(() => {
    for (let i = 0; i < 500; i += 1) table.put(key(i), new Uint8Array(1_000).fill(i));
  });
  assert((await Deno.stat(`${disk}/index/ballast`)).size > 0);
  fillDisk();
  const generation = index.generation();
  assert.throws(() => {
    index.transaction(() => {
      for (let i = 0; i < 900; i += 1) table.put(key(i), new Uint8Array(2_000).fill(7));
    });
  }, isFull);
  assert.equal(index.generation(), generation);
  for (let i = 0; i < 500; i += 1) {
    assert.deepEqual(table.get(key(i)), new Uint8Array(1_000).fill(i));
  }
  await assert.rejects(Deno.stat(`${disk}/index/ballast`), Deno.errors.NotFound);

  index.transaction(() => {
    for (let i = 0; i < 100; i += 1) table.remove(key(i));
  });
  assert.equal(table.count(), 400);
  assert.equal(ballast.restore(), false);
  await Deno.remove(filler);
  for (let i = 0; i < 64; i += 1) {
    index.transaction(() => table.put(key(1), new Uint8Array(2_000)));
  }
  assert((await Deno.stat(`${disk}/index/ballast`)).size > 0);
  assert.equal(table.count(), 401);
}

async function opensOnAFullDisk(): Promise<void> {
  for (const lock of ["there", "missing", "a hole"]) {
    if (lock !== "there") await Deno.remove(`${disk}/index/lock.mdb`);
    if (lock === "a hole") {
      using file = await Deno.create(`${disk}/index/lock.mdb`);
      await file.truncate(8272);
    }
    fillDisk();
    {
      const { index, created } = await open(`${disk}/index`);
      await using _ = index;
      assert.equal(created, false);
      assert.equal(index.table("names").count(), 401);
      const put = () => index.table("names").put(key(3), new Uint8Array(15_000_000));
      assert.throws(() => index.transaction(put), isFull);
      assert.equal(index.table("names").count(), 401);
    }
    await Deno.remove(filler);
    const { index } = await open(`${disk}/index`);
    await index[Symbol.asyncDispose]();
  }
}

/**
 * Changes at random while the disk has a little room, or none: each is done or refused as a whole,
 * and LMDB, which would say so on stderr, never meets a write that fails.
 */
async function changesAtRandom(): Promise<void> {
  await using index = (await open(`${disk}/random`)).index;
  const model = new Map<number, number>();
  const table = index.table("manifests");
  let refusals = 0;
  let state = 1;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return Math.floor(state / 0x10000) % below;
  };
  for (let round = 0; round < 300; round += 1) {
    // What earlier transactions reserved and did not need would do for most.
    const data = `${disk}/random/data.mdb`;
    await Deno.truncate(data, (await Deno.stat(data)).size);
    fillDisk();
    // Room for a part of what a transaction may want.
    await Deno.truncate(filler, Math.max(0, (await Deno.stat(filler)).size - random(800) * 1024));
    const changed = new Map(model);
    try {
      index.transaction(() => {
        for (let i = random(60); i >= 0; i -= 1) {
          const number = random(400);
          const size = random(4) === 0 ? random(20_000) : random(300);
          if (random(3) === 0) changed.delete(number);
          else changed.set(number, size);
          if (changed.has(number)) table.put(key(number), new Uint8Array(size).fill(number));
          else table.remove(key(number));
        }
      });
      model.clear();
      for (const [number, size] of changed) model.set(number, size);
    } catch (error) {
      if (!isFull(error)) throw error;
      refusals += 1;
      await Deno.remove(filler);
    }
    assert.equal(table.count(), model.size);
    for (const [number, size] of model) {
      assert.deepEqual(table.get(key(number)), new Uint8Array(size).fill(number));
    }
  }
  assert(refusals > 10 && refusals < 290, `${refusals} of 300 were refused`);
}

if (import.meta.main) {
  await refusesToCreate();
  await livesThroughAFullDisk();
  await opensOnAFullDisk();
  await changesAtRandom();
  Deno.stdout.writeSync(new TextEncoder().encode("ok\n"));
}
