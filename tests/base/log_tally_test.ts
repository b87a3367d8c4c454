import assert from "node:assert/strict";
import { type Log, silentLog } from "../../src/base/log.ts";
import { LogTally } from "../../src/base/log_tally.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

Deno.test("LogTally counts what needs a look, and passes everything on", () => {
  const passed: unknown[][] = [];
  const note = (level: keyof Log) => (...given: unknown[]): void =>
    void passed.push([level, ...given]);
  const clock = new VirtualClock(1_000);
  const inner = {
    debug: note("debug"),
    info: note("info"),
    warning: note("warning"),
    error: note("error"),
  };
  const tally = new LogTally(inner, clock);
  assert.deepEqual([tally.warnings, tally.errors, tally.lastError], [0, 0, null]);
  tally.debug("a");
  tally.info("b", { x: 1 });
  tally.warning("c");
  assert.deepEqual([tally.warnings, tally.errors, tally.lastErrorMs], [1, 0, null]);
  const error = new Error("it\n  fell");
  tally.error("Broken", { error });
  assert.deepEqual([tally.warnings, tally.errors], [1, 1]);
  assert.deepEqual([tally.lastError, tally.lastErrorMs], ["Broken: it fell", 1_000]);
  tally.error("Again");
  assert.equal(tally.lastError, "Again");
  assert.deepEqual(passed, [
    ["debug", "a", undefined],
    ["info", "b", { x: 1 }],
    ["warning", "c", undefined],
    ["error", "Broken", { error }],
    ["error", "Again", undefined],
  ]);
});

Deno.test("LogTally says of an error's cause what the log says", () => {
  const tally = new LogTally(silentLog, new VirtualClock());
  tally.error("A request failed", { error: "TypeError: x\n    at y" });
  assert.equal(tally.lastError, "A request failed");
});
