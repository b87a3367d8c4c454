import assert from "node:assert/strict";
import { type FolderChange, OwedChanges } from "../../src/library/folder_change.ts";
import { MemoryIndex } from "../support/memory_index.ts";

Deno.test("OwedChanges keeps each folder's names and nodes, once, until they are removed", () => {
  const index = new MemoryIndex();
  const owed = new OwedChanges(index);
  const all = (): FolderChange[] => [...owed.all()];
  index.transaction(() => {
    owed.add({ folder: 7, names: ["a"], nodes: [1] });
    owed.add({ folder: 8, names: ["x"], nodes: [] });
    owed.add({ folder: 7, names: ["b", "a"], nodes: [2, 1] });
  });
  assert.deepEqual(all(), [
    { folder: 7, names: ["a", "b"], nodes: [1, 2] },
    { folder: 8, names: ["x"], nodes: [] },
  ]);
  index.transaction(() => owed.remove(7));
  assert.deepEqual(all(), [{ folder: 8, names: ["x"], nodes: [] }]);
});

Deno.test("OwedChanges takes over what a musicfs without parts left", () => {
  const index = new MemoryIndex();
  const owed = new OwedChanges(index);
  index.transaction(() => {
    const record = new TextEncoder().encode(JSON.stringify([["old"], [7]]));
    index.table("owed").put(Uint8Array.of(0, 0, 0, 7), record);
    owed.add({ folder: 7, names: ["new"], nodes: [7] });
  });
  assert.deepEqual([...owed.all()].flatMap(({ names }) => names), ["old", "new"]);
  index.transaction(() => owed.remove(7));
  assert.equal(owed.count(), 0);
});

Deno.test("OwedChanges.add() rewrites no more than 64 KiB, however much is owed", () => {
  const index = new MemoryIndex();
  const owed = new OwedChanges(index);
  const names = (first: number): string[] =>
    Array.from({ length: 2_000 }, (_, i) => `a name of some length ${first + i}`);
  for (let i = 0; i < 20; i += 1) {
    index.transaction(() => owed.add({ folder: 7, names: names(i * 2_000), nodes: [7] }));
  }
  const changes = [...owed.all()];
  assert.equal(new Set(changes.flatMap(({ names }) => names)).size, 40_000);
  assert(changes.every(({ folder, names }) => folder === 7 && names.length < 6_000));
  index.transaction(() => owed.remove(7));
  assert.equal(owed.count(), 0);
});
