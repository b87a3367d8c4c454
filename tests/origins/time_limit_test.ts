import assert from "node:assert/strict";
import { timeLimited } from "../../src/origins/time_limit.ts";
import type { WatchedOptions } from "../../src/origins/call_watcher.ts";
import type { OriginEntry } from "../../src/origins/origin.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { faulty, never, pass, rejects, song, watchSettled } from "./wrapped.ts";

const whole = { offset: 0, length: song.length };
const stallMs = 10_000;

Deno.test("timeLimited() ends every call that gets nowhere, and its origin's signal", async () => {
  const clock = new VirtualClock();
  const { origin, file } = faulty("nas", clock);
  origin.mode = { kind: "hang" };
  const limited = timeLimited(origin, { clock, stallMs });
  const calls = [
    limited.read(file, whole, { signal: never }),
    limited.stat("song", { signal: never }),
    Array.fromAsync(limited.list("", { signal: never })),
  ];
  const ends = calls.map((call) => rejects(call, "timed_out"));
  const states = calls.map(watchSettled);
  await pass(clock, 9_900);
  assert.deepEqual(states.map(({ isSettled }) => isSettled), [false, false, false]);
  assert.equal(origin.underWay.now, 3);
  await pass(clock, 100);
  await Promise.all(ends);
  assert.equal(origin.underWay.now, 0);
  assert.deepEqual(clock.sleeping, []);
});

Deno.test("timeLimited() tells of a call that does not heed its signal", async () => {
  const clock = new VirtualClock();
  const { origin, file } = faulty("nas", clock);
  origin.mode = { kind: "hang", heeds: false };
  const limited = timeLimited(origin, { clock, stallMs });
  const left: Promise<unknown>[] = [];
  const options: WatchedOptions = { signal: never, onLeftBehind: (call) => left.push(call) };
  const ended = rejects(limited.read(file, whole, options), "timed_out");
  await pass(clock, stallMs);
  await ended;
  assert.equal(left.length, 1);
  const state = watchSettled(Promise.all(left));
  await clock.settle();
  assert.equal(state.isSettled, false);
  origin.endHung();
  await clock.settle();
  assert.equal(state.isSettled, true);
});

Deno.test("timeLimited() never ends a call while bytes flow, and passes progress on", async () => {
  const clock = new VirtualClock();
  const { origin, file } = faulty("nas", clock);
  origin.mode = { kind: "trickle", pieces: 20, ms: 9_000 };
  const limited = timeLimited(origin, { clock, stallMs });
  let told = 0;
  const result = limited.read(file, whole, { signal: never, onProgress: () => told += 1 });
  await pass(clock, 180_000, 1_000);
  assert.deepEqual(await result, song);
  assert.equal(told, 21);
});

Deno.test("timeLimited() counts from the last progress", async () => {
  const clock = new VirtualClock();
  const { origin, file } = faulty("nas", clock);
  origin.mode = { kind: "hang" };
  const { read } = origin;
  let progress: (() => void) | undefined;
  origin.read = (asked, range, options) => {
    progress = options.onProgress;
    return read.call(origin, asked, range, options);
  };
  const limited = timeLimited(origin, { clock, stallMs });
  const result = limited.read(file, whole, { signal: never });
  const state = watchSettled(result);
  const ended = rejects(result, "timed_out");
  await pass(clock, 6_000);
  progress?.();
  await pass(clock, 9_900);
  assert.equal(state.isSettled, false);
  await pass(clock, 200);
  await ended;
});

Deno.test("timeLimited() gives reads that tell of no bytes time by their length", async () => {
  const clock = new VirtualClock();
  const { origin, memory } = faulty("nas", clock);
  const file = memory.put("long", new Uint8Array(1_000_000));
  origin.mode = { kind: "hang" };
  const limited = timeLimited(origin, { clock, stallMs, bytesPerSecondMin: 100_000 });
  const result = limited.read(file, { offset: 0, length: 1_000_000 }, { signal: never });
  const state = watchSettled(result);
  const ended = rejects(result, "timed_out");
  await pass(clock, 19_900);
  assert.equal(state.isSettled, false);
  await pass(clock, 200);
  await ended;
});

Deno.test("timeLimited() leaves with the caller's reason, whatever the origin does", async () => {
  const { origin, file } = faulty("nas");
  origin.mode = { kind: "hang", heeds: false };
  const limited = timeLimited(origin, { clock: new VirtualClock(), stallMs });
  const leaver = new AbortController();
  const results = [
    limited.read(file, whole, { signal: leaver.signal }),
    limited.stat("song", { signal: leaver.signal }),
    Array.fromAsync(limited.list("", { signal: leaver.signal })),
  ].map((call) => assert.rejects(call, /enough/));
  leaver.abort(new Error("enough"));
  await Promise.all(results);
  origin.endHung();
});

Deno.test("timeLimited().list() counts no time that its consumer takes, and all that it waits", async () => {
  const clock = new VirtualClock();
  const { origin, memory } = faulty("nas", clock);
  memory.put("other", song);
  const limited = timeLimited(origin, { clock, stallMs });
  const entries = limited.list("", { signal: never })[Symbol.asyncIterator]();
  assert.equal((await entries.next()).value?.path, "song");
  await pass(clock, 30_000, 1_000);
  assert.equal((await entries.next()).value?.path, "other");
  assert.equal((await entries.next()).done, true);
  assert.deepEqual(clock.sleeping, []);
});

Deno.test("timeLimited().list() lets the origin go when its consumer has had enough", async () => {
  const clock = new VirtualClock();
  const { origin, memory } = faulty("nas", clock);
  memory.put("other", song);
  const limited = timeLimited(origin, { clock, stallMs });
  for await (const _ of limited.list("", { signal: never })) break;
  await clock.settle();
  assert.equal(origin.underWay.now, 0);
  assert.deepEqual(clock.sleeping, []);
});

Deno.test("timeLimited().list() ends with its signal also where the origin does not", async () => {
  const { origin } = faulty("nas");
  const leaver = new AbortController();
  origin.list = async function* (): AsyncIterable<OriginEntry> {
    yield await origin.inner.stat("song", { signal: never });
    await new Promise(() => {});
  };
  const limited = timeLimited(origin, { clock: new VirtualClock(), stallMs });
  const entries = limited.list("", { signal: leaver.signal })[Symbol.asyncIterator]();
  await entries.next();
  leaver.abort(new Error("enough"));
  await assert.rejects(entries.next(), /enough/);
});
