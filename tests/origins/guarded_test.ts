import assert from "node:assert/strict";
import { ORIGIN_READS_MAX } from "../../src/base/limits.ts";
import { silentLog } from "../../src/base/log.ts";
import { BandwidthLimit } from "../../src/origins/bandwidth.ts";
import type { WatchedOptions } from "../../src/origins/call_watcher.ts";
import { type GuardedOrigin, guardOrigin, steady } from "../../src/origins/guarded.ts";
import type { OriginKind } from "../../src/origins/health.ts";
import { HealthMonitor } from "../../src/origins/health_monitor.ts";
import { PartialRead } from "../../src/origins/partial_read.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { type Faulty, faulty, never, pass, rejects, song, watchSettled } from "./wrapped.ts";

const whole = { offset: 0, length: song.length };

interface Scene extends Faulty {
  clock: VirtualClock;
  health: HealthMonitor;
  guarded: GuardedOrigin;
}

function scene(kind: OriginKind = "remote", bytesPerSecond?: number): Scene {
  const clock = new VirtualClock();
  const health = new HealthMonitor({ clock, log: silentLog, random: () => 0 });
  const made = faulty("nas", clock);
  const bandwidth = new BandwidthLimit(bytesPerSecond, clock);
  const guarded = guardOrigin(made.origin, { kind, clock, health, bandwidth });
  return { ...made, clock, health, guarded };
}

Deno.test("guardOrigin() has 16 reads under way at most, and as many listings beside them", async () => {
  const { clock, guarded, origin, file } = scene();
  origin.mode = { kind: "slow", ms: 1_000 };
  const reads = Array.from({ length: 40 }, () => guarded.read(file, whole, { signal: never }));
  await clock.settle();
  assert.equal(origin.underWay.now, ORIGIN_READS_MAX);
  const lists = Array.from(
    { length: 20 },
    () => Array.fromAsync(guarded.list("", { signal: never })),
  );
  const stats = Array.from({ length: 20 }, () => guarded.stat("song", { signal: never }));
  await clock.settle();
  assert.deepEqual(origin.calls, { read: 16, list: 16, stat: 16 });
  await pass(clock, 3_000);
  await Promise.all([...reads, ...lists, ...stats]);
  assert.deepEqual(origin.calls, { read: 40, list: 20, stat: 20 });
});

Deno.test("guardOrigin() lets readers before the background", async () => {
  const { clock, guarded, origin, memory, file } = scene();
  const [warm, wanted] = [memory.put("warm", song), memory.put("wanted", song)];
  origin.mode = { kind: "slow", ms: 1_000 };
  const all = [
    ...Array.from({ length: 16 }, () => guarded.read(file, whole, { signal: never })),
    guarded.read(warm, whole, { signal: never, isBackground: true }),
    guarded.read(wanted, whole, { signal: never }),
  ];
  await pass(clock, 3_000);
  await Promise.all(all);
  assert.deepEqual(memory.reads.slice(-2).map(({ path }) => path), ["wanted", "warm"]);
});

Deno.test("guardOrigin() refuses what has the wrong length, and counts it against the origin", async () => {
  for (const bytes of [-1, 1]) {
    const { guarded, origin, file, health } = scene();
    origin.mode = { kind: "over_long", bytes };
    await rejects(guarded.read(file, whole, { signal: never }), "unavailable");
    assert.equal(health.of("nas").state, "degraded");
    assert.deepEqual(guarded.counters.errorsByCode, { unavailable: 1 });
    assert.equal(guarded.counters.bytes, 0);
  }
});

Deno.test("guardOrigin() refuses parts that cannot be parts", async () => {
  for (const length of [0, song.length, song.length + 1]) {
    const { guarded, origin, file } = scene();
    const part = { received: new Uint8Array(length), op: "test", subject: "song" };
    origin.read = () => Promise.reject(new PartialRead("Broke off", part));
    const error = await guarded.read(file, whole, { signal: never }).catch((error) => error);
    assert(!(error instanceof PartialRead), `${length}`);
    assert.equal(error.code, "unavailable");
  }
});

Deno.test("guardOrigin() counts calls, bytes and errors", async () => {
  const { guarded, origin, file } = scene();
  await guarded.read(file, whole, { signal: never });
  await guarded.stat("song", { signal: never });
  await Array.fromAsync(guarded.list("", { signal: never }));
  origin.mode = { kind: "partial", count: 300 };
  await rejects(guarded.read(file, whole, { signal: never }), "unavailable");
  origin.mode = { kind: "error", code: "not_found" };
  await rejects(guarded.read(file, whole, { signal: never }), "not_found");
  await rejects(guarded.stat("song", { signal: never }), "not_found");
  await rejects(Array.fromAsync(guarded.list("", { signal: never })), "not_found");
  assert.deepEqual(guarded.counters, {
    calls: 3,
    bytes: 1_300,
    errors: 2,
    lists: 2,
    stats: 2,
    errorsByCode: { unavailable: 1, not_found: 3 },
  });
});

Deno.test("guardOrigin() counts no error where the caller gave up", async () => {
  const { clock, guarded, origin, file } = scene();
  origin.mode = { kind: "hang" };
  const leaver = new AbortController();
  const left = assert.rejects(guarded.read(file, whole, { signal: leaver.signal }), /enough/);
  await clock.settle();
  leaver.abort(new Error("enough"));
  await left;
  const { calls, errors, errorsByCode } = guarded.counters;
  assert.deepEqual({ calls, errors, errorsByCode }, { calls: 1, errors: 0, errorsByCode: {} });
});

Deno.test("guardOrigin() gives up a remote call after 10 s and a local one after 15 s", async () => {
  for (const [kind, ms] of [["remote", 10_000], ["local", 15_000]] as const) {
    const { clock, guarded, origin, file } = scene(kind);
    origin.mode = { kind: "hang" };
    const calls = [
      guarded.read(file, whole, { signal: never }),
      guarded.stat("song", { signal: never }),
      Array.fromAsync(guarded.list("", { signal: never })),
    ];
    const ends = calls.map((call) => rejects(call, "timed_out"));
    const states = calls.map(watchSettled);
    await pass(clock, ms - 100);
    assert(states.every(({ isSettled }) => !isSettled), kind);
    await pass(clock, 200);
    await Promise.all(ends);
  }
});

Deno.test("guardOrigin() lets no time run while a call is queued", async () => {
  const { clock, guarded, origin, file } = scene();
  origin.mode = { kind: "trickle", pieces: 5, ms: 5_000 };
  const reads = Array.from({ length: 17 }, () => guarded.read(file, whole, { signal: never }));
  await pass(clock, 60_000, 1_000);
  assert.equal((await Promise.all(reads)).length, 17);
});

Deno.test("guardOrigin() keeps the place of a local call that never ends, of no remote one", async () => {
  for (const [kind, calls] of [["local", 16], ["remote", 20]] as const) {
    const { clock, guarded, origin, file } = scene(kind);
    origin.mode = { kind: "hang", heeds: false };
    const leaver = new AbortController();
    const reads = Array.from(
      { length: 20 },
      () => guarded.read(file, whole, { signal: leaver.signal }).catch(() => undefined),
    );
    await pass(clock, 16_000, 1_000);
    assert.equal(origin.calls.read, calls, kind);
    origin.mode = { kind: "healthy" };
    origin.endHung();
    await clock.settle();
    assert.deepEqual(await guarded.read(file, whole, { signal: never }), song);
    leaver.abort(new Error("enough"));
    await Promise.all(reads);
  }
});

Deno.test("guardOrigin() asks nothing of an origin that has just refused us", async () => {
  const { clock, guarded, origin, file, health } = scene();
  origin.mode = { kind: "error", code: "denied", message: "Wrong secret" };
  await health.recheck();
  for (let i = 0; i < 5; i += 1) {
    await assert.rejects(guarded.read(file, whole, { signal: never }), /Wrong secret/);
    await rejects(guarded.stat("song", { signal: never }), "denied");
    await rejects(Array.fromAsync(guarded.list("", { signal: never })), "denied");
  }
  assert.deepEqual(origin.calls, { list: 0, stat: 1, read: 0 });
  origin.mode = { kind: "healthy" };
  await pass(clock, 15_000, 1_000);
  assert.deepEqual(await guarded.read(file, whole, { signal: never }), song);
});

Deno.test("guardOrigin() reads in pieces that keep to the bandwidth", async () => {
  const { clock, guarded, origin, memory } = scene("remote", 64 * 1024);
  const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => i % 253);
  const file = memory.put("long", bytes);
  const paused: boolean[] = [];
  let [started, ended] = [0, 0];
  const options: WatchedOptions = {
    signal: never,
    watcher: {
      started: () => started += 1,
      ended: () => ended += 1,
      paused: (isPaused) => paused.push(isPaused),
    },
  };
  const read = guarded.read(file, { offset: 0, length: 100_000 }, options);
  const state = watchSettled(read);
  await pass(clock, 1_400, 10);
  assert.equal(state.isSettled, false);
  await pass(clock, 200, 10);
  assert.deepEqual(await read, bytes);
  assert.deepEqual(origin.ranges.map(({ length }) => length), [
    ...Array.from({ length: 6 }, () => 16_384),
    1_696,
  ]);
  assert.deepEqual([started, ended], [1, 1]);
  assert.deepEqual(paused, Array.from({ length: 6 }, () => [true, false]).flat());
  assert.deepEqual([guarded.counters.calls, guarded.counters.bytes], [7, 100_000]);
});

Deno.test("guardOrigin() counts no time against an origin that waits for its bandwidth", async () => {
  const { clock, guarded, memory } = scene("remote", 1_000);
  const file = memory.put("long", new Uint8Array(40_000));
  const read = guarded.read(file, { offset: 0, length: 40_000 }, { signal: never });
  await pass(clock, 60_000, 1_000);
  assert.equal((await read).length, 40_000);
});

Deno.test("guardOrigin() keeps the pieces that came before one failed", async () => {
  for (const last of ["error", "partial"] as const) {
    const { clock, guarded, origin, memory } = scene("remote", 64 * 1024);
    const bytes = Uint8Array.from({ length: 50_000 }, (_, i) => i % 253);
    const file = memory.put("long", bytes);
    const read = guarded.read(file, { offset: 0, length: 50_000 }, { signal: never })
      .catch((error) => error);
    await pass(clock, 300, 50);
    assert.equal(origin.calls.read, 2);
    origin.mode = last === "error"
      ? { kind: "error", code: "unavailable" }
      : { kind: "partial", count: 10 };
    await pass(clock, 300, 50);
    const error = await read;
    assert(error instanceof PartialRead);
    assert.deepEqual(error.received, bytes.slice(0, 2 * 16_384 + (last === "error" ? 0 : 10)));
  }
});

Deno.test("guardOrigin() throws a piece's answer as it is", async () => {
  const { clock, guarded, origin, memory } = scene("remote", 64 * 1024);
  const file = memory.put("long", new Uint8Array(50_000));
  const read = rejects(
    guarded.read(file, { offset: 0, length: 50_000 }, { signal: never }),
    "changed",
  );
  await pass(clock, 300, 50);
  origin.mode = { kind: "changed" };
  await pass(clock, 300, 50);
  await read;
});

Deno.test("steady() asks again, but not where the origin has been offline for a while", async () => {
  for (const kind of ["local", "remote"] as const) {
    const { clock, guarded, origin, health } = scene(kind);
    const calm = steady(guarded, { clock, random: () => 0.5, health });
    origin.mode = { kind: "error", code: "unavailable" };
    const listing = rejects(Array.fromAsync(calm.list("", { signal: never })), "unavailable");
    await pass(clock, 6_000);
    await listing;
    assert.equal(health.of("nas").state, "offline");
    assert.equal(origin.calls.list, 4);
    await rejects(Array.fromAsync(calm.list("", { signal: never })), "unavailable");
    assert.equal(origin.calls.list, 5);
    assert.deepEqual(clock.sleeping, []);
  }
});
