import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { Places } from "../../src/origins/places.ts";
import { never } from "./wrapped.ts";

/** Takes places by name and notes the order in which they are had. */
function queue(max: number): {
  places: Places;
  had: string[];
  enter: (name: string, isBackground?: boolean, signal?: AbortSignal) => Promise<void>;
  leave: (name: string) => Promise<void>;
} {
  const places = new Places(max);
  const had: string[] = [];
  const held = new Map<string, () => void>();
  return {
    places,
    had,
    async enter(name, isBackground = false, signal = never): Promise<void> {
      const options = { signal, isBackground };
      const giveBack = places.tryTake(options) ?? await places.wait(options);
      held.set(name, giveBack);
      had.push(name);
    },
    async leave(name): Promise<void> {
      held.get(name)?.();
      held.get(name)?.();
      await setImmediate();
    },
  };
}

Deno.test("Places lets readers in first, each kind in order, one for each place given back", async () => {
  const { had, enter, leave, places } = queue(2);
  await enter("a");
  await enter("b");
  enter("warm 1", true);
  enter("c");
  enter("warm 2", true);
  enter("d");
  assert.equal(places.queued, 4);
  await leave("a");
  assert.deepEqual(had, ["a", "b", "c"]);
  await leave("b");
  assert.deepEqual(had, ["a", "b", "c", "d"]);
  await leave("c");
  await leave("d");
  assert.deepEqual(had, ["a", "b", "c", "d", "warm 1"]);
  await leave("warm 1");
  assert.deepEqual(had.at(-1), "warm 2");
});

Deno.test("Places keeps a quarter of its places from background calls", async () => {
  const { had, enter, leave } = queue(16);
  for (let i = 0; i < 14; i += 1) void enter(`warm ${i}`, true);
  await setImmediate();
  assert.equal(had.length, 12);
  for (let i = 0; i < 5; i += 1) void enter(`reader ${i}`);
  await setImmediate();
  assert.deepEqual(had.slice(12), ["reader 0", "reader 1", "reader 2", "reader 3"]);
  await leave("warm 0");
  assert.equal(had.at(-1), "reader 4");
  await leave("reader 0");
  assert.equal(had.at(-1), "warm 12");
});

Deno.test("Places forgets who leaves the queue", async () => {
  const { had, enter, leave, places } = queue(1);
  const leaver = new AbortController();
  await enter("a");
  const left = assert.rejects(enter("b", false, leaver.signal), /enough/);
  enter("c");
  leaver.abort(new Error("enough"));
  await left;
  assert.equal(places.queued, 1);
  await leave("a");
  assert.deepEqual(had, ["a", "c"]);
  await assert.rejects(places.wait({ signal: leaver.signal }), /enough/);
});
