import assert from "node:assert/strict";
import { enableFailpoints } from "../../src/base/failpoint.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import { sweep } from "../../src/store/sweep.ts";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { MemoryIndex } from "../support/memory_index.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { tempDir } from "../support/temp_dir.ts";
import { DeltaRig, TIME_NS, track } from "./delta_rig.ts";
import { assertSameBytes, KiB } from "./rig.ts";

const plain = track();
const longer = track({ tags: { TITLE: "x".repeat(100_000) } });
const TOOLS = { random: () => 0, print: () => undefined };

/** What may be taken over: a moved file, and one with other tags. */
const CASES = {
  moved: { now: plain, most: KiB, points: ["before_commit", "after_commit"] },
  retagged: {
    now: longer,
    most: 100_000 + 160 * KiB,
    points: ["after_put", "before_commit", "after_commit"],
  },
} as const;

for (const [name, { now, most, points }] of Object.entries(CASES)) {
  for (const point of points) {
    Deno.test(`FileReader.read() of a ${name} file may die at delta.${point}: right bytes, nothing twice`, async () => {
      await using dir = await tempDir();
      const index = new MemoryIndex();
      const origin = new MemoryOrigin("nas");
      const earlier: FileVersion[] = [];
      let old: FileVersion;
      let version: FileVersion;
      {
        await using rig = new DeltaRig(dir.path, {
          index,
          origin,
          delta: { predecessors: () => earlier },
        });
        old = await rig.cached(plain, { path: "old.flac", mtimeNs: TIME_NS });
        if (name === "retagged") earlier.push(old);
        version = rig.add(now, { path: "new.flac", mtimeNs: TIME_NS });
        enableFailpoints(`delta.${point}=panic`, TOOLS);
        try {
          assertSameBytes(await rig.rig.read(version, 0, 10), now.subarray(0, 10));
        } finally {
          enableFailpoints("", TOOLS);
        }
        assert.equal(rig.rig.manifests.has(version.id), point === "after_commit");
        // As it would be had nothing been kept of what was fetched since.
        rig.rig.extents.forget(version);
        rig.rig.extents.drop(version);
      }
      const delta = { predecessors: () => earlier };
      await using rig = new DeltaRig(dir.path, { index, origin, delta });
      for (const known of [old, version]) rig.rig.versions.set(known.id, known);
      const before = origin.bytesRead;
      assertSameBytes(await rig.rig.readThrough(version), now);
      assert(origin.bytesRead - before <= most, `${origin.bytesRead - before}`);
      assertSameBytes(await rig.rig.readThrough(old), plain);
      const { cacheDir, cacheIndex, manifests } = rig.rig;
      const swept = await sweep({ cacheDir, cacheIndex, clock: systemClock, log: silentLog });
      assert.deepEqual([swept.adopted, swept.dropped, swept.torn], [0, 0, 0]);
      assert.deepEqual(cacheIndex.totals(), cacheIndex.recount());
      assert.equal([...manifests.files()].length, 2);
      assert.equal(manifests.donors.isDerived(version.id), true);
    });
  }

  Deno.test(`FileReader.read() of a ${name} file goes on without an index that takes no commit`, async () => {
    await using dir = await tempDir();
    const index = new MemoryIndex();
    const earlier: FileVersion[] = [];
    const delta = { predecessors: () => earlier };
    await using rig = new DeltaRig(dir.path, { index, delta });
    const old = await rig.cached(plain, { path: "old.flac", mtimeNs: TIME_NS });
    if (name === "retagged") earlier.push(old);
    const version = rig.add(now, { path: "new.flac", mtimeNs: TIME_NS });
    enableFailpoints("delta.before_commit=return(full)", TOOLS);
    try {
      assertSameBytes(await rig.rig.read(version, 0, 64 * KiB), now.subarray(0, 64 * KiB));
    } finally {
      enableFailpoints("", TOOLS);
    }
    assert.equal(rig.rig.reader.stats().derivedVersions, 0);
    assertSameBytes((await rig.readThrough(version)).bytes, now);
    assert.deepEqual(rig.rig.cacheIndex.totals(), rig.rig.cacheIndex.recount());
  });
}
