import fc from "fast-check";
import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import type { Origin } from "../../src/origins/origin.ts";
import { PartialRead } from "../../src/origins/partial_read.ts";
import { retrying, retryWaitMs } from "../../src/origins/retrying.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { faulty, never, pass, rejects, song, watchSettled } from "./wrapped.ts";

const random = (): number => 0.5;
const whole = { offset: 0, length: song.length };

Deno.test("retryWaitMs() stays within a quarter of the wait, and reaches both ends", () => {
  const chances = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  fc.assert(fc.property(fc.nat(10_000), chances, (middle, chance) => {
    assert(Math.abs(retryWaitMs(middle, chance) - middle) <= middle / 4);
  }));
  assert.equal(retryWaitMs(100, 0), 75);
  assert.equal(retryWaitMs(100, 1), 125);
});

Deno.test("retrying() asks again after 100, 500 and 2000 ms, then throws the last error", async () => {
  const clock = new VirtualClock();
  const { origin, file } = faulty("nas");
  origin.mode = { kind: "error", code: "timed_out" };
  const steady = retrying(origin, { clock, random });
  const calls = {
    read: () => steady.read(file, whole, { signal: never }),
    stat: () => steady.stat("song", { signal: never }),
    list: () => Array.fromAsync(steady.list("", { signal: never })),
  };
  for (const [method, call] of Object.entries(calls)) {
    const result = rejects(call(), "timed_out");
    for (const wait of [100, 500, 2_000]) {
      await clock.settle();
      assert.deepEqual(clock.sleeping, [wait], method);
      await clock.advance(wait);
    }
    await result;
  }
  assert.deepEqual(origin.calls, { list: 4, stat: 4, read: 4 });
});

Deno.test("retrying() with repeatLast repeats the last wait until the signal ends it", async () => {
  const clock = new VirtualClock();
  const { origin, file } = faulty("nas");
  origin.mode = { kind: "error", code: "unavailable" };
  const steady = retrying(origin, { clock, random, repeatLast: true });
  const leaver = new AbortController();
  const result = steady.read(file, whole, { signal: leaver.signal });
  const state = watchSettled(result);
  await pass(clock, 60_000);
  assert.equal(state.isSettled, false);
  assert(origin.calls.read >= 25);
  leaver.abort(new Error("enough"));
  await assert.rejects(result, /enough/);
  assert.deepEqual(clock.sleeping, []);
});

Deno.test("retrying() takes all other errors for answers", async () => {
  for (const code of ["not_found", "denied", "changed", "invalid", "corrupt"] as const) {
    const { origin, file } = faulty("nas");
    origin.mode = { kind: "error", code };
    const steady = retrying(origin, { clock: new VirtualClock(), random });
    await rejects(steady.read(file, whole, { signal: never }), code);
    await rejects(steady.stat("song", { signal: never }), code);
    await rejects(Array.fromAsync(steady.list("", { signal: never })), code);
    assert.deepEqual(origin.calls, { list: 1, stat: 1, read: 1 });
  }
});

Deno.test("retrying() gives up where it is not worth it any more, and tells each failure", async () => {
  const clock = new VirtualClock();
  const { origin, file } = faulty("nas");
  origin.mode = { kind: "error", code: "unavailable" };
  let failures = 0;
  const steady = retrying(origin, {
    clock,
    random,
    repeatLast: true,
    isWorthIt: () => failures < 3,
    onFailure: () => failures += 1,
  });
  const result = rejects(steady.read(file, whole, { signal: never }), "unavailable");
  await pass(clock, 1_000);
  await result;
  assert.equal(failures, 3);
  assert.equal(origin.calls.read, 3);
});

Deno.test("retrying() goes on after the last byte of a body that broke off", async () => {
  const clock = new VirtualClock();
  const { origin, file } = faulty("nas");
  origin.mode = { kind: "partial", count: 300 };
  const steady = retrying(origin, { clock, random });
  const result = steady.read(file, { offset: 100, length: 700 }, { signal: never });
  await pass(clock, 300);
  assert.deepEqual(await result, song.slice(100, 800));
  assert.deepEqual(origin.ranges, [
    { offset: 100, length: 700 },
    { offset: 400, length: 400 },
    { offset: 700, length: 100 },
  ]);
});

Deno.test("retrying() begins the waits anew after progress, but not for ever", async () => {
  const clock = new VirtualClock();
  const { origin, file } = faulty("nas");
  origin.mode = { kind: "partial", count: 1 };
  const steady = retrying(origin, { clock, random });
  const result = rejects(steady.read(file, whole, { signal: never }), "unavailable");
  for (let i = 0; i < 16; i += 1) {
    await clock.settle();
    assert.deepEqual(clock.sleeping, [100]);
    await clock.advance(100);
  }
  await pass(clock, 5_000);
  await result;
  assert(origin.calls.read < 25, `${origin.calls.read} reads`);
});

Deno.test("retrying() never puts a rest of the wrong length behind what it has", async () => {
  for (const bytes of [-1, 1]) {
    const clock = new VirtualClock();
    const { origin, file } = faulty("nas");
    origin.mode = { kind: "partial", count: 300 };
    const steady = retrying(origin, { clock, random });
    const result = steady.read(file, whole, { signal: never });
    await clock.settle();
    origin.mode = { kind: "over_long", bytes };
    await clock.advance(100);
    origin.mode = { kind: "healthy" };
    await clock.advance(500);
    assert.deepEqual(await result, song);
    assert.equal(origin.calls.read, 3);
  }
});

Deno.test("retrying() goes on with a listing that broke off, each name once", async () => {
  const clock = new VirtualClock();
  const { origin, memory } = faulty("nas");
  for (const name of ["a", "b", "c", "d"]) memory.put(name, song);
  origin.mode = { kind: "partial", count: 3 };
  const steady = retrying(origin, { clock, random });
  const names: string[] = [];
  const listing = (async () => {
    for await (const { path } of steady.list("", { signal: never })) {
      names.push(path);
      if (names.length === 3) origin.mode = { kind: "healthy" };
    }
  })();
  await pass(clock, 200);
  await listing;
  assert.deepEqual(names.sort(), ["a", "b", "c", "d", "song"]);
  assert.equal(origin.calls.list, 2);
});

Deno.test("retrying() ends no listing as complete that never was", async () => {
  const clock = new VirtualClock();
  const { origin, memory } = faulty("nas");
  for (const name of ["a", "b", "c", "d"]) memory.put(name, song);
  origin.mode = { kind: "partial", count: 3 };
  const steady: Origin = retrying(origin, { clock, random });
  const listing = rejects(Array.fromAsync(steady.list("", { signal: never })), "unavailable");
  await pass(clock, 10_000);
  await listing;
});

Deno.test("retrying() begins the waits anew when a listing came further than before", async () => {
  const clock = new VirtualClock();
  const { origin, memory } = faulty("nas");
  for (let i = 0; i < 8; i += 1) memory.put(`${i}`, song);
  const steady = retrying(origin, { clock, random });
  origin.mode = { kind: "partial", count: 1 };
  const listing = Array.fromAsync(steady.list("", { signal: never }));
  for (let count = 2; count < 10; count += 1) {
    await clock.settle();
    origin.mode = { kind: "partial", count };
    await clock.advance(100);
  }
  assert.equal((await listing).length, 9);
});

Deno.test("retrying() throws the signal's reason whatever the origin says when it has ended", async () => {
  const { origin, file } = faulty("nas");
  const leaver = new AbortController();
  origin.inner.read = () => {
    leaver.abort(new Error("enough"));
    throw new MusicfsError("not_found", "It is gone", { op: "test", subject: "song" });
  };
  const steady = retrying(origin, { clock: new VirtualClock(), random });
  await assert.rejects(steady.read(file, whole, { signal: leaver.signal }), /enough/);
});

Deno.test("retrying() uses no part that cannot be one", async () => {
  for (const length of [0, song.length, song.length + 1]) {
    const clock = new VirtualClock();
    const { origin, memory, file } = faulty("nas");
    const part = { received: new Uint8Array(length), op: "test", subject: "song" };
    const { read } = memory;
    memory.read = () => Promise.reject(new PartialRead("Broke off", part));
    const result = retrying(origin, { clock, random }).read(file, whole, { signal: never });
    await clock.settle();
    memory.read = read;
    await clock.advance(100);
    assert.deepEqual(await result, song);
  }
});
