import assert from "node:assert/strict";
import { silentLog } from "../../src/base/log.ts";
import { BandwidthLimit } from "../../src/origins/bandwidth.ts";
import { failover } from "../../src/origins/failover.ts";
import { guardOrigin } from "../../src/origins/guarded.ts";
import { HealthMonitor } from "../../src/origins/health_monitor.ts";
import type { Origin } from "../../src/origins/origin.ts";
import { retrying } from "../../src/origins/retrying.ts";
import { timeLimited } from "../../src/origins/time_limit.ts";
import type { FaultMode } from "../support/faults.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { faulty, pass, song } from "./wrapped.ts";

/** A signal that lives on, and how many listeners it has. */
function countingSignal(): { signal: AbortSignal; listeners: Set<unknown> } {
  const { signal } = new AbortController();
  const listeners = new Set<unknown>();
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...all: Parameters<typeof addEventListener>) => {
    listeners.add(all[1]);
    addEventListener.apply(signal, all);
  };
  signal.removeEventListener = (...all: Parameters<typeof removeEventListener>) => {
    listeners.delete(all[1]);
    removeEventListener.apply(signal, all);
  };
  return { signal, listeners };
}

const wrappers: Record<string, (inner: Origin, clock: VirtualClock) => Origin> = {
  "retrying()": (inner, clock) => retrying(inner, { clock, random: () => 0.5 }),
  "timeLimited()": (inner, clock) => timeLimited(inner, { clock, stallMs: 1_000 }),
  "failover()": (inner, clock) => {
    const health = new HealthMonitor({ clock, log: silentLog, random: () => 0 });
    const member = { origin: inner, locate: () => ({ path: "song", size: 1000, version: "v1" }) };
    return failover([member, member], { clock, health });
  },
  "guardOrigin()": (inner, clock) => {
    const health = new HealthMonitor({ clock, log: silentLog, random: () => 0 });
    const bandwidth = new BandwidthLimit(20_000, clock);
    return guardOrigin(inner, { kind: "remote", clock, health, bandwidth });
  },
};

const modes: FaultMode[] = [
  { kind: "healthy" },
  { kind: "every", nth: 2 },
  { kind: "slow", ms: 400 },
  { kind: "partial", count: 100 },
];

for (const [name, wrap] of Object.entries(wrappers)) {
  Deno.test(`${name} leaves no listener on a signal that lives on`, async () => {
    for (const mode of modes) {
      const clock = new VirtualClock();
      const { origin, file } = faulty("nas", clock);
      origin.mode = mode;
      const wrapped = wrap(origin, clock);
      const { signal, listeners } = countingSignal();
      const calls = Array.from({ length: 40 }, () => [
        wrapped.read(file, { offset: 0, length: song.length }, { signal }),
        wrapped.stat("song", { signal }),
        Array.fromAsync(wrapped.list("", { signal })),
      ]).flat();
      const ended = Promise.allSettled(calls);
      await pass(clock, 10_000);
      await ended;
      assert.equal(listeners.size, 0, mode.kind);
      assert.deepEqual(clock.sleeping, [], mode.kind);
    }
  });
}
