import assert from "node:assert/strict";
import type { ChunkRegion } from "../../src/chunking/chunk_manifest.ts";
import { addChunk, cuttable } from "../../src/chunking/cut_plan.ts";

const regions = [
  { kind: "metadata", end: 10 },
  { kind: "audio", end: 1000 },
] as const;

Deno.test("cuttable() gives the rest of a region, or enough for the longest chunk", () => {
  const final = { regions, isFinal: true };
  const cases: [offset: number, end: number, expected: ReturnType<typeof cuttable>][] = [
    [0, 9, undefined],
    [0, 10, { kind: "metadata", length: 10 }],
    [4, 500, { kind: "metadata", length: 6 }],
    [10, 109, undefined],
    [10, 110, { kind: "audio", length: 100 }],
    [950, 1000, { kind: "audio", length: 50 }],
    [950, 999, undefined],
    [10, 10, undefined],
    [1000, 1000, undefined],
  ];
  for (const [offset, end, expected] of cases) {
    assert.deepEqual(cuttable(final, { offset, end, max: 100 }), expected, `${offset} to ${end}`);
  }
});

Deno.test("cuttable() does not take the end of what is known for the end of the region", () => {
  const open = { regions, isFinal: false };
  assert.deepEqual(cuttable(open, { offset: 0, end: 1000, max: 100 })?.length, 10);
  assert.deepEqual(cuttable(open, { offset: 900, end: 1000, max: 100 })?.length, 100);
  assert.equal(cuttable(open, { offset: 901, end: 2000, max: 100 }), undefined);
  assert.equal(cuttable({ regions: [], isFinal: false }, { offset: 0, end: 9, max: 1 }), undefined);
});

Deno.test("addChunk() starts a region where the kind changes", () => {
  const found: ChunkRegion[] = [];
  const chunk = { hash: new Uint8Array(16), length: 1 };
  for (const kind of ["metadata", "audio", "audio", "metadata"] as const) {
    addChunk(found, kind, chunk);
  }
  assert.deepEqual(found.map(({ kind, chunks }) => [kind, chunks.length]), [
    ["metadata", 1],
    ["audio", 2],
    ["metadata", 1],
  ]);
});
