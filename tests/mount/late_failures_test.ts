import assert from "node:assert/strict";
import { LateFailures } from "../../src/mount/late_failures.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

const EIO = 5;
const range = { offset: 4096, length: 131_072 };

Deno.test("LateFailures gives a part of what was just given up the same error", async () => {
  const clock = new VirtualClock();
  const late = new LateFailures(clock);
  await clock.advance(30_000);
  late.note(7, range, { origin: "nas", errno: EIO, beganMs: 0 });
  assert.equal(late.errnoOf(7, range), EIO);
  assert.equal(late.errnoOf(7, { offset: 8192, length: 4096 }), EIO);
  assert.equal(late.errnoOf(8, range), undefined, "another file");
  assert.equal(late.errnoOf(7, { offset: 0, length: 8192 }), undefined, "more than that");
  await clock.advance(201);
  assert.equal(late.errnoOf(7, range), undefined, "who asks later has all the time");
});

Deno.test("LateFailures forgets those of an origin that answers again", async () => {
  const clock = new VirtualClock();
  const late = new LateFailures(clock);
  await clock.advance(30_000);
  late.note(7, range, { origin: "nas", errno: EIO, beganMs: 0 });
  late.note(8, range, { origin: "bucket", errno: EIO, beganMs: 0 });
  late.answered("nas");
  assert.equal(late.errnoOf(7, range), undefined);
  assert.equal(late.errnoOf(8, range), EIO);
});

Deno.test("LateFailures forgets what failed soon: it is simply tried again", async () => {
  const clock = new VirtualClock();
  const late = new LateFailures(clock);
  await clock.advance(999);
  late.note(7, range, { origin: "nas", errno: EIO, beganMs: 0 });
  assert.equal(late.errnoOf(7, range), undefined);
});
