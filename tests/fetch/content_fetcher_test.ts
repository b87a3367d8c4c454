import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import { ORIGIN_READS_MAX } from "../../src/base/limits.ts";
import { silentLog } from "../../src/base/log.ts";
import { ContentFetcher } from "../../src/fetch/content_fetcher.ts";
import type { Origin, OriginFile } from "../../src/origins/origin.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import { guardedOrigins } from "../support/guarded_origins.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

const song = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);
const never = new AbortController().signal;

function versionAt(sources: readonly [string, OriginFile][]): FileVersion {
  const [first, ...rest] = sources.map(([origin, { path, version }]) => ({
    origin,
    path,
    version,
  }));
  assert(first);
  return { id: 1, size: song.length, mtimeNs: 0n, sources: [first, ...rest] };
}

function fetcherOf(origins: readonly Origin[], clock = new VirtualClock()): ContentFetcher {
  return new ContentFetcher({
    ...guardedOrigins(origins, clock),
    clock,
    log: silentLog,
    readTimeoutMs: 30_000,
    random: () => 0.5,
  });
}

function rejects(call: Promise<unknown>, code: string): Promise<void> {
  return assert.rejects(
    call,
    (error) => error instanceof MusicfsError && error.code === code,
    `expected ${code}`,
  );
}

/** An origin whose reads do what `answer` says, by the number of the call from 1. */
function scripted(
  inner: MemoryOrigin,
  answer: (call: number, length: number) => Promise<Uint8Array<ArrayBuffer>> | undefined,
): Origin {
  let calls = 0;
  return {
    name: inner.name,
    list: (folder, options) => inner.list(folder, options),
    stat: (path, options) => inner.stat(path, options),
    read: (file, range, options) => {
      calls += 1;
      return answer(calls, range.length) ?? inner.read(file, range, options);
    },
  };
}

function failing(code: "unavailable" | "not_found" | "denied" | "changed"): Promise<never> {
  return Promise.reject(new MusicfsError(code, "Scripted", { op: "test", subject: "song" }));
}

Deno.test("ContentFetcher.fetch() shares what is on its way and asks only for the gaps", async () => {
  const origin = new MemoryOrigin("nas");
  const version = versionAt([["nas", origin.put("song", song)]]);
  await using fetcher = fetcherOf([origin]);
  origin.hold();
  const ranges = [[100, 100], [100, 100], [150, 20], [50, 300], [0, 1000], [340, 20]] as const;
  const results = ranges.map(([offset, length]) =>
    fetcher.fetch(version, { offset, length }, { signal: never })
  );
  origin.release();
  for (const [i, [offset, length]] of ranges.entries()) {
    assert.deepEqual(await results[i], song.slice(offset, offset + length));
  }
  assert.deepEqual(
    origin.reads.map(({ offset, length }) => [offset, length]),
    [[100, 100], [50, 50], [200, 150], [0, 50], [350, 650]],
  );
  assert.deepEqual(fetcher.counters().get("nas"), { calls: 5, bytes: 1000, errors: 0 });
});

Deno.test("ContentFetcher.fetch() lets an aborted waiter go while the download goes on", async () => {
  const origin = new MemoryOrigin("nas");
  const version = versionAt([["nas", origin.put("song", song)]]);
  await using fetcher = fetcherOf([origin]);
  origin.hold();
  const kept: [number, number][] = [];
  const leaver = new AbortController();
  const left = fetcher.fetch(version, { offset: 0, length: 10 }, {
    signal: leaver.signal,
    keep: (offset, bytes) => kept.push([offset, bytes.length]),
  });
  leaver.abort(new Error("interrupted"));
  await assert.rejects(left, /interrupted/);
  const late = fetcher.fetch(version, { offset: 0, length: 10 }, { signal: never });
  origin.release();
  assert.deepEqual(await late, song.slice(0, 10));
  assert.equal(origin.reads.length, 1);
  assert.deepEqual(kept, [[0, 10]]);
});

Deno.test("ContentFetcher.fetch() takes a range that nobody waits for out of the queue", async () => {
  const origin = new MemoryOrigin("nas");
  const version = versionAt([["nas", origin.put("song", song)]]);
  await using fetcher = fetcherOf([origin]);
  origin.hold();
  const leaver = new AbortController();
  const busy = Array.from(
    { length: ORIGIN_READS_MAX },
    (_, i) => fetcher.fetch(version, { offset: i, length: 1 }, { signal: never }),
  );
  const queued = fetcher.fetch(version, { offset: 500, length: 1 }, { signal: leaver.signal });
  leaver.abort(new Error("interrupted"));
  await assert.rejects(queued, /interrupted/);
  assert.equal(origin.reads.length, ORIGIN_READS_MAX);
  origin.release();
  await Promise.all(busy);
  assert.equal(origin.reads.length, ORIGIN_READS_MAX);
  // And it can be asked for again.
  assert.deepEqual(
    await fetcher.fetch(version, { offset: 500, length: 1 }, { signal: never }),
    song.slice(500, 501),
  );
});

Deno.test("ContentFetcher.fetch() retries after 100, 500, 2000 and 2000 ms", async () => {
  const clock = new VirtualClock();
  const inner = new MemoryOrigin("nas");
  const version = versionAt([["nas", inner.put("song", song)]]);
  const origin = scripted(inner, (call) => call <= 4 ? failing("unavailable") : undefined);
  await using fetcher = fetcherOf([origin], clock);
  const result = fetcher.fetch(version, { offset: 0, length: 10 }, { signal: never });
  for (const wait of [100, 500, 2_000, 2_000]) {
    await clock.settle();
    assert.equal(clock.sleeping[0], wait);
    await clock.advance(wait);
  }
  assert.deepEqual(await result, song.slice(0, 10));
  assert.equal(fetcher.counters().get("nas")?.errors, 4);
});

Deno.test("ContentFetcher.fetch() gives up with the last error when its time is over", async () => {
  const clock = new VirtualClock();
  const inner = new MemoryOrigin("nas");
  const version = versionAt([["nas", inner.put("song", song)]]);
  await using fetcher = fetcherOf([scripted(inner, () => failing("unavailable"))], clock);
  const result = rejects(
    fetcher.fetch(version, { offset: 0, length: 10 }, { signal: never }),
    "unavailable",
  );
  let settled = false;
  result.then(() => settled = true);
  for (let ms = 0; ms < 29_000; ms += 100) await clock.advance(100);
  assert.equal(settled, false);
  await clock.advance(1_100);
  await result;
  await clock.advance(60_000);
  assert.deepEqual(clock.sleeping, []);
});

Deno.test("ContentFetcher.fetch() gives each waiter its own time", async () => {
  const clock = new VirtualClock();
  const inner = new MemoryOrigin("nas");
  const version = versionAt([["nas", inner.put("song", song)]]);
  let down = true;
  const origin = scripted(inner, () => down ? failing("unavailable") : undefined);
  await using fetcher = fetcherOf([origin], clock);
  const range = { offset: 0, length: 10 };
  const early = rejects(fetcher.fetch(version, range, { signal: never }), "unavailable");
  for (let ms = 0; ms < 20_000; ms += 100) await clock.advance(100);
  const late = fetcher.fetch(version, range, { signal: never });
  for (let ms = 0; ms < 11_000; ms += 100) await clock.advance(100);
  await early;
  down = false;
  await clock.advance(2_000);
  assert.deepEqual(await late, song.slice(0, 10));
});

Deno.test("ContentFetcher.fetch() takes errors that no retry helps for answers", async (t) => {
  for (const code of ["not_found", "denied", "changed"] as const) {
    await t.step(code, async () => {
      const inner = new MemoryOrigin("nas");
      const version = versionAt([["nas", inner.put("song", song)]]);
      await using fetcher = fetcherOf([scripted(inner, () => failing(code))]);
      await rejects(fetcher.fetch(version, { offset: 0, length: 10 }, { signal: never }), code);
      assert.equal(fetcher.counters().get("nas")?.calls, 1);
    });
    await t.step(`${code}, but another source has it`, async () => {
      const [inner, backup] = [new MemoryOrigin("nas"), new MemoryOrigin("backup")];
      const version = versionAt([
        ["nas", inner.put("song", song)],
        ["backup", backup.put("copy", song)],
      ]);
      await using fetcher = fetcherOf([scripted(inner, () => failing(code)), backup]);
      const bytes = await fetcher.fetch(version, { offset: 5, length: 10 }, { signal: never });
      assert.deepEqual(bytes, song.slice(5, 15));
      assert.deepEqual(backup.reads, [{ path: "copy", offset: 5, length: 10 }]);
    });
  }
});

Deno.test("ContentFetcher.fetch() never passes on a result of the wrong length", async () => {
  const clock = new VirtualClock();
  const inner = new MemoryOrigin("nas");
  const version = versionAt([["nas", inner.put("song", song)]]);
  const origin = scripted(
    inner,
    (call, length) =>
      call <= 2 ? Promise.resolve(new Uint8Array(length + 2 * call - 3)) : undefined,
  );
  await using fetcher = fetcherOf([origin], clock);
  const result = fetcher.fetch(version, { offset: 0, length: 10 }, { signal: never });
  await clock.settle();
  await clock.advance(100);
  await clock.advance(500);
  assert.deepEqual(await result, song.slice(0, 10));
});

Deno.test("ContentFetcher.fetch() asks the next origin beside one that hangs after 1.5 s", async () => {
  const clock = new VirtualClock();
  const [inner, backup] = [new MemoryOrigin("nas"), new MemoryOrigin("backup")];
  const version = versionAt([
    ["nas", inner.put("song", song)],
    ["backup", backup.put("song", song)],
  ]);
  const hanging = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
  await using fetcher = fetcherOf([scripted(inner, () => hanging.promise), backup], clock);
  const result = fetcher.fetch(version, { offset: 0, length: 10 }, { signal: never });
  await clock.settle();
  await clock.advance(1_400);
  assert.equal(backup.reads.length, 0);
  await clock.advance(200);
  assert.deepEqual(await result, song.slice(0, 10));
  hanging.resolve(new Uint8Array());
});

Deno.test("ContentFetcher.landed() waits for what is on its way, and is kept, and for no more", async () => {
  const origin = new MemoryOrigin("nas");
  const version = versionAt([["nas", origin.put("song", song)]]);
  await using fetcher = fetcherOf([origin]);
  await fetcher.landed(version.id);
  origin.hold();
  const kept: number[] = [];
  const keep = (offset: number): number => kept.push(offset);
  const first = fetcher.fetch(version, { offset: 0, length: 10 }, { signal: never, keep });
  const landed = fetcher.landed(version.id).then(() => [...kept]);
  const second = fetcher.fetch(version, { offset: 500, length: 10 }, { signal: never, keep });
  await fetcher.landed(version.id + 1);
  assert.deepEqual(kept, []);
  origin.release();
  assert((await landed).includes(0));
  await Promise.all([first, second]);
  await fetcher.landed(version.id);
});

Deno.test("ContentFetcher ends what is under way when it is disposed of", async () => {
  const origin = new MemoryOrigin("nas");
  const version = versionAt([["nas", origin.put("song", song)]]);
  const fetcher = fetcherOf([origin]);
  origin.hold();
  const range = { offset: 0, length: 10 };
  const waiting = rejects(fetcher.fetch(version, range, { signal: never }), "unavailable");
  await fetcher[Symbol.asyncDispose]();
  await waiting;
  await rejects(fetcher.fetch(version, range, { signal: never }), "unavailable");
});
