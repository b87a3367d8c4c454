import fc from "fast-check";
import assert from "node:assert/strict";
import type { Health, Observation } from "../../src/origins/health.ts";
import { comparableMs, observe, slowOnes, UNKNOWN_HEALTH } from "../../src/origins/health.ts";

const answered = (latencyMs: number, nowMs = 0): Observation => ({
  kind: "answered",
  latencyMs,
  startedMs: nowMs,
  nowMs,
});
const failed = (nowMs: number, startedMs = nowMs): Observation => ({
  kind: "failed",
  message: `failed at ${nowMs}`,
  startedMs,
  nowMs,
});
const denied: Observation = { kind: "denied", message: "no key", startedMs: 0, nowMs: 0 };

function after(kind: "local" | "remote", ...seen: Observation[]): Health {
  return seen.reduce((health, one) => observe(health, one, kind), UNKNOWN_HEALTH);
}

Deno.test("observe() takes a remote origin offline at the third failure in a row, a local one at the first", () => {
  assert.equal(after("local", answered(1), failed(1)).state, "offline");
  assert.equal(after("remote", answered(1), failed(1)).state, "degraded");
  assert.equal(after("remote", answered(1), failed(1), failed(2)).state, "degraded");
  assert.equal(after("remote", answered(1), failed(1), failed(2), failed(3)).state, "offline");
  const between = [failed(1), failed(2), answered(1), failed(3), failed(4)];
  assert.equal(after("remote", ...between).state, "degraded");
  assert.equal(after("remote", failed(1), failed(2)).lastError, "failed at 2");
});

Deno.test("observe() counts calls that failed side by side as one", () => {
  const sideBySide = Array.from({ length: 16 }, (_, i) => failed(10_000 + i, 0));
  assert.equal(after("remote", ...sideBySide).failures, 1);
  assert.equal(after("remote", ...sideBySide, failed(10_200, 10_100)).failures, 2);
});

Deno.test("observe() takes an origin that refuses us offline at once, and keeps why", () => {
  const health = after("remote", answered(1), denied);
  assert.deepEqual([health.state, health.isDenied, health.lastError], ["offline", true, "no key"]);
  assert.equal(observe(health, failed(1), "remote").state, "offline");
});

Deno.test("observe() brings an origin back with one answer, whatever was before", () => {
  const kinds = fc.constantFrom<"local" | "remote">("local", "remote");
  const steps = fc.array(fc.constantFrom(answered(3), failed(1), failed(2), denied));
  fc.assert(fc.property(kinds, steps, (kind, before) => {
    const health = after(kind, ...before, answered(7));
    assert.deepEqual(
      [health.state, health.failures, health.isDenied, health.lastError],
      ["online", 0, false, null],
    );
    assert.equal(health.latencies[0], 7);
  }));
});

Deno.test("observe() keeps the median of the last 15 latencies", () => {
  const latencies = fc.array(fc.integer({ min: 0, max: 9_000 }), { minLength: 1, maxLength: 40 });
  fc.assert(fc.property(latencies, (all) => {
    const { medianMs } = after("remote", ...all.map((ms) => answered(ms)));
    const last = all.slice(-15).sort((a, b) => a - b);
    const below = last.filter((ms) => ms < (medianMs ?? NaN)).length;
    const above = last.filter((ms) => ms > (medianMs ?? NaN)).length;
    assert(below <= last.length / 2 && above <= last.length / 2);
  }));
  assert.equal(after("remote", answered(100), answered(200)).medianMs, 150);
});

Deno.test("observe() takes one latency of calls that lay side by side", () => {
  const sideBySide = [3, 1, 2].map((i) => answered(700 + i, 0));
  const [first, ...rest] = sideBySide.map((seen, i) => ({ ...seen, nowMs: 700 + i }));
  assert(first);
  const health = after("remote", first, ...rest);
  assert.deepEqual(health.latencies, [703]);
  assert.deepEqual(observe(health, answered(30, 702), "remote").latencies, [30, 703]);
});

Deno.test("comparableMs() is of three latencies at least", () => {
  assert.equal(comparableMs(after("remote", answered(700), answered(700))), null);
  assert.equal(comparableMs(after("remote", answered(700), answered(30), answered(30))), 30);
});

Deno.test("slowOnes() are those above 250 ms and four times another's median", () => {
  const cases: [Record<string, number | null>, string[]][] = [
    [{ nas: 2_000 }, []],
    [{ nas: 2_000, bucket: null }, []],
    [{ nas: 240, bucket: 10 }, []],
    [{ nas: 260, bucket: 10 }, ["nas"]],
    [{ nas: 1_000, bucket: 300 }, []],
    [{ nas: 1_300, bucket: 300, third: 290 }, ["nas"]],
    [{ nas: 5_000, bucket: 300, third: 10 }, ["nas", "bucket"]],
  ];
  for (const [medians, slow] of cases) {
    assert.deepEqual([...slowOnes(new Map(Object.entries(medians)), new Set())], slow);
  }
});

Deno.test("slowOnes() stay slow until they are well below the limits", () => {
  const slow = (nas: number, bucket: number): boolean =>
    slowOnes(new Map([["nas", nas], ["bucket", bucket]]), new Set(["nas"])).has("nas");
  assert.equal(slow(240, 10), true);
  assert.equal(slow(160, 10), true);
  assert.equal(slow(140, 10), false);
  assert.equal(slow(1_000, 300), true);
  assert.equal(slow(700, 300), false);
});

Deno.test("slowOnes() never are all of them", () => {
  const medians = fc.dictionary(
    fc.string(),
    fc.option(fc.integer({ min: 0, max: 99_999 })),
    { minKeys: 1 },
  );
  fc.assert(fc.property(medians, (all) => {
    const known = Object.values(all).filter((ms) => ms !== null).length;
    const slow = slowOnes(new Map(Object.entries(all)), new Set());
    assert(slow.size === 0 || slow.size < known);
  }));
});
