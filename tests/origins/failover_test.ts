import assert from "node:assert/strict";
import { silentLog } from "../../src/base/log.ts";
import type { CallWatcher, WatchedOptions } from "../../src/origins/call_watcher.ts";
import { failover, type FailoverMember } from "../../src/origins/failover.ts";
import { guardOrigin } from "../../src/origins/guarded.ts";
import { HealthMonitor } from "../../src/origins/health_monitor.ts";
import type { Origin, OriginFile } from "../../src/origins/origin.ts";
import { PartialRead } from "../../src/origins/partial_read.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { type Faulty, faulty, never, pass, rejects, song, watchSettled } from "./wrapped.ts";

const whole = { offset: 0, length: song.length };
const asked: OriginFile = { path: "as the first one names it", size: song.length, version: "?" };

interface Pair {
  clock: VirtualClock;
  health: HealthMonitor;
  made: Faulty[];
  origin: Origin;
}

/** Guarded origins with the same song; each has a name of its own for it. */
function members(...names: string[]): Pair {
  const clock = new VirtualClock();
  const health = new HealthMonitor({ clock, log: silentLog, random: () => 0 });
  const made = names.map((name) => faulty(name, clock));
  const list: FailoverMember[] = made.map(({ origin, file }) => ({
    origin: guardOrigin(origin, { kind: "remote", clock, health }),
    locate: () => file,
  }));
  return { clock, health, made, origin: failover(list, { clock, health }) };
}

function faults(pair: Pair): [Faulty, Faulty, ...Faulty[]] {
  const [a, b, ...rest] = pair.made;
  assert(a && b);
  return [a, b, ...rest];
}

Deno.test("failover() reads from the first member while it is well, by its own name", async () => {
  const pair = members("nas", "backup");
  const [nas, backup] = faults(pair);
  assert.deepEqual(await pair.origin.read(asked, whole, { signal: never }), song);
  assert.deepEqual([nas.origin.calls.read, backup.origin.calls.read], [1, 0]);
  assert.deepEqual(nas.memory.reads, [{ path: "song", ...whole }]);
  assert.deepEqual(pair.clock.sleeping, []);
});

Deno.test("failover() goes to the next member at once, whatever the error", async () => {
  const codes = ["unavailable", "timed_out", "not_found", "changed", "denied", "invalid"] as const;
  for (const code of codes) {
    const pair = members("nas", "backup");
    const [nas, backup] = faults(pair);
    nas.origin.mode = { kind: "error", code };
    assert.deepEqual(await pair.origin.read(asked, whole, { signal: never }), song);
    assert.equal((await pair.origin.stat("song", { signal: never })).path, "song");
    assert.equal((await Array.fromAsync(pair.origin.list("", { signal: never }))).length, 1);
    assert(backup.origin.calls.read === 1 && backup.origin.calls.list === 1);
    assert.equal(pair.clock.monotonic(), 0);
  }
});

Deno.test("failover() throws the last retryable error if there is one, else the first", async () => {
  const cases = [
    [["unavailable", "timed_out", "not_found"], "timed_out"],
    [["changed", "not_found", "not_found"], "changed"],
  ] as const;
  for (const [codes, last] of cases) {
    for (const method of ["read", "stat", "list"] as const) {
      const { made, origin } = members("a", "b", "c");
      for (const [i, code] of codes.entries()) {
        const one = made[i];
        if (one) one.origin.mode = { kind: "error", code };
      }
      const options = { signal: never };
      if (method === "read") await rejects(origin.read(asked, whole, options), last);
      if (method === "stat") await rejects(origin.stat("song", options), last);
      if (method === "list") await rejects(Array.fromAsync(origin.list("", options)), last);
    }
  }
});

Deno.test("failover() asks the next one beside a member that hangs, and remembers it", async () => {
  const pair = members("nas", "backup");
  const { clock, health } = pair;
  const [nas, backup] = faults(pair);
  nas.origin.mode = { kind: "hang" };
  const first = pair.origin.read(asked, whole, { signal: never });
  await pass(clock, 1_400);
  assert.equal(backup.origin.calls.read, 0);
  await pass(clock, 100);
  assert.deepEqual(await first, song);
  await clock.settle();
  assert.equal(nas.origin.underWay.now, 0, "the loser has been given up");
  assert.equal(health.of("nas").state, "degraded");
  const before = clock.monotonic();
  assert.deepEqual(await pair.origin.read(asked, whole, { signal: never }), song);
  assert.equal(clock.monotonic(), before, "the next read does not wait");
  assert.equal(nas.origin.calls.read, 1);
  nas.origin.mode = { kind: "healthy" };
  await health.recheck();
  assert.deepEqual(await pair.origin.read(asked, whole, { signal: never }), song);
  assert.equal(nas.origin.calls.read, 2, "and it is asked again once it answers");
  assert.deepEqual(clock.sleeping, []);
});

Deno.test("failover() leaves a slow member be while its bytes flow", async () => {
  const pair = members("nas", "backup");
  const [nas, backup] = faults(pair);
  nas.origin.mode = { kind: "trickle", pieces: 10, ms: 1_400 };
  const read = pair.origin.read(asked, whole, { signal: never });
  await pass(pair.clock, 15_000);
  assert.deepEqual(await read, song);
  assert.equal(backup.origin.calls.read, 0);
});

Deno.test("failover() takes the answer of the slower one if the faster one fails", async () => {
  const pair = members("nas", "backup");
  const [nas, backup] = faults(pair);
  nas.origin.mode = { kind: "slow", ms: 3_000 };
  backup.origin.mode = { kind: "error", code: "unavailable" };
  const read = pair.origin.read(asked, whole, { signal: never });
  await pass(pair.clock, 3_000);
  assert.deepEqual(await read, song);
  assert.equal(pair.health.of("nas").state, "online");
});

Deno.test("failover() tries every member while all hang, and ends with the caller's signal", async () => {
  const pair = members("a", "b", "c");
  for (const { origin } of pair.made) origin.mode = { kind: "hang" };
  const leaver = new AbortController();
  const read = pair.origin.read(asked, whole, { signal: leaver.signal });
  const left = assert.rejects(read, /enough/);
  await pass(pair.clock, 3_000);
  assert.deepEqual(pair.made.map(({ origin }) => origin.underWay.now), [1, 1, 1]);
  leaver.abort(new Error("enough"));
  await left;
  await pair.clock.settle();
  assert.deepEqual(pair.made.map(({ origin }) => origin.underWay.now), [0, 0, 0]);
  assert.deepEqual(pair.clock.sleeping, []);
  assert.deepEqual(pair.made.map(({ origin: { name } }) => pair.health.of(name).state), [
    "unknown",
    "unknown",
    "unknown",
  ]);
});

Deno.test("failover() asks the next member only for what is still missing", async () => {
  const pair = members("nas", "backup");
  const [nas, backup] = faults(pair);
  nas.origin.mode = { kind: "partial", count: 300 };
  const read = await pair.origin.read(asked, { offset: 100, length: 800 }, { signal: never });
  assert.deepEqual(read, song.slice(100, 900));
  assert.deepEqual(backup.origin.ranges, [{ offset: 400, length: 500 }]);
});

Deno.test("failover() passes on what came when all have broken off", async () => {
  const pair = members("nas", "backup");
  const [nas, backup] = faults(pair);
  nas.origin.mode = { kind: "partial", count: 300 };
  backup.origin.mode = { kind: "partial", count: 200 };
  const error = await pair.origin.read(asked, whole, { signal: never }).catch((error) => error);
  assert(error instanceof PartialRead);
  assert.deepEqual(error.received, song.slice(0, 500));
});

Deno.test("failover() never uses a rest of the wrong length", async () => {
  const clock = new VirtualClock();
  const health = new HealthMonitor({ clock, log: silentLog, random: () => 0 });
  for (const bytes of [-1, 1]) {
    const [nas, backup] = [faulty("nas", clock), faulty("backup", clock)];
    nas.origin.mode = { kind: "partial", count: 300 };
    backup.origin.mode = { kind: "over_long", bytes };
    const list = [nas, backup].map(({ origin, file }) => ({ origin, locate: () => file }));
    const read = failover(list, { clock, health }).read(asked, whole, { signal: never });
    await rejects(read, "unavailable");
  }
});

Deno.test("failover() asks the next one at once where only a silent one is left beside it", async () => {
  const pair = members("a", "b", "c");
  const [a, b, c] = faults(pair);
  assert(c);
  a.origin.mode = { kind: "hang" };
  b.origin.mode = { kind: "error", code: "unavailable" };
  const read = pair.origin.read(asked, whole, { signal: never });
  await pass(pair.clock, 1_500);
  assert.deepEqual(await read, song);
});

Deno.test("failover().list() never goes on with another member's names", async () => {
  const pair = members("nas", "backup");
  const [nas] = faults(pair);
  nas.memory.put("other", song);
  nas.origin.mode = { kind: "partial", count: 1 };
  const names: string[] = [];
  const listing = (async () => {
    for await (const { path } of pair.origin.list("", { signal: never })) names.push(path);
  })();
  await rejects(listing, "unavailable");
  assert.deepEqual(names, ["song"]);
});

Deno.test("failover() does not ask two members for one read that waits for its bandwidth", async () => {
  const clock = new VirtualClock();
  const health = new HealthMonitor({ clock, log: silentLog, random: () => 0 });
  const backup = faulty("backup", clock);
  let watcher: CallWatcher | undefined;
  const limited = faulty("nas", clock).origin;
  limited.read = (_file, _range, options: WatchedOptions) => {
    watcher = options.watcher;
    return new Promise(() => {});
  };
  const locate = (): OriginFile => backup.file;
  const both = [{ origin: limited, locate }, { origin: backup.origin, locate }];
  const read = failover(both, { clock, health }).read(asked, whole, { signal: never });
  const state = watchSettled(read);
  watcher?.paused(true);
  await pass(clock, 20_000);
  assert.equal(backup.origin.calls.read, 0);
  watcher?.paused(false);
  await pass(clock, 1_400);
  assert.equal(state.isSettled, false);
  await pass(clock, 1_600);
  assert.deepEqual(await read, song);
});

Deno.test("failover() lets what is queued in the background wait, and asks nobody else", async () => {
  const pair = members("nas", "backup");
  const { clock, origin } = pair;
  const [nas, backup] = faults(pair);
  nas.origin.mode = { kind: "trickle", pieces: 8, ms: 500 };
  const options = { signal: never, isBackground: true };
  const reads = Array.from({ length: 30 }, () => origin.read(asked, whole, options));
  await pass(clock, 13_000);
  await Promise.all(reads);
  assert.equal(backup.origin.calls.read, 0);
});

Deno.test("failover() asks the next one beside a member that hangs in the background too", async () => {
  const pair = members("nas", "backup");
  const [nas] = faults(pair);
  nas.origin.mode = { kind: "hang" };
  const read = pair.origin.read(asked, whole, { signal: never, isBackground: true });
  await pass(pair.clock, 1_500);
  assert.deepEqual(await read, song);
});

Deno.test("failover() blames no member that waits for its bandwidth", async () => {
  const clock = new VirtualClock();
  const health = new HealthMonitor({ clock, log: silentLog, random: () => 0 });
  const [nas, backup] = [faulty("nas", clock), faulty("backup", clock)];
  let watcher: CallWatcher | undefined;
  health.watching(nas.origin, { kind: "local", calls: nas.origin });
  nas.origin.read = (_file, _range, options: WatchedOptions) => {
    watcher = options.watcher;
    watcher?.started();
    return new Promise(() => {});
  };
  backup.origin.mode = { kind: "slow", ms: 3_000 };
  const list = [nas, backup].map(({ origin, file }) => ({ origin, locate: () => file }));
  const read = failover(list, { clock, health }).read(asked, whole, { signal: never });
  await pass(clock, 2_000);
  watcher?.paused(true);
  await pass(clock, 3_000);
  assert.deepEqual(await read, song);
  assert.equal(health.of("nas").state, "unknown");
});

Deno.test("failover() blames no member that was only queued", async () => {
  const pair = members("nas", "backup");
  const { clock, health, origin } = pair;
  const [nas, backup] = faults(pair);
  nas.origin.mode = { kind: "trickle", pieces: 30, ms: 1_000 };
  const lone = Array.from({ length: 16 }, () => origin.read(asked, whole, { signal: never }));
  await pass(clock, 500);
  const queued = origin.read(asked, whole, { signal: never });
  await pass(clock, 1_500);
  assert.deepEqual(await queued, song);
  assert.equal(nas.origin.calls.read, 16);
  assert.equal(backup.origin.calls.read, 1);
  assert.equal(health.of("nas").state, "unknown");
  await pass(clock, 30_000);
  await Promise.all(lone);
});
