import assert from "node:assert/strict";
import type { Clock } from "../../src/base/clock.ts";
import { createLog, type LogFormat } from "../../src/cli/log.ts";

const clock: Clock = { now: () => 0, monotonic: () => 0, sleep: () => Promise.resolve() };

function logged(format: LogFormat, level: "debug" | "info" | "error" = "info"): string[] {
  const lines: string[] = [];
  const log = createLog({ level, format, clock, write: (text) => lines.push(text) });
  log.debug("hidden");
  log.warning("A chunk is\nbad", { id: "ab c", count: 3n });
  log.error("Failed", { error: new TypeError("oops", { cause: new Error("why") }) });
  return lines;
}

Deno.test("createLog() writes one JSON object a line, with an error's stack and causes", () => {
  const [warning, error] = logged("json").map((line) => JSON.parse(line));
  assert.deepEqual(warning, {
    time: "1970-01-01T00:00:00.000Z",
    level: "warning",
    message: "A chunk is\nbad",
    id: "ab c",
    count: "3",
  });
  assert.equal(error.error.message, "oops");
  assert.match(error.error.stack, /TypeError: oops[^]*caused by: Error: why/);
});

Deno.test("createLog() gives journald a priority on every line it writes", () => {
  const lines = logged("journald", "debug");
  assert.equal(lines[0], "<7>hidden\n");
  assert.equal(lines[1], '<4>A chunk is bad {"id":"ab c","count":"3"}\n');
  assert.match(lines[2] ?? "", /^<3>Failed \{.*caused by.*\}\n$/);
  assert(lines.every((line) => line.indexOf("\n") === line.length - 1));
});

Deno.test("createLog() writes text for people, and leaves out what is below its level", () => {
  const lines = logged("text");
  assert.equal(lines.length, 2);
  assert.equal(lines[0], '1970-01-01T00:00:00.000Z warning A chunk is bad id="ab c" count="3"\n');
  assert.match(lines[1] ?? "", /error {3}Failed error="oops"\n {4}TypeError: oops/);
  assert.equal(logged("text", "error").length, 1);
});
