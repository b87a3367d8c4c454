import assert from "node:assert/strict";
import { type ErrorCode, MusicfsError } from "../../src/base/errors.ts";
import { SCAN_FOLDERS_MAX } from "../../src/base/limits.ts";
import { ROOT_ID } from "../../src/library/node_id.ts";
import type { CallOptions, OriginEntry } from "../../src/origins/origin.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { at, bytes, MoodyOrigin, never, openLibrary, treeOf } from "./library_fixture.ts";

const unavailable = new MusicfsError("unavailable", "down", { op: "test", subject: "nas" });

function isCode(code: ErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof MusicfsError && error.code === code;
}

/** Remembers for whom it was asked. */
class WatchedOrigin extends MoodyOrigin {
  readonly asked: string[] = [];
  stats = 0;

  override async *list(folder: string, options: CallOptions): AsyncIterable<OriginEntry> {
    this.asked.push(`${options.isBackground ? "scan" : "reader"}:${folder}`);
    yield* super.list(folder, options);
  }

  override stat(path: string, options: CallOptions): Promise<OriginEntry> {
    this.stats += 1;
    return super.stat(path, options);
  }
}

Deno.test("Library.ensureListed() fails at once if nothing is known and its origin is down", async () => {
  const nas = new WatchedOrigin("nas");
  nas.put("song", bytes(1));
  let isUp = false;
  const { library } = openLibrary([nas], { isUp: () => isUp });
  await assert.rejects(library.ensureListed(ROOT_ID, never()), isCode("unavailable"));
  await assert.rejects(library.relist(ROOT_ID), isCode("unavailable"));
  assert.deepEqual(nas.asked, []);
  isUp = true;
  await library.ensureListed(ROOT_ID, never());
  assert.deepEqual(treeOf(library), ["song"]);
  isUp = false;
  nas.down = unavailable;
  await library.ensureListed(ROOT_ID, never());
  await assert.rejects(library.refresh(at(library, "song").id, never()), isCode("unavailable"));
});

Deno.test("Library shows folders without an origin that is down, and adds its names when it is back", async () => {
  const disk = new WatchedOrigin("disk");
  disk.put("a/1", bytes(1));
  const nas = new WatchedOrigin("nas");
  nas.put("a/2", bytes(1));
  nas.put("b/3", bytes(1));
  nas.down = unavailable;
  let isUp = false;
  const { library, clock, changes } = openLibrary([disk, nas], {
    isUp: (name) => name !== "nas" || isUp,
  });
  await library.ensureListed(ROOT_ID, never());
  await library.ensureListed(at(library, "a").id, never());
  await library.relist(ROOT_ID);
  assert.deepEqual(treeOf(library), ["a/", "a/1"]);
  assert.deepEqual([nas.asked, clock.sleeping], [[], []]);
  nas.down = undefined;
  isUp = true;
  library.originIsBack("nas");
  for (let i = 0; i < 5; i += 1) {
    await clock.settle();
    await clock.advance(30);
  }
  assert.deepEqual(treeOf(library), ["a/", "a/1", "b/"]);
  assert.deepEqual(changes.flatMap(({ names }) => names), ["b"]);
  await library.ensureListed(at(library, "a").id, never());
  assert.deepEqual(treeOf(library), ["a/", "a/1", "a/2", "b/"]);
  assert.deepEqual(nas.asked, ["scan:", "reader:a"]);
  await library.scan(never());
  assert.deepEqual(treeOf(library), ["a/", "a/1", "a/2", "b/", "b/3"]);
});

Deno.test("Library waits 1 s for a silent origin beside one that answers, and then hardly at all", async () => {
  const disk = new MemoryOrigin("disk");
  const nas = new MoodyOrigin("nas");
  for (const origin of [disk, nas]) {
    origin.put("a/1", bytes(1));
    origin.put("b/1", bytes(1));
  }
  const { library, clock } = openLibrary([disk, nas]);
  nas.put("b/2", bytes(1));
  await library.ensureListed(ROOT_ID, never());
  const gate = Promise.withResolvers<void>();
  nas.stuck = gate.promise;
  let isDone = false;
  const first = library.ensureListed(at(library, "a").id, never()).then(() => isDone = true);
  await clock.settle();
  await clock.advance(999);
  assert.equal(isDone, false);
  await clock.advance(1);
  await first;
  const second = library.ensureListed(at(library, "b").id, never());
  await clock.settle();
  await clock.advance(5);
  await second;
  assert.deepEqual(treeOf(library), ["a/", "a/1", "b/", "b/1"]);
  gate.resolve();
  await library.ensureListed(at(library, "b").id, never());
  assert.deepEqual(treeOf(library), ["a/", "a/1", "b/", "b/1", "b/2"]);
});

Deno.test("Library.ensureListed() overtakes the listings of a scan, also one that waits for its turn", async () => {
  const nas = new WatchedOrigin("nas");
  const folders = SCAN_FOLDERS_MAX + 10;
  for (let i = 0; i < folders; i += 1) nas.put(`${i}/song`, bytes(1));
  const { library, clock } = openLibrary([nas]);
  await library.ensureListed(ROOT_ID, never());
  nas.asked.length = 0;
  const gate = Promise.withResolvers<void>();
  nas.stuck = gate.promise;
  const scan = library.scan(never());
  await clock.settle();
  gate.resolve();
  const next = Promise.withResolvers<void>();
  nas.stuck = next.promise;
  while (nas.asked.length < 1 + SCAN_FOLDERS_MAX) await clock.settle();
  const last = `${folders - 1}`;
  assert(!nas.asked.includes(`scan:${last}`));
  nas.stuck = undefined;
  await library.ensureListed(at(library, last).id, never());
  assert.equal(nas.asked.at(-1), `reader:${last}`);
  assert.equal(nas.asked.length, 2 + SCAN_FOLDERS_MAX);
  next.resolve();
  const report = await scan;
  assert.equal(report.files, folders);
  assert.equal(nas.asked.filter((asked) => asked.endsWith(`:${last}`)).length, 1);
});

Deno.test("Library.scan() tries an origin that is down once, and goes on when it answers", async () => {
  const nas = new WatchedOrigin("nas");
  nas.put("a/song", bytes(1));
  const { library } = openLibrary([nas], { isUp: () => false });
  nas.down = unavailable;
  const report = await library.scan(never());
  assert.deepEqual([report.errors, report.files], [[unavailable], 0]);
  assert.deepEqual([nas.stats, nas.asked], [1, []]);
  nas.down = undefined;
  assert.deepEqual((await library.scan(never())).files, 1);
});

Deno.test("Library.scan() ends at the first failure of an origin that goes down meanwhile", async () => {
  const nas = new WatchedOrigin("nas");
  for (let i = 0; i < 100; i += 1) nas.put(`${i}/song`, bytes(1));
  let isUp = true;
  const { library } = openLibrary([nas], { isUp: () => isUp });
  await library.scan(never());
  nas.asked.length = 0;
  for (let i = 0; i < 100; i += 1) nas.broken.set(`${i}`, unavailable);
  const { list } = nas;
  nas.list = (folder, options) => {
    isUp &&= folder === "";
    return list.call(nas, folder, options);
  };
  const report = await library.scan(never());
  assert(nas.asked.length <= 1 + SCAN_FOLDERS_MAX, `${nas.asked.length} were asked for`);
  assert.equal(report.gone, 0);
  assert.equal(library.namespace.totals().files, 100);
});

Deno.test("A folder of an origin without folder times shows when its listing changed", async () => {
  const bucket = new MemoryOrigin("bucket");
  bucket.put("album/1", bytes(1), 7n);
  const { library, clock } = openLibrary([bucket]);
  await library.scan(never());
  const times = (): bigint[] => [
    library.namespace.entry(ROOT_ID)?.mtimeNs ?? 0n,
    at(library, "album").mtimeNs,
  ];
  const first = BigInt(clock.startMs) * 1_000_000n;
  assert.deepEqual(times(), [first, first]);
  await clock.advance(5_000);
  await library.scan(never());
  assert.deepEqual(times(), [first, first]);
  bucket.put("album/2", bytes(1), 7n);
  await library.scan(never());
  assert.deepEqual(times(), [first, first + 5_000_000_000n]);
  bucket.put("album/2", bytes(2), 7n);
  await library.scan(never());
  assert.deepEqual(times(), [first, first + 6_000_000_000n]);
});

Deno.test("A folder of two origins shows a new time when either brings a name", async () => {
  const [disk, nas] = [new MemoryOrigin("disk"), new MemoryOrigin("nas")];
  disk.put("album/1", bytes(1));
  disk.putFolder("album", 50n);
  const { library, clock } = openLibrary([disk, nas]);
  await library.scan(never());
  assert.equal(at(library, "album").mtimeNs, 50n);
  nas.put("album/2", bytes(1));
  nas.putFolder("album", 40n);
  await library.scan(never());
  assert.equal(at(library, "album").mtimeNs, BigInt(clock.now()) * 1_000_000n);
  await clock.advance(9_000);
  await library.scan(never());
  assert.equal(at(library, "album").mtimeNs, BigInt(clock.startMs) * 1_000_000n);
});
