import assert from "node:assert/strict";
import type { EntryEvent } from "../../src/library/entry_event.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { bytes, never, openLibrary } from "./library_fixture.ts";

Deno.test("Library.listen() tells of each file once, also of those nobody can have seen yet", async () => {
  const nas = new MemoryOrigin("nas");
  nas.put("album/one", bytes(1));
  nas.put("album/two", bytes(2));
  nas.put("top", bytes(3));
  const { library } = openLibrary([nas]);
  const heard: EntryEvent[] = [];
  const end = library.listen((events) => heard.push(...events));
  const told = (): string[] => {
    const lines = heard.map(({ kind, path }) => `${kind} ${path}`).toSorted();
    heard.length = 0;
    return lines;
  };

  await library.scan(never());
  assert.deepEqual(told(), ["added album/one", "added album/two", "added top"]);
  await library.scan(never());
  assert.deepEqual(told(), []);
  nas.put("top", bytes(4));
  nas.put("new", bytes(4));
  nas.remove("album/two");
  await library.scan(never());
  assert.deepEqual(told(), ["added new", "changed top", "gone album/two"]);
  end();
  nas.put("later", bytes(4));
  await library.scan(never());
  assert.deepEqual(told(), []);
  await library[Symbol.asyncDispose]();
});
