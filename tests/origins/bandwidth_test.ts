import fc from "fast-check";
import assert from "node:assert/strict";
import { BandwidthLimit } from "../../src/origins/bandwidth.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { never, pass, watchSettled } from "./wrapped.ts";

Deno.test("BandwidthLimit.take() costs nothing without a limit", () => {
  const limit = new BandwidthLimit(undefined, new VirtualClock());
  assert.equal(limit.take(1e12, { signal: never }), undefined);
  assert.equal(limit.take(1e12, { signal: never }), undefined);
  assert.equal(limit.pieceBytes, Infinity);
});

Deno.test("BandwidthLimit.pieceBytes is a quarter of a second, at least 16 KiB", () => {
  assert.equal(new BandwidthLimit(4_000_000, new VirtualClock()).pieceBytes, 1_000_000);
  assert.equal(new BandwidthLimit(10_000, new VirtualClock()).pieceBytes, 16_384);
});

Deno.test("BandwidthLimit.take() holds the rate over any second", async () => {
  const rates = fc.integer({ min: 65_536, max: 4_000_000 });
  const sizes = fc.array(fc.double({ min: 0.01, max: 1, noNaN: true }), { maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(rates, sizes, async (rate, shares) => {
      const clock = new VirtualClock();
      const limit = new BandwidthLimit(rate, clock);
      const granted: { at: number; bytes: number }[] = [];
      const all = shares.map(async (share) => {
        const bytes = Math.ceil(limit.pieceBytes * share);
        await limit.take(bytes, { signal: never });
        granted.push({ at: clock.monotonic(), bytes });
      });
      await pass(clock, 8_000, 5);
      await Promise.all(all);
      for (const { at } of granted) {
        const within = granted.filter((other) => other.at >= at && other.at < at + 1_000);
        const sum = within.reduce((total, { bytes }) => total + bytes, 0);
        // The piece that is begun just before the second is over is still on its way after it.
        assert(sum <= rate + limit.pieceBytes, `${sum} bytes at ${rate} a second`);
      }
      const total = shares.reduce((sum, share) => sum + Math.ceil(limit.pieceBytes * share), 0);
      const lastMs = granted.at(-1)?.at ?? 0;
      assert(lastMs <= total / rate * 1_000 + 100 * shares.length, "slower than it needs to be");
    }),
    { numRuns: 10 },
  );
});

Deno.test("BandwidthLimit.take() lets readers go before the background, each in order", async () => {
  const clock = new VirtualClock();
  const limit = new BandwidthLimit(1_000, clock);
  const order: string[] = [];
  const take = async (name: string, isBackground: boolean): Promise<void> => {
    await limit.take(1_000, { signal: never, isBackground });
    order.push(name);
  };
  const all = [
    take("first", true),
    take("warm 1", true),
    take("warm 2", true),
    take("reader 1", false),
    take("reader 2", false),
  ];
  await pass(clock, 4_000);
  await Promise.all(all);
  assert.deepEqual(order, ["first", "reader 1", "reader 2", "warm 1", "warm 2"]);
});

Deno.test("BandwidthLimit.take() lets whoever leaves go, without its bytes", async () => {
  const clock = new VirtualClock();
  const limit = new BandwidthLimit(1_000, clock);
  assert.equal(limit.take(1_000, { signal: never }), undefined);
  const leaver = new AbortController();
  const left = limit.take(1_000_000, { signal: leaver.signal });
  const next = limit.take(1_000, { signal: never });
  leaver.abort(new Error("enough"));
  await assert.rejects(left ?? Promise.resolve(), /enough/);
  await pass(clock, 1_000);
  await next;
  const last = new AbortController();
  const alone = limit.take(1_000, { signal: last.signal });
  last.abort(new Error("enough"));
  await assert.rejects(alone ?? Promise.resolve(), /enough/);
  assert.deepEqual(clock.sleeping, []);
});

Deno.test("BandwidthLimit.take() lets nobody overtake who waits", async () => {
  const clock = new VirtualClock();
  const limit = new BandwidthLimit(1_000, clock);
  limit.take(1_000, { signal: never });
  const first = limit.take(1_000, { signal: never });
  // The time has come, and the timer has not had its turn yet.
  const advanced = clock.advance(1_000);
  const second = limit.take(1_000, { signal: never });
  assert(second);
  await advanced;
  await first;
  assert.deepEqual(clock.sleeping, [1_000]);
  await pass(clock, 1_000);
  await second;
});

Deno.test("BandwidthLimit.setRate() counts for those who wait already", async () => {
  const clock = new VirtualClock();
  const limit = new BandwidthLimit(1_000, clock);
  limit.take(100_000, { signal: never });
  const faster = limit.take(1_000_000, { signal: never });
  assert(faster);
  const state = watchSettled(faster);
  limit.setRate(100_000);
  await pass(clock, 900);
  assert.equal(state.isSettled, false, "what was granted before is still to be paid for");
  await pass(clock, 100);
  await faster;
  const free = limit.take(1, { signal: never });
  limit.setRate(undefined);
  await free;
  assert.equal(limit.take(1e9, { signal: never }), undefined);
  assert.deepEqual(clock.sleeping, []);
});
