import assert from "node:assert/strict";
import { windowBytesMax } from "../../src/reader/window_size.ts";
import { MiB } from "./rig.ts";

Deno.test("windowBytesMax() is 40 MiB, and no more than stays until it is read", () => {
  const disk = (readers: number, mib: number): number =>
    windowBytesMax({ readers, inMemory: false, roomBytes: mib * MiB }) / MiB;
  assert.deepEqual([disk(1, 1e4), disk(8, 1e4), disk(1, 64), disk(8, 64), disk(1, 0)], [
    40,
    40,
    16,
    4,
    2,
  ]);
  const memory = (readers: number): number =>
    windowBytesMax({ readers, inMemory: true, roomBytes: 1e4 * MiB }) / MiB;
  assert.deepEqual([memory(1), memory(4), memory(100)], [8, 4, 2]);
});
