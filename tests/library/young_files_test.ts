import assert from "node:assert/strict";
import { YoungFiles } from "../../src/library/young_files.ts";
import type { OriginEntry } from "../../src/origins/origin.ts";
import { sizeTimeVersion } from "../../src/origins/size_time_version.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { never, openLibrary } from "./library_fixture.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";

const SECOND_NS = 1_000_000_000n;

/** A file that was written `ageS` whole seconds ago. */
function file(path: string, clock: VirtualClock, ageS: number): OriginEntry {
  const mtimeNs = BigInt(Math.trunc(clock.now() / 1_000) - ageS) * SECOND_NS;
  return { path, kind: "file", size: 5, mtimeNs, version: sizeTimeVersion(5, mtimeNs), target: "" };
}

Deno.test("YoungFiles.next() gives out a file 3 s after it was noted, once", async () => {
  const clock = new VirtualClock();
  const young = new YoungFiles(clock);
  let given: string[] | undefined;
  const wait = (): Promise<void> =>
    young.next(never().signal).then((files) => void (given = files.map(({ path }) => path)));
  const first = wait();
  young.note(1, file("a", clock, 0));
  await clock.advance(1_000);
  young.note(1, file("b", clock, 1));
  await clock.advance(1_990);
  assert.equal(given, undefined);
  await clock.advance(20);
  await first;
  assert.deepEqual(given, ["a"]);
  const second = wait();
  await clock.advance(1_000);
  await second;
  assert.deepEqual(given, ["b"]);
});

Deno.test("YoungFiles notes files of about now whose version is a size and whole seconds", async () => {
  const clock = new VirtualClock();
  const young = new YoungFiles(clock);
  const now = file("young", clock, 0);
  const noted: [OriginEntry, boolean][] = [
    [now, true],
    [file("behind", clock, 3), true],
    [file("ahead", clock, -50), true],
    [file("old", clock, 4), false],
    [{ ...now, path: "etag", version: "etag" }, false],
    [{ ...now, path: "folder", kind: "folder", version: "", size: 0 }, false],
    [{
      ...now,
      path: "fine",
      mtimeNs: now.mtimeNs + 4_000_000n,
      version: sizeTimeVersion(5, now.mtimeNs + 4_000_000n),
    }, false],
  ];
  for (const [entry] of noted) young.note(1, entry);
  const next = young.next(never().signal);
  await clock.advance(5_000);
  const expected = noted.filter(([, isYoung]) => isYoung).map(([{ path }]) => path);
  assert.deepEqual((await next).map(({ path }) => path), expected);
});

Deno.test("YoungFiles.next() ends with its signal", async () => {
  const clock = new VirtualClock();
  const young = new YoungFiles(clock);
  young.note(1, file("a", clock, 0));
  const controller = new AbortController();
  const next = young.next(controller.signal);
  controller.abort(new Error("enough"));
  await assert.rejects(next, /enough/);
  await assert.rejects(young.next(controller.signal), /enough/);
});

Deno.test("Library notes as young what a listing or a look finds new or changed", async () => {
  const nas = new MemoryOrigin("nas");
  const { library, clock } = openLibrary([coarse(nas)]);
  const now = (): bigint => BigInt(Math.trunc(clock.now() / 1_000)) * SECOND_NS;
  nas.put("a/new", new Uint8Array(5), now());
  nas.put("a/old", new Uint8Array(5), now() - 1_000n * SECOND_NS);
  await library.scan(never());
  const paths = async (): Promise<string[]> => {
    const next = library.young.next(never().signal);
    await clock.advance(4_000);
    return (await next).map(({ path }) => path);
  };
  assert.deepEqual(await paths(), ["a/new"]);
  nas.put("a/old", new Uint8Array(5), now());
  await library.refresh(library.namespace.find("a/old")?.id ?? 0, never());
  assert.deepEqual(await paths(), ["a/old"]);
  nas.put("a/new", new Uint8Array(5), now());
  await library.scan(never());
  assert.deepEqual(await paths(), ["a/new"]);
});

/** The origin with versions that are size and time. */
function coarse(inner: MemoryOrigin): MemoryOrigin {
  const shown = (entry: OriginEntry): OriginEntry =>
    entry.kind === "file"
      ? { ...entry, version: sizeTimeVersion(entry.size, entry.mtimeNs) }
      : entry;
  const { list, stat } = MemoryOrigin.prototype;
  return Object.assign(inner, {
    async *list(...args: Parameters<typeof list>): AsyncIterable<OriginEntry> {
      for await (const entry of list.call(inner, ...args)) yield shown(entry);
    },
    stat: async (...args: Parameters<typeof stat>): Promise<OriginEntry> =>
      shown(await stat.call(inner, ...args)),
  });
}
