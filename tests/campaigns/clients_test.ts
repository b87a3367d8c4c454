import assert from "node:assert/strict";
import { join } from "node:path";
import { testWith } from "../support/requirements.ts";
import { writeNoise } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";
import { Looped, TimedReader, type Timing } from "./clients.ts";
import { knownBytes, writeKnown } from "./known_bytes.ts";

/** Reads one file of `mountpoint` once. */
async function read(
  mountpoint: string,
  { name, copy, rate = 0 }: { name: string; copy?: string; rate?: number },
): Promise<Timing & { lines: string[] }> {
  const options = { mountpoint, copy, names: [name], bytesPerSecond: rate, seed: 1, passes: 1 };
  await using reader = await TimedReader.start(options);
  return await reader.ended();
}

testWith(
  ["gcc"],
  "TimedReader sees a byte that is not the copy's, and a file cut short",
  async () => {
    await using dir = await tempDir("timed-reader");
    const [ours, copy] = [join(dir.path, "ours"), join(dir.path, "copy")];
    for (const folder of [ours, copy]) {
      for (const name of ["right", "wrong", "short", "long"]) {
        await writeNoise(join(folder, name), { bytes: 300_000, seed: 3 });
      }
    }
    using wrong = await Deno.open(join(ours, "wrong"), { write: true });
    await wrong.seek(299_999, Deno.SeekMode.Start);
    await wrong.write(new Uint8Array([1]));
    await Deno.truncate(join(ours, "short"), 299_999);
    await Deno.truncate(join(copy, "long"), 299_999);
    const right = await read(ours, { name: "right", copy });
    assert.deepEqual([right.bytes, right.wrong, right.errors], [300_000, 0, 0]);
    for (const name of ["wrong", "short", "long"]) {
      const seen = await read(ours, { name, copy });
      assert.equal(seen.wrong, 1, name);
      assert.match(seen.lines[0] ?? "", /wrong bytes/);
    }
    await writeNoise(join(copy, "lost"), { bytes: 10, seed: 3 });
    assert.equal((await read(ours, { name: "lost", copy })).errors, 1);
  },
);

testWith(
  ["gcc"],
  "TimedReader sees a mix of versions, and does not mind that a file is gone",
  async () => {
    await using dir = await tempDir("timed-reader");
    await writeKnown(dir.path, "right", 7);
    assert.equal((await read(dir.path, { name: "right" })).wrong, 0);
    const mixed = knownBytes("mixed", 6);
    // Version 6 wrote each third block anew, and carried the others over from version 5.
    mixed.set(knownBytes("mixed", 5).subarray(3 * 65_536, 4 * 65_536), 3 * 65_536);
    await Deno.writeFile(join(dir.path, "mixed"), mixed);
    assert.equal((await read(dir.path, { name: "mixed" })).wrong, 1);
    const gone = await read(dir.path, { name: "gone" });
    assert.deepEqual([gone.errors, gone.replaced], [0, 1]);
  },
);

testWith(["gcc"], "TimedReader reads no faster than it was told", async () => {
  await using dir = await tempDir("timed-reader");
  await writeNoise(join(dir.path, "track"), { bytes: 300_000, seed: 3 });
  const began = performance.now();
  await read(dir.path, { name: "track", copy: dir.path, rate: 1_000_000 });
  // The last of its reads is due when all bytes but a buffer's have been played.
  assert.ok(performance.now() - began > 234);
});

Deno.test("Looped tells of errors and goes on, and a pause does not hold its end up", async () => {
  const errors: unknown[] = [];
  const second = Promise.withResolvers<void>();
  const loop = new Looped("test", {
    pauseMs: 1,
    onError: (error) => errors.push(error),
    once: (round) => {
      if (round === 0) throw new Error("first");
      second.resolve();
      return Promise.resolve();
    },
  });
  await second.promise;
  await loop.stop();
  assert.equal(errors.length, 1);
  assert.ok(loop.rounds >= 1);
  const paused = new Looped("test", {
    pauseMs: 3_600_000,
    onError: (error) => errors.push(error),
    once: () => Promise.resolve(),
  });
  await paused.stop();
});
