import fc from "fast-check";
import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import { silentLog } from "../../src/base/log.ts";
import { ContentFetcher } from "../../src/fetch/content_fetcher.ts";
import { guardOrigin } from "../../src/origins/guarded.ts";
import type { OriginKind } from "../../src/origins/health.ts";
import { HealthMonitor } from "../../src/origins/health_monitor.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import { type FaultMode, FaultyOrigin, forEachFault } from "../support/faults.ts";
import { guardedOrigins } from "../support/guarded_origins.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { faulty, never, pass, song, watchSettled } from "../origins/wrapped.ts";

interface Scene extends AsyncDisposable {
  clock: VirtualClock;
  health: HealthMonitor;
  fetcher: ContentFetcher;
  origins: FaultyOrigin[];
  version: FileVersion;
  read: (offset: number, length: number, isBackground?: boolean) => Promise<Uint8Array>;
}

/** Origins with the same song behind one fetcher, as `src/mount/cache.ts` puts them together. */
function scene(names: readonly string[], kind: OriginKind = "remote"): Scene {
  const clock = new VirtualClock();
  const random = (): number => 0.5;
  const health = new HealthMonitor({ clock, log: silentLog, random });
  const made = names.map((name) => faulty(name, clock));
  const sources = made.map(({ origin: { name: origin }, file: { path, version } }) => ({
    origin,
    path,
    version,
  }));
  const [first, ...rest] = sources;
  assert(first);
  const version: FileVersion = { id: 1, size: song.length, mtimeNs: 0n, sources: [first, ...rest] };
  const origins = made.map(({ origin }) => origin);
  const guarded = origins.map((origin) => guardOrigin(origin, { kind, clock, health }));
  const fetcher = new ContentFetcher({
    origins: new Map(guarded.map((origin) => [origin.name, origin])),
    health,
    clock,
    log: silentLog,
    readTimeoutMs: 30_000,
    random,
  });
  return {
    clock,
    health,
    fetcher,
    origins,
    version,
    read: (offset, length, isBackground = false) =>
      fetcher.fetch(version, { offset, length }, { signal: never, isBackground }),
    async [Symbol.asyncDispose](): Promise<void> {
      await fetcher[Symbol.asyncDispose]();
      await health[Symbol.asyncDispose]();
      for (const origin of origins) origin.endHung();
    },
  };
}

function setAll(origins: readonly FaultyOrigin[], mode: FaultMode): void {
  for (const origin of origins) origin.mode = mode;
}

Deno.test("A link that is cut for 10 s under 8 readers costs none of them an error", async () => {
  for (const mode of [{ kind: "hang" }, { kind: "error", code: "unavailable" }] as const) {
    await using test = scene(["bucket"]);
    const { clock, origins, read } = test;
    setAll(origins, mode);
    const reads = Array.from({ length: 8 }, (_, i) => read(i * 100, 100));
    const state = watchSettled(Promise.all(reads));
    await pass(clock, 9_900);
    setAll(origins, { kind: "healthy" });
    await pass(clock, 2_700);
    assert(state.isSettled, mode.kind);
    for (const [i, bytes] of (await Promise.all(reads)).entries()) {
      assert.deepEqual(bytes, song.slice(i * 100, i * 100 + 100));
    }
  }
});

Deno.test("A reader's next attempt is made as soon as the origin is known to be back", async () => {
  await using test = scene(["nas"], "local");
  const { clock, health, origins, read } = test;
  setAll(origins, { kind: "error", code: "unavailable" });
  const waiting = read(0, 10);
  const state = watchSettled(waiting);
  await pass(clock, 5_000);
  assert((clock.sleeping[0] ?? 0) > 500);
  setAll(origins, { kind: "healthy" });
  await health.recheck();
  await clock.settle();
  assert(state.isSettled);
  assert.deepEqual(await waiting, song.slice(0, 10));
});

Deno.test("A file that alone cannot be read is not tried again for every other read", async () => {
  await using test = scene(["nas"], "local");
  const { clock, origins: [nas], read } = test;
  assert(nas);
  nas.mode = { kind: "every", nth: 1 };
  const waiting = read(0, 10).catch((error) => error);
  await clock.settle();
  for (let i = 0; i < 100; i += 1) {
    nas.mode = { kind: "healthy" };
    await read(500 + i, 1);
    nas.mode = { kind: "every", nth: 1 };
    await pass(clock, 100);
  }
  assert(nas.calls.read < 115, `${nas.calls.read} reads`);
  await pass(clock, 31_000);
  await waiting;
});

Deno.test("A reader gets its error when its time is over, whatever hangs", async () => {
  for (const kind of ["local", "remote"] as const) {
    await using test = scene(["nas", "bucket"], kind);
    const { clock, origins, read } = test;
    setAll(origins, { kind: "hang", heeds: false });
    const results = Array.from({ length: 40 }, (_, i) => read(i, 1).catch((error) => error));
    const states = results.map(watchSettled);
    await pass(clock, 29_900);
    assert(states.every(({ isSettled }) => !isSettled));
    await pass(clock, 1_000);
    assert(states.every(({ isSettled }) => isSettled));
    for (const error of await Promise.all(results)) {
      assert(error instanceof MusicfsError && error.code === "timed_out");
    }
  }
});

Deno.test("A primary that dies under 8 readers costs no error, and is used again when it is back", async () => {
  for (const mode of [{ kind: "hang" }, { kind: "error", code: "unavailable" }] as const) {
    await using test = scene(["nas", "backup"]);
    const { clock, health, origins: [nas, backup], read } = test;
    assert(nas && backup);
    health.start();
    await pass(clock, 1_000);
    await Promise.all(Array.from({ length: 8 }, (_, i) => read(i, 1)));
    assert.equal(nas.calls.read, 8);
    nas.mode = mode;
    const reads = Promise.all(Array.from({ length: 8 }, (_, i) => read(100 + i, 1)));
    const state = watchSettled(reads);
    await pass(clock, 3_000);
    assert(state.isSettled, "the backup answers within 3 s");
    await reads;
    const asked = nas.calls.read;
    const from = clock.monotonic();
    for (let i = 0; i < 20; i += 1) await read(200 + i, 1);
    assert.equal(nas.calls.read, asked, "and at once from then on");
    assert.equal(clock.monotonic(), from);
    await pass(clock, 30_000);
    nas.mode = { kind: "healthy" };
    await pass(clock, 5_100);
    await read(300, 1);
    assert.equal(nas.calls.read, asked + 1, "back to the primary");
  }
});

Deno.test("A body that broke off is read on, not again", async () => {
  await using test = scene(["bucket"]);
  const { clock, origins: [bucket], read } = test;
  assert(bucket);
  bucket.mode = { kind: "partial", count: 400 };
  const result = read(0, 1_000);
  await pass(clock, 300);
  assert.deepEqual(await result, song);
  assert.deepEqual(bucket.ranges.map(({ offset }) => offset), [0, 400, 800]);
});

Deno.test("ContentFetcher.fetch() brings a queued range forward when a reader comes for it", async () => {
  await using test = scene(["bucket"]);
  const { clock, origins: [bucket], read } = test;
  assert(bucket);
  bucket.mode = { kind: "slow", ms: 1_000 };
  const busy = Array.from({ length: 16 }, (_, i) => read(i, 1));
  const warm = Array.from({ length: 20 }, (_, i) => read(100 + i, 1, true));
  const wanted = read(119, 1);
  const state = watchSettled(wanted);
  await pass(clock, 2_000);
  assert.equal(state.isSettled, true);
  assert.equal(bucket.ranges[16]?.offset, 119);
  await pass(clock, 3_000);
  await Promise.all([...busy, ...warm, wanted]);
  assert.equal(bucket.calls.read, 36, "no range is read twice");
});

Deno.test("ContentFetcher.fetch() brings a range forward that waits for its next attempt", async () => {
  await using test = scene(["bucket"]);
  const { clock, origins: [bucket], read } = test;
  assert(bucket);
  bucket.mode = { kind: "error", code: "unavailable" };
  const warm = read(0, 10, true);
  await pass(clock, 1_000);
  bucket.mode = { kind: "healthy" };
  assert.deepEqual(await read(0, 10), song.slice(0, 10));
  assert.deepEqual(await warm, song.slice(0, 10));
});

Deno.test("ContentFetcher.fetch() gives who comes late no error of a range that was given up", async () => {
  // Between the last failure and the end of the range lie a few turns; one may come in any of them.
  for (let turns = 0; turns < 40; turns += 1) {
    await using test = scene(["bucket"]);
    const { clock, fetcher, origins: [bucket], version, read } = test;
    assert(bucket);
    const answer = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
    bucket.inner.read = () => answer.promise;
    const leaver = new AbortController();
    const range = { offset: 0, length: 10 };
    const left = fetcher.fetch(version, range, { signal: leaver.signal }).catch((error) => error);
    await clock.settle();
    leaver.abort(new Error("enough"));
    await left;
    const broken = new MusicfsError("unavailable", "Broken", { op: "test", subject: "song" });
    answer.reject(broken);
    for (let i = 0; i < turns; i += 1) await Promise.resolve();
    const late = read(0, 10).catch((error) => error);
    const state = watchSettled(late);
    await clock.settle();
    assert.equal(state.isSettled, false, `after ${turns} turns`);
  }
});

Deno.test("ContentFetcher.fetch() says so if no source of a version is configured any more", async () => {
  await using test = scene(["bucket"]);
  const { fetcher, version } = test;
  const gone = { ...version, sources: [{ origin: "gone", path: "song", version: "1" }] as const };
  const call = fetcher.fetch({ ...gone }, { offset: 0, length: 1 }, { signal: never });
  await assert.rejects(call, /origin gone is not configured/);
});

Deno.test("ContentFetcher.fetch() gives the right bytes at every fault", async () => {
  const points = await forEachFault(async (plan) => {
    await using test = scene(["nas"]);
    const { clock, version } = test;
    const inner = test.origins[0];
    assert(inner);
    const origin = new FaultyOrigin(inner, plan);
    await using fetcher = new ContentFetcher({
      ...guardedOrigins([origin], clock),
      clock,
      log: silentLog,
      readTimeoutMs: 30_000,
      random: () => 0.5,
    });
    const reads = [0, 100, 200].map((offset) =>
      fetcher.fetch(version, { offset, length: 100 }, { signal: never }).then(
        (bytes) => assert.deepEqual(bytes, song.slice(offset, offset + 100)),
        (error) => assert(error instanceof MusicfsError && error.code === "unavailable"),
      )
    );
    await pass(clock, 31_000, 1_000);
    await Promise.all(reads);
  });
  assert(points >= 6, `${points} fault points`);
});

const modes: fc.Arbitrary<FaultMode> = fc.oneof(
  fc.constant<FaultMode>({ kind: "healthy" }),
  fc.record({ kind: fc.constant("every" as const), nth: fc.integer({ min: 1, max: 4 }) }),
  fc.record({
    kind: fc.constant("error" as const),
    code: fc.constantFrom("unavailable", "timed_out", "not_found", "denied", "changed"),
  }),
  fc.record({ kind: fc.constant("slow" as const), ms: fc.integer({ min: 1, max: 20_000 }) }),
  fc.record({
    kind: fc.constant("trickle" as const),
    pieces: fc.integer({ min: 1, max: 8 }),
    ms: fc.integer({ min: 1, max: 4_000 }),
  }),
  fc.record({ kind: fc.constant("hang" as const), heeds: fc.boolean() }),
  fc.record({ kind: fc.constant("partial" as const), count: fc.integer({ min: 0, max: 90 }) }),
  fc.record({ kind: fc.constant("over_long" as const), bytes: fc.constantFrom(-2, -1, 1, 7) }),
  fc.constant<FaultMode>({ kind: "changed" }),
);

Deno.test("ContentFetcher.fetch() gives the right bytes or a typed error in time, whatever the origins do", async () => {
  const step = fc.record({
    origin: fc.nat(2),
    mode: modes,
    offset: fc.nat(900),
    length: fc.integer({ min: 1, max: 100 }),
    isBackground: fc.boolean(),
    ms: fc.nat(5_000),
  });
  const steps = fc.array(step, { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(steps, fc.constantFrom("local", "remote"), fc.boolean(), async (
      all,
      kind,
      oneIsWell,
    ) => {
      await using test = scene(["a", "b", "c"], kind as OriginKind);
      const { clock, health, origins, read } = test;
      health.start();
      const results: Promise<void>[] = [];
      for (const { origin, mode, offset, length, isBackground, ms } of all) {
        const target = origins[origin];
        if (target && !(oneIsWell && origin === 2)) target.mode = mode;
        const from = clock.monotonic();
        results.push(
          read(offset, length, isBackground).then(
            (bytes) => assert.deepEqual(bytes, song.slice(offset, offset + length)),
            (error) => {
              assert(error instanceof MusicfsError, String(error));
              assert(!oneIsWell, `${error.message}, and one origin was well`);
            },
          ).then(() => assert(clock.monotonic() - from <= 31_000)),
        );
        await pass(clock, ms, 500);
      }
      const state = watchSettled(Promise.all(results));
      await pass(clock, 31_000, 500);
      assert(state.isSettled);
      await Promise.all(results);
    }),
    { numRuns: 60 },
  );
});
