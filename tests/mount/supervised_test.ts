import assert from "node:assert/strict";
import { silentLog } from "../../src/base/log.ts";
import { SupervisedTasks } from "../../src/mount/supervised.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

Deno.test("SupervisedTasks starts a task that fails again, later each time, and then gives it up", async () => {
  const clock = new VirtualClock();
  await using tasks = new SupervisedTasks(clock, silentLog);
  const startedAt: number[] = [];
  tasks.start("scan", () => {
    startedAt.push(clock.monotonic());
    return Promise.reject(new Error("no"));
  });

  await clock.settle();
  for (let i = 0; i < 10; i += 1) await clock.advance(clock.sleeping[0] ?? 0);

  assert.deepEqual(startedAt, [0, 0, 1_000, 6_000, 36_000, 66_000]);
  assert.deepEqual(tasks.states, [{ name: "scan", state: "failed", restarts: 5 }]);
});

Deno.test("SupervisedTasks forgets failures of a task that ran well for a minute", async () => {
  const clock = new VirtualClock();
  await using tasks = new SupervisedTasks(clock, silentLog);
  let starts = 0;
  tasks.start("poll", async (signal) => {
    starts += 1;
    await clock.sleep(60_000, signal);
    throw new Error("no");
  });
  await clock.settle();
  for (let i = 0; i < 20; i += 1) await clock.advance(clock.sleeping[0] ?? 0);
  assert(starts > 6, `started ${starts} times`);
  assert.equal(tasks.states[0]?.state, "running");
});

Deno.test("SupervisedTasks ends its tasks when it is disposed of, and calls that no failure", async () => {
  const clock = new VirtualClock();
  const errors: string[] = [];
  const tasks = new SupervisedTasks(clock, { ...silentLog, error: (text) => errors.push(text) });
  tasks.start("poll", (signal) => clock.sleep(1e9, signal));
  await clock.settle();
  await tasks[Symbol.asyncDispose]();
  assert.deepEqual(errors, []);
});

Deno.test("SupervisedTasks.startGivenUp() starts again what was given up, and nothing else", async () => {
  const clock = new VirtualClock();
  await using tasks = new SupervisedTasks(clock, silentLog);
  let isWell = false;
  let polls = 0;
  tasks.start("poll", async (signal) => {
    polls += 1;
    await clock.sleep(1e9, signal);
  });
  tasks.start("scan", () => isWell ? Promise.resolve() : Promise.reject(new Error("no")));
  await clock.settle();
  assert.deepEqual(tasks.startGivenUp(), []);
  for (let i = 0; i < 6; i += 1) await clock.advance(30_000);
  assert.equal(tasks.states[1]?.state, "failed");

  isWell = true;
  assert.deepEqual(tasks.startGivenUp(), ["scan"]);
  await clock.settle();

  assert.equal(tasks.states[1]?.state, "done");
  assert.equal(polls, 1);
});
