import assert from "node:assert/strict";
import type { Table } from "../../src/store/index.ts";
import { MemoryIndex } from "./memory_index.ts";

const bytes = (...values: number[]): Uint8Array => new Uint8Array(values);
const ALL = { start: bytes(), end: bytes(0xff) };

function keys(table: Table, reverse = false): number[] {
  const found: number[] = [];
  for (const { key } of table.range({ ...ALL, reverse })) found.push(key[0] ?? -1);
  return found;
}

Deno.test("MemoryIndex.transaction() undoes everything when it throws, nested calls included", () => {
  const index = new MemoryIndex();
  const table = index.table("items");
  index.transaction(() => {
    table.put(bytes(1), bytes(1));
    table.put(bytes(2), bytes(2));
  });

  assert.throws(() =>
    index.transaction(() => {
      table.put(bytes(1), bytes(9));
      index.transaction(() => table.remove(bytes(2)));
      table.put(bytes(3), bytes(3));
      throw new Error("stop");
    })
  );

  assert.deepEqual(keys(table), [1, 2]);
  assert.deepEqual(table.get(bytes(1)), bytes(1));
  assert.equal(index.generation(), 1);
});

Deno.test("MemoryIndex.table() gives views that go bad with the next call", () => {
  const index = new MemoryIndex();
  const table = index.table("items");
  index.transaction(() => table.put(bytes(1), bytes(1)));
  const view = table.get(bytes(1));
  index.table("lru").get(bytes(1));
  assert.deepEqual(view, bytes(0xdd));
});

Deno.test("MemoryIndex.table().range() is sorted, half-open, reversible and survives removals", () => {
  const index = new MemoryIndex();
  const table = index.table("lru");
  index.transaction(() => {
    for (const key of [5, 1, 4, 2, 3]) table.put(bytes(key), bytes(key));
  });
  assert.deepEqual(keys(table), [1, 2, 3, 4, 5]);
  assert.deepEqual(keys(table, true), [5, 4, 3, 2, 1]);
  const middle = [...table.range({ start: bytes(2), end: bytes(4) })].length;
  assert.equal(middle, 2);
  index.transaction(() => {
    for (const { key } of table.range(ALL)) table.remove(key);
  });
  assert.equal(table.count(), 0);
});
