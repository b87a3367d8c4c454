import assert from "node:assert/strict";
import { LazyOrigin } from "../../src/origins/lazy.ts";
import type { OpenedOrigin } from "../../src/origins/open.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";

const signal = new AbortController().signal;

function memory(onDispose: () => void): OpenedOrigin {
  const origin = new MemoryOrigin("memory");
  return Object.assign(origin, { [Symbol.asyncDispose]: () => Promise.resolve(onDispose()) });
}

Deno.test("LazyOrigin is opened by its first call, once, and ends with it", async () => {
  let opened = 0;
  let disposed = 0;
  const lazy = new LazyOrigin("memory", () => {
    opened += 1;
    return Promise.resolve(memory(() => disposed += 1));
  });
  assert.equal(opened, 0);
  await Promise.all([lazy.stat("", { signal }), Array.fromAsync(lazy.list("", { signal }))]);
  assert.equal(opened, 1);
  await lazy[Symbol.asyncDispose]();
  assert.equal(disposed, 1);
});

Deno.test("LazyOrigin.connect() opens it, and has it connect if it can", async () => {
  let connected = 0;
  const origin = Object.assign(memory(() => undefined), {
    connect: () => Promise.resolve(void (connected += 1)),
  });
  await using lazy = new LazyOrigin("memory", () => Promise.resolve(origin));
  await lazy.connect({ signal });
  assert.equal(connected, 1);
  await using plain = new LazyOrigin("memory", () => Promise.resolve(memory(() => undefined)));
  await plain.connect({ signal });
});

Deno.test("LazyOrigin that was never called ends without being opened", async () => {
  const lazy = new LazyOrigin("memory", () => Promise.reject(new Error("was opened")));
  await lazy[Symbol.asyncDispose]();
});

Deno.test("LazyOrigin is opened again by the next call if that failed", async () => {
  let opened = 0;
  const lazy = new LazyOrigin("memory", () => {
    opened += 1;
    if (opened === 1) return Promise.reject(new Error("not now"));
    return Promise.resolve(memory(() => undefined));
  });
  await assert.rejects(lazy.stat("", { signal }), /not now/);
  assert.equal((await lazy.stat("", { signal })).kind, "folder");
});
