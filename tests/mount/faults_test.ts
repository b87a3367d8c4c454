import assert from "node:assert/strict";
import { silentLog } from "../../src/base/log.ts";
import { catchFaults } from "../../src/mount/faults.ts";
import type { StopReason } from "../../src/mount/stop_signal.ts";

/** What became of faults, until it is disposed of. */
function caught(): { lines: unknown[]; stops: StopReason[]; givenUp: number } & Disposable {
  const seen = { lines: [] as unknown[], stops: [] as StopReason[], givenUp: 0 };
  const catching = catchFaults({
    log: {
      ...silentLog,
      error: (message, fields) => seen.lines.push([message, fields?.["error"]]),
    },
    stop: { stop: (reason) => seen.stops.push(reason) },
    giveUp: () => seen.givenUp += 1,
  });
  return Object.assign(seen, { [Symbol.dispose]: () => catching[Symbol.dispose]() });
}

/** Rejections are told of when everything else has had its turn. */
const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

Deno.test("catchFaults() logs a rejection that nobody handles, and stops the daemon", async () => {
  using seen = caught();
  const fault = new TypeError("a bug");
  Promise.reject(fault);
  await turn();
  assert.deepEqual(seen.lines, [["Unhandled rejection", fault]]);
  assert.deepEqual([seen.stops, seen.givenUp], [["fault"], 0]);
});

Deno.test("catchFaults() logs an error that nobody catches, and stops the daemon", async () => {
  using seen = caught();
  const fault = new TypeError("a bug");
  queueMicrotask(() => {
    throw fault;
  });
  await turn();
  assert.deepEqual(seen.lines, [["Unhandled error", fault]]);
  assert.deepEqual([seen.stops, seen.givenUp], [["fault"], 0]);
});

Deno.test("catchFaults() gives up once, when faults come one after another", async () => {
  using seen = caught();
  for (let i = 0; i < 5; i += 1) {
    Promise.reject(new Error(`${i}`));
    await turn();
    assert.equal(seen.givenUp, i < 2 ? 0 : 1);
  }
  assert.equal(seen.lines.length, 5);
});
