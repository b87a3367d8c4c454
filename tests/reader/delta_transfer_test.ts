import assert from "node:assert/strict";
import { tempDir } from "../support/temp_dir.ts";
import { DeltaRig, edited, TIME_NS, track } from "./delta_rig.ts";
import { assertSameBytes, KiB } from "./rig.ts";

const MD5 = "0123456789abcdef0123456789abcdef";

Deno.test("FileReader.read() fetches nothing of a file with the strong ETag of a cached one", async () => {
  for (const etag of [MD5, `"${MD5}"`, `${MD5}-12`]) {
    await using dir = await tempDir();
    await using rig = new DeltaRig(dir.path);
    const bytes = track();
    await rig.cached(bytes, { version: etag });
    const found = await rig.readThrough(rig.add(bytes, { version: etag }));
    assertSameBytes(found.bytes, bytes);
    assert.equal(found.asked, 0, etag);
  }
});

Deno.test("FileReader.read() fetches no audio of a FLAC file with a cached one's size, time and metadata", async () => {
  await using dir = await tempDir();
  await using rig = new DeltaRig(dir.path);
  const bytes = track();
  await rig.cached(bytes, { path: "old.flac", mtimeNs: TIME_NS });
  const found = await rig.readThrough(rig.add(bytes, { path: "new.flac", mtimeNs: TIME_NS }));
  assertSameBytes(found.bytes, bytes);
  assert(found.asked > 0 && found.asked < KiB, `${found.asked}`);
});

Deno.test("FileReader.read() fetches only metadata and probes of a FLAC file with other tags", async () => {
  await using dir = await tempDir();
  let old: { id: number }[] = [];
  await using rig = new DeltaRig(dir.path, { delta: { predecessors: () => old } });
  const bytes = track();
  const before = await rig.cached(bytes);
  old = [before];
  const longer = track({ tags: { TITLE: "A", COMMENT: "x".repeat(100_000) } });
  const found = await rig.readThrough(rig.add(longer));
  assertSameBytes(found.bytes, longer);
  const metadata = longer.length - bytes.length;
  assert(found.asked > metadata && found.asked <= metadata + 100 * KiB, `${found.asked}`);
  assert.equal(rig.rig.reader.stats().derivedVersions, 1);

  // Edited in the middle, under the same metadata.
  const other = edited(longer, 600_000);
  const again = await rig.readThrough(rig.add(other));
  assertSameBytes(again.bytes, other);
});
