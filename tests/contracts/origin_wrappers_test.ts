import { type Clock, systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { BandwidthLimit } from "../../src/origins/bandwidth.ts";
import { exact } from "../../src/origins/exact.ts";
import { failover, type FailoverMember } from "../../src/origins/failover.ts";
import { guardOrigin, steady } from "../../src/origins/guarded.ts";
import { HealthMonitor } from "../../src/origins/health_monitor.ts";
import { LazyOrigin } from "../../src/origins/lazy.ts";
import type { Origin } from "../../src/origins/origin.ts";
import { retrying } from "../../src/origins/retrying.ts";
import { timeLimited } from "../../src/origins/time_limit.ts";
import { FaultyOrigin } from "../support/faults.ts";
import { MemoryBucket } from "../support/memory_origin.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { type Held, type OriginFixture, testOriginContract } from "./origin_contract.ts";

const random = (): number => 0.5;

function testWrapper(kind: string, wrap: (inner: Origin, clock: VirtualClock) => Origin): void {
  testOriginContract(kind, (held) => Promise.resolve(fixture(held, wrap)));
}

function fixture(
  held: Record<string, Held>,
  wrap: (inner: Origin, clock: VirtualClock) => Origin,
): OriginFixture {
  const inner = new MemoryBucket("memory");
  for (const [path, what] of Object.entries(held)) {
    if (what === "folder") inner.putFolder(path);
    else if (what instanceof Uint8Array) inner.put(path, what);
    else inner.putSymlink(path, what.target);
  }
  return {
    origin: wrap(inner, new VirtualClock()),
    replace: (path, bytes) => Promise.resolve(void inner.put(path, bytes)),
    remove: (path) => Promise.resolve(inner.remove(path)),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

function guarded(inner: Origin, clock: Clock, rate?: number): Origin {
  const health = new HealthMonitor({ clock, log: silentLog, random });
  const bandwidth = new BandwidthLimit(rate, clock);
  return guardOrigin(inner, { kind: "remote", clock, health, bandwidth });
}

function member(origin: Origin): FailoverMember {
  return { origin, locate: (file) => file };
}

testWrapper("FaultyOrigin", (inner) => new FaultyOrigin(inner));
testWrapper("retrying()", (inner, clock) => retrying(inner, { clock, random }));
testWrapper("timeLimited()", (inner, clock) => timeLimited(inner, { clock, stallMs: 10_000 }));
testWrapper("exact()", exact);
testWrapper("HealthMonitor.watching()", (inner, clock) => {
  const health = new HealthMonitor({ clock, log: silentLog, random });
  return health.watching(inner, { kind: "local", calls: inner });
});
testWrapper("guardOrigin()", (inner, clock) => guarded(inner, clock));
testWrapper("guardOrigin() with a bandwidth", (inner) => guarded(inner, systemClock, 1e9));
testWrapper("steady()", (inner, clock) => {
  const health = new HealthMonitor({ clock, log: silentLog, random });
  return steady(guardOrigin(inner, { kind: "local", clock, health }), { clock, random, health });
});
testWrapper("failover() of one", (inner, clock) => {
  const health = new HealthMonitor({ clock, log: silentLog, random });
  return failover([member(inner)], { clock, health });
});
testWrapper("failover() of two", (inner, clock) => {
  const health = new HealthMonitor({ clock, log: silentLog, random });
  return failover([member(inner), member(inner)], { clock, health });
});
testWrapper("retrying(failover()) over guarded origins", (inner, clock) => {
  const health = new HealthMonitor({ clock, log: silentLog, random });
  const origin = guardOrigin(inner, { kind: "remote", clock, health });
  return retrying(failover([member(origin), member(origin)], { clock, health }), { clock, random });
});

testWrapper("LazyOrigin", (inner) => {
  const opened = Object.assign(inner, { [Symbol.asyncDispose]: () => Promise.resolve() });
  return new LazyOrigin(inner.name, () => Promise.resolve(opened), { listsTree: true });
});
