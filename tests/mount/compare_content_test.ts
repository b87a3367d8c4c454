import assert from "node:assert/strict";
import { type ComparedCache, hasSameEnds } from "../../src/mount/compare_content.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";

const KIB = 1024;
const { signal } = new AbortController();

/** A cache that has all of a file, or nothing of it. */
function cacheOf(bytes: Uint8Array<ArrayBuffer> | undefined): ComparedCache {
  const reader = {
    isHere: () => bytes !== undefined,
    read: (_version: FileVersion, { offset, length }: { offset: number; length: number }) =>
      Promise.resolve(bytes?.slice(offset, offset + length)),
  };
  return { reader } as unknown as ComparedCache;
}

Deno.test("hasSameEnds() sees an edit at either end, and reads 8 KiB", async () => {
  const kept = new Uint8Array(100 * KIB).fill(7);
  const cases = [
    { at: -1, isSame: true },
    { at: 0, isSame: false },
    { at: kept.length - 1, isSame: false },
    // What lies between was proven in another way.
    { at: 50 * KIB, isSame: true },
  ];
  for (const { at, isSame } of cases) {
    const now = kept.slice();
    if (at >= 0) now[at] = 8;
    const origin = new MemoryOrigin("nas");
    const { path, size, version: text } = origin.put("song", now);
    const sources = [{ origin: "nas", path, version: text }] as const;
    const version: FileVersion = { id: 1, size, mtimeNs: 0n, sources };
    assert.equal(await hasSameEnds(cacheOf(kept), version, { origin, signal }), isSame, `${at}`);
    assert(origin.bytesRead <= 8 * KIB);
    assert.equal(await hasSameEnds(cacheOf(undefined), version, { origin, signal }), true);
  }
});
