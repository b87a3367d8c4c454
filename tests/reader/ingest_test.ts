import assert from "node:assert/strict";
import { setImmediate } from "node:timers";
import { enableFailpoints } from "../../src/base/failpoint.ts";
import { CdcChunker } from "../../src/chunking/cdc_chunker.ts";
import { MemoryIndex } from "../support/memory_index.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { tempDir } from "../support/temp_dir.ts";
import { assertSameBytes, KiB, MiB, noise, Rig } from "./rig.ts";

const tools = { random: () => 0, print: () => undefined };

Deno.test("Ingest cuts as the chunker does on the whole file, however the bytes came", async () => {
  await using dir = await tempDir();
  await using rig = new Rig(dir.path);
  const bytes = noise(6 * MiB + 999);
  const version = rig.know(1, "nas", { path: "song.flac", size: bytes.length, version: "v1" });
  // From the end to the start, and in uneven parts.
  for (let end = bytes.length; end > 0;) {
    const start = Math.max(0, Math.floor((end - 300 * KiB) / (16 * KiB)) * 16 * KiB);
    rig.extents.write(version, start, bytes.subarray(start, end));
    rig.ingest.kick(version);
    await rig.ingest.idle();
    end = start;
  }
  const list = rig.manifests.listOf(version);
  assert.equal(list.whole, true);
  const lengths = Array.from({ length: list.count }, (_, i) => list.length(i));
  assert.deepEqual(lengths, new CdcChunker().chunkLengths(bytes));
});

Deno.test("Ingest waits until the next chunk is sure to be there", async () => {
  await using dir = await tempDir();
  await using rig = new Rig(dir.path);
  const bytes = noise(2 * MiB);
  const version = rig.know(1, "nas", { path: "song.flac", size: bytes.length, version: "v1" });
  rig.extents.write(version, 0, bytes.subarray(0, 240 * KiB));
  rig.ingest.kick(version);
  await rig.ingest.idle();
  assert.equal(rig.manifests.list(1), undefined);
  rig.extents.write(version, 240 * KiB, bytes.subarray(240 * KiB, 256 * KiB));
  rig.ingest.kick(version);
  await rig.ingest.idle();
  assert((rig.manifests.list(1)?.frontier ?? 0) > 0);
});

Deno.test("Ingest may die at every step: no byte is lost or wrong after it", async (t) => {
  const points = ["after_put", "before_commit", "after_commit", "after_free"];
  const bytes = noise(4 * MiB + 300 * KiB);
  for (const point of points) {
    for (const skipped of [0, 1]) {
      await t.step(`${point}, time ${skipped + 1}`, async () => {
        await using dir = await tempDir();
        const origin = new MemoryOrigin("nas");
        const file = origin.put("song.flac", bytes);
        const index = new MemoryIndex();
        {
          await using rig = new Rig(dir.path, { origins: [origin], index });
          const version = rig.know(1, "nas", file);
          enableFailpoints(`ingest.${point}=${skipped}*off->1*panic`, tools);
          try {
            await rig.readThrough(version);
          } finally {
            enableFailpoints("", tools);
          }
          assert.equal(rig.ingest.stats().stopped, 1);
        }
        await using rig = new Rig(dir.path, { origins: [origin], index });
        const version = rig.know(1, "nas", file);
        const worker = rig.cachedReader();
        const into = new Uint8Array(100_000);
        for (let offset = 0; offset < bytes.length; offset += into.length) {
          const n = worker.read(1, offset, into);
          if (n >= 0) assertSameBytes(into.subarray(0, n), bytes.subarray(offset, offset + n));
        }
        assertSameBytes(await rig.readThrough(version), bytes);
        // What waits in an extent moves on when somebody reads it.
        rig.reader.noteUses(Float64Array.of(1, 0, bytes.length));
        await rig.reader.idle();
        assert.equal(rig.manifests.list(1)?.whole, true);
      });
    }
  }
});

Deno.test("Ingest stops without a word when there is no room, and goes on when there is", async () => {
  await using dir = await tempDir();
  const origin = new MemoryOrigin("nas");
  await using rig = new Rig(dir.path, { origins: [origin] });
  const bytes = noise(2 * MiB);
  const version = rig.know(1, "nas", origin.put("song.flac", bytes));
  enableFailpoints("store.put.before_write=return(full)", tools);
  try {
    assertSameBytes(await rig.readThrough(version), bytes);
  } finally {
    enableFailpoints("", tools);
  }
  assert.equal(rig.manifests.list(1), undefined);
  rig.ingest.kick(version);
  await rig.ingest.idle();
  assert.equal(rig.manifests.list(1)?.whole, true);
  assert.equal(origin.bytesRead, bytes.length);
});

/** Calls `each` once a turn of the event loop until the ingest is idle. */
async function eachTurn(rig: Rig, each: () => void): Promise<void> {
  let done = false;
  const idle = rig.ingest.idle().then(() => done = true);
  while (!done) {
    each();
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  await idle;
}

Deno.test("Ingest stores little in one turn of the event loop, so that nobody waits for a window", async () => {
  await using dir = await tempDir();
  await using rig = new Rig(dir.path);
  const bytes = noise(8 * MiB);
  const version = rig.know(1, "nas", { path: "song.flac", size: bytes.length, version: "v1" });
  rig.extents.write(version, 0, bytes);
  const { store, extents } = rig;
  const [put, read] = [store.put.bind(store), extents.read.bind(extents)];
  const turn = { stored: 0, read: 0 };
  const most = { ...turn };
  store.put = (hash, chunk) => {
    turn.stored += chunk.length;
    return put(hash, chunk);
  };
  extents.read = (of, offset, into) => {
    turn.read += into.length;
    return read(of, offset, into);
  };
  rig.ingest.kick(version);
  await eachTurn(rig, () => {
    most.stored = Math.max(most.stored, turn.stored);
    most.read = Math.max(most.read, turn.read);
    Object.assign(turn, { stored: 0, read: 0 });
  });
  assert.equal(rig.manifests.list(1)?.whole, true);
  // A block more tells how the file is to be cut.
  assert(most.stored <= 512 * KiB && most.read <= MiB + 16 * KiB, JSON.stringify(most));
  assert.equal(rig.ingest.stats().commits, 3);
});

Deno.test("Ingest does not bring a version back that is forgotten while it works on it", async () => {
  await using dir = await tempDir();
  await using rig = new Rig(dir.path);
  const bytes = noise(8 * MiB);
  const version = rig.know(1, "nas", { path: "song.flac", size: bytes.length, version: "v1" });
  rig.extents.write(version, 0, bytes);
  rig.ingest.kick(version);
  let turns = 0;
  await eachTurn(rig, () => {
    if (rig.ingest.stats().commits === 0) return;
    turns += 1;
    // The second window has been read, and is being stored.
    if (turns === 10) rig.manifests.remove(1);
  });
  assert(turns > 10);
  assert.deepEqual([rig.ingest.stats().commits, rig.ingest.stats().stopped], [1, 0]);
  assert.equal(rig.manifests.list(1), undefined);
  assert.deepEqual(rig.cacheIndex.totals(), rig.cacheIndex.recount());
});
