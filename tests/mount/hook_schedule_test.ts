import fc from "fast-check";
import assert from "node:assert/strict";
import { HookSchedule, QUIET_MS, SCAN_WAIT_MS_MAX } from "../../src/mount/hook_schedule.ts";
import type { EntryEvent } from "../../src/library/library.ts";

const INTERVAL_MS = 10_000;

const added = (path: string): EntryEvent[] => [{ kind: "added", path }];

const pathsOf = ({ changes }: { changes: { path: string }[] }): string[] =>
  changes.map(({ path }) => path);

Deno.test("HookSchedule waits until changes come no more, and not for ever", () => {
  const schedule = new HookSchedule({ minIntervalMs: INTERVAL_MS });
  assert.equal(schedule.dueMs(), Infinity);
  schedule.changed(added("a"), 1_000);
  assert.equal(schedule.dueMs(), 1_000 + QUIET_MS);
  for (let ms = 2_000; ms <= 60_000; ms += 1_000) schedule.changed(added(`${ms}`), ms);
  assert.equal(schedule.dueMs(), 1_000 + INTERVAL_MS);
});

Deno.test("HookSchedule gathers what changes while a hook runs and until its interval is over", () => {
  const schedule = new HookSchedule({ minIntervalMs: INTERVAL_MS });
  schedule.changed(added("a"), 0);
  assert.deepEqual(pathsOf(schedule.begin(QUIET_MS)), ["a"]);
  schedule.changed(added("b"), QUIET_MS + 1);
  assert.equal(schedule.dueMs(), Infinity, "one run at a time");
  schedule.end({ isDone: true });
  assert.equal(schedule.dueMs(), QUIET_MS + INTERVAL_MS);
  schedule.changed(added("c"), QUIET_MS + 2);
  assert.deepEqual(pathsOf(schedule.begin(QUIET_MS + INTERVAL_MS)), ["b", "c"]);
  schedule.end({ isDone: true });
  assert.equal(schedule.dueMs(), Infinity);
});

Deno.test("HookSchedule tells what failed once more, with the next change, and then no more", () => {
  const schedule = new HookSchedule({ minIntervalMs: 0 });
  schedule.changed(added("a"), 0);
  schedule.begin(QUIET_MS);
  schedule.end({ isDone: false });
  assert.equal(schedule.dueMs(), Infinity, "not by itself");
  schedule.changed(added("b"), 10_000);
  assert.deepEqual(pathsOf(schedule.begin(12_000)), ["a", "b"]);
  schedule.end({ isDone: false });
  schedule.changed(added("c"), 20_000);
  assert.deepEqual(pathsOf(schedule.begin(22_000)), ["b", "c"]);
  schedule.end({ isDone: true });
  schedule.changed(added("d"), 30_000);
  assert.deepEqual(pathsOf(schedule.begin(32_000)), ["d"]);
});

Deno.test("HookSchedule waits for the end of a daemon's first scan, however long that takes", () => {
  const schedule = new HookSchedule({ minIntervalMs: INTERVAL_MS });
  schedule.scanBegan({ isFirst: true });
  for (let ms = 0; ms < 3_600_000; ms += 1_000) {
    schedule.changed(added(`${ms}`), ms);
    assert.equal(schedule.dueMs(), Infinity);
  }
  schedule.scanEnded();
  assert(schedule.dueMs() < 3_600_000);
  assert.equal(schedule.begin(3_600_000).added, 3_600);
});

Deno.test("HookSchedule waits a while for the end of any other scan", () => {
  const schedule = new HookSchedule({ minIntervalMs: INTERVAL_MS });
  schedule.scanBegan({ isFirst: false });
  schedule.scanBegan({ isFirst: false });
  schedule.changed(added("a"), 1_000);
  assert.equal(schedule.dueMs(), 1_000 + SCAN_WAIT_MS_MAX);
  schedule.scanEnded();
  assert.equal(schedule.dueMs(), 1_000 + SCAN_WAIT_MS_MAX);
  schedule.scanEnded();
  assert.equal(schedule.dueMs(), 1_000 + QUIET_MS);
});

Deno.test("HookSchedule never runs a hook twice in its interval, and tells every change", () => {
  const steps = fc.array(fc.record({ waitMs: fc.nat(20_000), takesMs: fc.nat(15_000) }));
  fc.assert(fc.property(steps, (changes) => {
    const schedule = new HookSchedule({ minIntervalMs: INTERVAL_MS });
    const told = new Set<string>();
    const starts: number[] = [];
    let nowMs = 0;
    let endMs = Infinity;
    const goOn = (untilMs: number): void => {
      for (;;) {
        const nextMs = Math.min(endMs, schedule.dueMs());
        if (nextMs > untilMs || nextMs === Infinity) break;
        nowMs = Math.max(nowMs, nextMs);
        if (endMs <= nowMs) {
          schedule.end({ isDone: true });
          endMs = Infinity;
        } else {
          for (const path of pathsOf(schedule.begin(nowMs))) told.add(path);
          starts.push(nowMs);
          endMs = nowMs + (changes[starts.length]?.takesMs ?? 0);
        }
      }
      nowMs = Math.max(nowMs, untilMs === Infinity ? nowMs : untilMs);
    };
    for (const [i, { waitMs }] of changes.entries()) {
      goOn(nowMs + waitMs);
      schedule.changed(added(`${i}`), nowMs);
    }
    goOn(Infinity);
    assert.equal(told.size, changes.length);
    for (const [i, start] of starts.entries()) {
      if (i > 0) assert(start - (starts[i - 1] ?? 0) >= INTERVAL_MS);
    }
  }));
});
