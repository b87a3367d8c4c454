import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import type { OriginKind } from "../../src/origins/health.ts";
import { type HealthChange, HealthMonitor } from "../../src/origins/health_monitor.ts";
import type { Origin } from "../../src/origins/origin.ts";
import type { FaultyOrigin } from "../support/faults.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { type Faulty, faulty, keptLog, never, pass, rejects, song } from "./wrapped.ts";

const whole = { offset: 0, length: song.length };

interface Watched extends Faulty {
  watching: Origin;
}

interface Scene extends AsyncDisposable {
  clock: VirtualClock;
  health: HealthMonitor;
  changes: HealthChange[];
  lines: string[];
  fields: Record<string, unknown>[];
  watch: (name: string, kind?: OriginKind) => Watched;
}

function scene(): Scene {
  const clock = new VirtualClock();
  const { log, lines, fields } = keptLog();
  const health = new HealthMonitor({ clock, log, random: () => 0 });
  const changes: HealthChange[] = [];
  health.onChange((change) => changes.push(change));
  return {
    clock,
    health,
    changes,
    lines,
    fields,
    watch(name, kind = "remote"): Watched {
      const made = faulty(name, clock);
      return { ...made, watching: health.watching(made.origin, { kind, calls: made.origin }) };
    },
    [Symbol.asyncDispose]: () => health[Symbol.asyncDispose](),
  };
}

function down(origin: FaultyOrigin): void {
  origin.mode = { kind: "error", code: "unavailable", message: "No route to host" };
}

Deno.test("HealthMonitor probes at once, every 60 s while all is well, every 5 s while it is not", async () => {
  await using test = scene();
  const { clock, health } = test;
  const { origin } = test.watch("nas");
  assert.equal(health.of("nas").state, "unknown");
  health.start();
  await clock.settle();
  assert.equal(health.of("nas").state, "online");
  await pass(clock, 59_900);
  assert.equal(origin.calls.stat, 1);
  await pass(clock, 200);
  assert.equal(origin.calls.stat, 2);
  down(origin);
  await pass(clock, 60_000);
  assert.deepEqual([origin.calls.stat, health.of("nas").state], [3, "degraded"]);
  await pass(clock, 5_000);
  assert.deepEqual([origin.calls.stat, health.of("nas").state], [4, "degraded"]);
  await pass(clock, 5_000);
  assert.deepEqual([origin.calls.stat, health.of("nas").state], [5, "offline"]);
  await pass(clock, 10_000);
  assert.equal(origin.calls.stat, 7);
  origin.mode = { kind: "healthy" };
  await pass(clock, 5_000);
  assert.deepEqual(health.of("nas"), {
    state: "online",
    latencyMs: 0,
    lastError: null,
    sinceMs: clock.now() - 100,
  });
});

Deno.test("HealthMonitor asks sooner after a call failed than it would have", async () => {
  await using test = scene();
  const { clock, health } = test;
  const { origin, watching, file } = test.watch("nas");
  health.start();
  await pass(clock, 10_000);
  down(origin);
  await rejects(watching.read(file, whole, { signal: never }), "unavailable");
  assert.equal(health.of("nas").state, "degraded");
  origin.mode = { kind: "healthy" };
  await pass(clock, 5_000);
  assert.equal(health.of("nas").state, "online");
});

Deno.test("HealthMonitor lets no probe that hangs delay another, and ends it after 5 s", async () => {
  await using test = scene();
  const { clock, health } = test;
  const names = ["a", "b", "c", "d", "e"];
  const origins = names.map((name) => test.watch(name, "local").origin);
  for (const origin of origins.slice(0, 4)) origin.mode = { kind: "hang", heeds: false };
  health.start();
  await clock.settle();
  assert.equal(health.of("e").state, "online");
  await pass(clock, 4_900);
  assert.equal(health.of("a").state, "unknown");
  const checked = health.recheck();
  assert.equal(origins[0]?.calls.stat, 1, "one probe at a time");
  await pass(clock, 200);
  assert.deepEqual(names.map((name) => health.isUp(name)), [false, false, false, false, true]);
  await checked;
  for (const origin of origins) origin.endHung();
});

Deno.test("HealthMonitor.recheck() asks all now and resolves with what they said", async () => {
  await using test = scene();
  const { health } = test;
  const [a, b] = [test.watch("a", "local"), test.watch("b", "local")];
  down(b.origin);
  await health.recheck();
  assert.deepEqual([health.of("a").state, health.of("b").state], ["online", "offline"]);
  assert.equal(health.of("b").lastError, "No route to host");
  assert.deepEqual([a.origin.calls.stat, b.origin.calls.stat], [1, 1]);
});

Deno.test("HealthMonitor tells of each change of state, and how long an outage was", async () => {
  await using test = scene();
  const { clock, health, changes } = test;
  const { origin } = test.watch("nas", "local");
  health.start();
  await pass(clock, 1_000);
  down(origin);
  await health.recheck();
  await pass(clock, 20_000);
  origin.mode = { kind: "healthy" };
  await pass(clock, 5_000);
  const outage = changes.at(-1)?.offlineMs ?? 0;
  assert(outage >= 20_000 && outage <= 25_000, `${outage}`);
  assert.deepEqual(changes.map(({ was, state }) => `${was} ${state}`), [
    "unknown online",
    "online offline",
    "offline online",
  ]);
});

Deno.test("HealthMonitor goes on when a listener throws, and lets one leave", async () => {
  await using test = scene();
  const { health, lines } = test;
  const { origin } = test.watch("nas", "local");
  const leave = health.onChange(() => {
    throw new Error("listener");
  });
  await health.recheck();
  assert.equal(lines.filter((line) => line.startsWith("error: A listener")).length, 1);
  leave();
  down(origin);
  await health.recheck();
  assert.equal(lines.filter((line) => line.startsWith("error: A listener")).length, 1);
});

Deno.test("HealthMonitor.watching() takes a missing or changed file for an answer", async () => {
  await using test = scene();
  const { health } = test;
  const { origin, watching, file } = test.watch("nas", "local");
  for (const code of ["not_found", "changed", "invalid"] as const) {
    origin.mode = { kind: "error", code };
    await rejects(watching.read(file, whole, { signal: never }), code);
    await rejects(watching.stat("song", { signal: never }), code);
    assert.equal(health.of("nas").state, "online");
  }
  // An origin whose root is missing is as good as none.
  await rejects(watching.stat("", { signal: never }), "invalid");
  assert.equal(health.of("nas").state, "offline");
});

Deno.test("HealthMonitor.watching() counts nothing that its caller gave up", async () => {
  await using test = scene();
  const { health } = test;
  const { origin, watching, file } = test.watch("nas", "local");
  origin.mode = { kind: "hang" };
  const leaver = new AbortController();
  const left = assert.rejects(watching.read(file, whole, { signal: leaver.signal }), /enough/);
  leaver.abort(new Error("enough"));
  await left;
  assert.equal(health.of("nas").state, "unknown");
});

Deno.test("HealthMonitor.watching() measures until the first byte or name came", async () => {
  await using test = scene();
  const { clock, health } = test;
  const { origin, watching, file } = test.watch("nas");
  origin.mode = { kind: "trickle", pieces: 5, ms: 100 };
  const read = watching.read(file, whole, { signal: never });
  await pass(clock, 600, 50);
  await read;
  assert.equal(health.of("nas").latencyMs, 100);
});

Deno.test("HealthMonitor.watching() measures a listing until its first name", async () => {
  await using test = scene();
  const { clock, health } = test;
  const { memory } = test.watch("nas");
  memory.put("other", song);
  const watching = health.watching(memory, { kind: "remote", calls: memory });
  for await (const _ of watching.list("", { signal: never })) await clock.advance(1_000);
  assert.equal(health.of("nas").latencyMs, 0);
});

Deno.test("HealthMonitor finds out by a probe whether one refusal is all there are", async () => {
  await using test = scene();
  const { clock, health } = test;
  const { origin, watching, file } = test.watch("nas");
  health.start();
  await pass(clock, 10_000);
  origin.mode = { kind: "every", nth: 2, code: "denied" };
  await watching.stat("song", { signal: never });
  await rejects(watching.read(file, whole, { signal: never }), "denied");
  assert.equal(health.of("nas").state, "online");
  await pass(clock, 100);
  assert.equal(health.of("nas").state, "online", "the probe was answered");
  assert.equal(health.refusal("nas"), undefined);
  await pass(clock, 5_000);
  origin.mode = { kind: "error", code: "denied", message: "Wrong secret" };
  await rejects(watching.read(file, whole, { signal: never }), "denied");
  await pass(clock, 100);
  assert.equal(health.of("nas").state, "offline");
  assert.equal(health.refusal("nas")?.message, "Wrong secret");
  const { stat } = origin.calls;
  await pass(clock, 59_000, 1_000);
  assert.equal(origin.calls.stat, stat, "no retry storm");
  await pass(clock, 2_000, 1_000);
  assert.equal(origin.calls.stat, stat + 1);
});

Deno.test("HealthMonitor does not probe for every refusal of a single file", async () => {
  await using test = scene();
  const { clock, health } = test;
  const { origin, watching, file } = test.watch("nas");
  health.start();
  await pass(clock, 10_000);
  origin.inner.read = () => {
    throw new MusicfsError("denied", "Not yours", { op: "test", subject: "song" });
  };
  for (let i = 0; i < 100; i += 1) {
    await rejects(watching.read(file, whole, { signal: never }), "denied");
    await pass(clock, 100);
  }
  assert.equal(health.of("nas").state, "online");
  assert(origin.calls.stat >= 2 && origin.calls.stat <= 4, `${origin.calls.stat} probes`);
});

Deno.test("HealthMonitor.refusal() lets a call through again after 15 s", async () => {
  await using test = scene();
  const { clock, health } = test;
  const { origin } = test.watch("nas");
  origin.mode = { kind: "error", code: "denied" };
  await health.recheck();
  assert.equal(health.refusal("nas")?.code, "denied");
  await pass(clock, 14_900);
  assert.equal(health.refusal("nas")?.code, "denied");
  await pass(clock, 200);
  assert.equal(health.refusal("nas"), undefined);
});

Deno.test("HealthMonitor.order() puts the well before the slow, the slow before those offline", async () => {
  await using test = scene();
  const { clock, health } = test;
  const order = (): readonly string[] => health.order(["a", "b", "c", "new"], (name) => name);
  const [a, b, c] = [test.watch("a"), test.watch("b", "local"), test.watch("c")];
  test.watch("new");
  assert.deepEqual(order(), ["a", "b", "c", "new"]);
  down(b.origin);
  a.origin.mode = { kind: "slow", ms: 300 };
  c.origin.mode = { kind: "slow", ms: 10 };
  for (let i = 0; i < 3; i += 1) {
    assert.deepEqual(order().indexOf("a"), 0, "a single call says little");
    const checked = health.recheck();
    await pass(clock, 400, 10);
    await checked;
  }
  assert.deepEqual(order(), ["c", "new", "a", "b"]);
  assert.equal(health.of("a").state, "degraded");
  for (const { origin } of [a, b, c]) origin.mode = { kind: "healthy" };
  for (let i = 0; i < 15; i += 1) await health.recheck();
  assert.deepEqual(order(), ["a", "b", "c", "new"]);
});

Deno.test("HealthMonitor calls no origin slow beside one that is offline", async () => {
  await using test = scene();
  const { clock, health } = test;
  const [slow, fast] = [test.watch("slow"), test.watch("fast", "local")];
  slow.origin.mode = { kind: "slow", ms: 300 };
  for (let i = 0; i < 3; i += 1) {
    const checked = health.recheck();
    await pass(clock, 400);
    await checked;
  }
  assert.equal(health.of("slow").state, "degraded");
  down(fast.origin);
  const again = health.recheck();
  await pass(clock, 400);
  await again;
  assert.equal(health.of("slow").state, "online");
});

Deno.test("HealthMonitor.overtaken() counts as a failure", async () => {
  await using test = scene();
  const { clock, health } = test;
  test.watch("nas");
  for (const state of ["degraded", "degraded", "offline"]) {
    await clock.advance(2_000);
    health.overtaken("nas", clock.monotonic() - 1_500);
    assert.equal(health.of("nas").state, state);
  }
  assert.match(health.of("nas").lastError ?? "", /nothing in 1500 ms/);
});

Deno.test("HealthMonitor logs an outage as one line, one line a minute, and one at its end", async () => {
  await using test = scene();
  const { clock, health, lines, fields } = test;
  const { origin, watching, file } = test.watch("nas");
  health.start();
  await pass(clock, 1_000);
  down(origin);
  for (let i = 0; i < 300; i += 1) {
    await rejects(watching.read(file, whole, { signal: never }), "unavailable");
    await pass(clock, 1_000, 1_000);
  }
  origin.mode = { kind: "healthy" };
  await pass(clock, 10_000);
  const calls = (line: number): number => Number(fields[line]?.failedCalls);
  assert.deepEqual(lines, [
    "warning: Origin fails",
    ...Array.from({ length: 5 }, () => "warning: Origin is offline"),
    "info: Origin answers again",
  ]);
  assert(calls(1) >= 59 && calls(2) > calls(1));
  down(origin);
  await pass(clock, 70_000);
  await pass(clock, 60_000);
  assert.equal(lines.at(-1), "warning: Origin is offline");
  assert(Number(fields.at(-1)?.failedCalls) < 30, "each outage counts its own");
  assert.equal(fields[1]?.lastError, "No route to host");
  assert.equal(fields[1]?.seconds, 57);
});

Deno.test("HealthMonitor logs no more than a line a minute for an origin that comes and goes", async () => {
  await using test = scene();
  const { clock, lines } = test;
  const { origin, watching, file } = test.watch("nas");
  origin.mode = { kind: "every", nth: 2 };
  for (let i = 0; i < 90; i += 1) {
    await watching.read(file, whole, { signal: never }).catch(() => undefined);
    await pass(clock, 1_000, 1_000);
  }
  assert.equal(lines.length, 4);
});

Deno.test("HealthMonitor logs an unplanned error as one", async () => {
  await using test = scene();
  const { lines } = test;
  const { origin, watching } = test.watch("nas");
  origin.inner.stat = () => Promise.reject(new TypeError("bug"));
  await assert.rejects(watching.stat("song", { signal: never }), /bug/);
  assert.deepEqual(lines, ["error: Origin failed in a way nobody planned for"]);
});

Deno.test("HealthMonitor ends all that it began when it is disposed of", async () => {
  const test = scene();
  const { clock, health } = test;
  const { origin } = test.watch("nas", "local");
  origin.mode = { kind: "hang", heeds: false };
  health.start();
  test.watch("late");
  await pass(clock, 1_000);
  await health[Symbol.asyncDispose]();
  assert.deepEqual(clock.sleeping, []);
  assert.equal(health.of("nas").state, "unknown");
  assert.equal(health.of("late").state, "online");
  origin.endHung();
});
