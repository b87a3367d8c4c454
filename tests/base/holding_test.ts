import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { collectGarbage } from "../../src/base/memory.ts";
import { holding } from "../../src/base/posix.ts";

/** Begins a call that ends when told, with a buffer that nothing but the call may keep. */
function begin(call: Promise<number>): { buffer: WeakRef<Uint8Array>; done: Promise<number> } {
  const buffer = new Uint8Array(1024);
  return { buffer: new WeakRef(buffer), done: holding([buffer], call) };
}

Deno.test("holding() keeps a call's buffers until it is over, and no longer", async () => {
  const call = Promise.withResolvers<number>();
  const { buffer, done } = begin(call.promise);
  await setImmediate();
  collectGarbage();
  assert(buffer.deref(), "collected while the call was under way");
  call.resolve(7);
  assert.equal(await done, 7);
  await setImmediate();
  collectGarbage();
  assert.equal(buffer.deref(), undefined);
});

Deno.test("collectGarbage() gives memory back", () => {
  const before = Deno.memoryUsage().heapUsed;
  let litter: string[] | undefined = Array.from({ length: 500_000 }, (_, i) => `number ${i}`);
  const during = Deno.memoryUsage().heapUsed;
  assert.equal(litter.length, 500_000);
  litter = undefined;
  assert.equal(collectGarbage(), true);
  const after = Deno.memoryUsage().heapUsed;
  assert(after - before < (during - before) / 2, `${before}, ${during}, ${after}`);
});
