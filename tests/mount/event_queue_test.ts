import fc from "fast-check";
import assert from "node:assert/strict";
import type { DaemonEvent } from "../../src/mount/daemon_events.ts";
import { EventQueue, QUEUE_WEIGHT_MAX } from "../../src/mount/event_queue.ts";

const file = (i: number): DaemonEvent => ({ event: "added", time_ms: i, path: `${i}` });

const down: DaemonEvent = { event: "origin_down", time_ms: 0, origin: "nas", reason: null };

/** Pushes files until one is lost. */
function fill(queue: EventQueue): number {
  let count = 0;
  for (; count < QUEUE_WEIGHT_MAX / 128; count += 1) queue.push(file(count));
  return count;
}

function takeAll(queue: EventQueue): DaemonEvent[] {
  const taken: DaemonEvent[] = [];
  for (;;) {
    const some = queue.take();
    if (some.length === 0) return taken;
    taken.push(...some);
  }
}

Deno.test("EventQueue gives events in order, and says when there are some", async () => {
  const queue = new EventQueue(() => 0);
  let isFilled = false;
  const filled = queue.filled().then(() => isFilled = true);
  await Promise.resolve();
  assert(!isFilled);
  for (let i = 0; i < 5; i += 1) queue.push(file(i));
  await filled;
  assert.deepEqual(queue.take(), [0, 1, 2, 3, 4].map(file));
  queue.push(file(5));
  await queue.filled();
  assert.deepEqual(queue.take(), [file(5)]);
  queue.close();
  await queue.filled();
  assert.deepEqual(queue.take(), []);
});

Deno.test("EventQueue counts what does not fit, in its place, and tells rare events all the same", () => {
  const queue = new EventQueue(() => 77);
  const pushed = fill(queue);
  queue.push(down);
  const taken = takeAll(queue);
  const lostAt = taken.findIndex(({ event }) => event === "lost");
  const lost = taken[lostAt];
  assert(lost?.event === "lost" && lost.time_ms === 77);
  assert.equal(lostAt + lost.count, pushed);
  assert.deepEqual(taken.slice(lostAt + 1), [down]);
  queue.push(file(1));
  assert.deepEqual(takeAll(queue), [file(1)]);
});

Deno.test("EventQueue tells of a loss although nothing follows it", () => {
  const queue = new EventQueue(() => 0);
  const pushed = fill(queue);
  const taken = takeAll(queue);
  const last = taken.at(-1);
  assert(last?.event === "lost");
  assert.equal(taken.length - 1 + last.count, pushed);
});

Deno.test("EventQueue stays within its bound and accounts for every event, whatever comes", () => {
  const steps = fc.array(
    fc.oneof(
      fc.record({ push: fc.nat(40), chars: fc.integer({ min: 1, max: 1_000_000 }) }),
      fc.record({ take: fc.constant(true) }),
      fc.constant({ rare: true as const }),
    ),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(steps, (all) => {
      const queue = new EventQueue(() => 0);
      let pushed = 0;
      const taken: DaemonEvent[] = [];
      for (const step of all) {
        if ("take" in step) taken.push(...queue.take());
        else if ("rare" in step) {
          queue.push(down);
          pushed += 1;
        } else {
          for (let i = 0; i < step.push; i += 1) {
            queue.push({ event: "added", time_ms: 0, path: "x".repeat(step.chars) });
            pushed += 1;
          }
        }
      }
      const left = takeAll(queue);
      const kept = left.reduce((sum, each) => sum + ("path" in each ? 2 * each.path.length : 0), 0);
      assert(kept <= QUEUE_WEIGHT_MAX, "what waited was bounded");
      taken.push(...left);
      const told = taken.reduce((sum, each) => sum + (each.event === "lost" ? each.count : 1), 0);
      assert.equal(told, pushed);
    }),
    { numRuns: 50 },
  );
});

Deno.test("EventQueue.take() gives as many as one message can hold, and at least one", () => {
  const queue = new EventQueue(() => 0);
  const path = "x".repeat(100_000);
  for (let i = 0; i < 20; i += 1) queue.push({ event: "added", time_ms: 0, path });
  assert.equal(queue.take().length, 6);
  const huge = new EventQueue(() => 0);
  huge.push({ event: "added", time_ms: 0, path: "x".repeat(2_000_000) });
  assert.equal(huge.take().length, 1);
});
