/** Rows C1 to C3: whatever the store of chunks does, readers get the right bytes. */

import assert from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { CacheDisk } from "../../src/store/passthrough.ts";
import { openChunkHash } from "../../src/chunking/chunk_hash.ts";
import { forEachFault } from "../support/faults.ts";
import { type CasFaultMode, FaultyCasStore } from "../support/faulty_cas_store.ts";
import { MemoryCasStore } from "../support/memory_cas_store.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { tempDir } from "../support/temp_dir.ts";
import { assertSameBytes, KiB, MiB, noise, Rig } from "./rig.ts";

const bytes = noise(MiB + 777);

interface FaultyRig extends AsyncDisposable {
  rig: Rig;
  store: FaultyCasStore;
  /** Reads all of one track, and checks it. */
  play(): Promise<void>;
}

async function open(plan?: ConstructorParameters<typeof FaultyCasStore>[1]): Promise<FaultyRig> {
  await using stack = new AsyncDisposableStack();
  const dir = stack.use(await tempDir());
  const origin = new MemoryOrigin("nas");
  const made: FaultyCasStore[] = [];
  const rig = stack.use(
    new Rig(dir.path, {
      origins: [origin],
      wrapStore: (inner, disk) =>
        made[made.push(new FaultyCasStore(inner, { disk, ...plan })) - 1] ?? inner,
    }),
  );
  const version = rig.know(1, "nas", origin.put("a/song.flac", bytes));
  const [store] = made;
  assert(store);
  const all = stack.move();
  return {
    rig,
    store,
    play: async () => assertSameBytes(await rig.readThrough(version), bytes),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

Deno.test("FileReader.read() gives the right bytes whichever call of the store fails, once or for good", async () => {
  for (const code of ["full", "corrupt"] as const) {
    const points = await forEachFault(async (plan) => {
      await using faulty = await open({ plan });
      await faulty.play();
      await faulty.play();
    }, { code, limit: 5 });
    assert(points === 10, `${code}: ${points} calls failed`);
  }
});

const WRITES: Readonly<Record<string, CasFaultMode>> = {
  "ENOSPC": { kind: "full" },
  "EIO": { kind: "eio", on: "put" },
  "ENOSPC after five chunks": { kind: "after", calls: 10, then: { kind: "full" } },
};

for (const [what, mode] of Object.entries(WRITES)) {
  Deno.test(`FileReader.read() goes on while the store's writes end with ${what}, which degrades the disk`, async () => {
    await using faulty = await open();
    faulty.store.mode = mode;
    await faulty.play();
    assert.equal(faulty.rig.disk.state, "degraded");
    await faulty.play();
    assert(faulty.store.calls.put > 0);

    faulty.store.mode = { kind: "healthy" };
    faulty.rig.disk.probeSoon();
    assert.equal(faulty.rig.disk.probe(), true);
    await faulty.play();
    const version = faulty.rig.versions.get(1);
    assert(version);
    // As when the worker reports that it was read on.
    faulty.rig.ingest.kick(version);
    await faulty.rig.reader.idle();
    assert.equal(faulty.rig.disk.state, "writable");
    assert.equal(faulty.rig.manifests.list(1)?.frontier, bytes.length, "all is kept in the end");
  });
}

for (const mode of [{ kind: "eio", on: "get" }, { kind: "corrupt" }] as const) {
  Deno.test(`FileReader.read() fetches chunks again whose reads end in ${mode.kind}`, async () => {
    await using faulty = await open();
    await faulty.play();
    const before = faulty.rig.reader.stats().originBytes;
    faulty.store.mode = mode;
    await faulty.play();
    assert(faulty.store.calls.get > 0);
    assert(faulty.rig.reader.stats().originBytes >= before + bytes.length - 512 * KiB);
  });
}

Deno.test("FaultyCasStore counts calls, switches at any time, and tells the disk as the real one does", async () => {
  const hash = await openChunkHash("xxh128");
  const disk = new CacheDisk({ cacheDir: "/none", clock: systemClock, log: silentLog });
  const store = new FaultyCasStore(new MemoryCasStore(hash), { disk });
  const chunk = noise(100);
  const name = hash.digest(chunk);
  store.mode = { kind: "after", calls: 1, then: { kind: "eio", on: "get" } };
  assert.equal(store.put(name, chunk), "stored");
  assert.throws(() => store.get(name, 100), { code: "unavailable" });
  assert.equal(disk.state, "writable");
  store.mode = { kind: "full" };
  assert.throws(() => store.put(name, chunk), { code: "full" });
  assert.equal(disk.state, "degraded");
  assert.deepEqual(store.get(name, 100), chunk);
  assert.deepEqual(store.calls, { put: 2, get: 2, has: 0, delete: 0 });
});
