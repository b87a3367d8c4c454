import assert from "node:assert/strict";
import type { Log } from "../../src/base/log.ts";
import { silentLog } from "../../src/base/log.ts";
import { ReadFailures } from "../../src/mount/read_failures.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

Deno.test("ReadFailures tells of the first failure, and then once a minute of all", async () => {
  const lines: { level: string; fields: unknown }[] = [];
  const noting = (level: string) => (_message: string, fields?: unknown): void => {
    lines.push({ level, fields });
  };
  const log: Log = { ...silentLog, warning: noting("warning"), debug: noting("debug") };
  const clock = new VirtualClock();
  const failures = new ReadFailures({ clock, log });
  const error = new Error("no answer");
  for (let i = 0; i < 100; i += 1) failures.note({ subject: `track ${i}`, error });
  await clock.advance(60_000);
  failures.note({ subject: "last", error });

  const warnings = lines.filter(({ level }) => level === "warning");
  assert.deepEqual(warnings.map(({ fields }) => fields), [
    { subject: "track 0", error },
    { subject: "last", error, othersSince: 99 },
  ]);
  assert.equal(lines.length, 101);
});
