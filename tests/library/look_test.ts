import assert from "node:assert/strict";
import { type ErrorCode, MusicfsError } from "../../src/base/errors.ts";
import type { LookOptions } from "../../src/library/library.ts";
import type { CallOptions, OriginEntry } from "../../src/origins/origin.ts";
import type { VirtualClock } from "../support/virtual_clock.ts";
import {
  at,
  bytes,
  checkConsistency,
  type LibraryFixture,
  MoodyOrigin,
  never,
  openLibrary,
  treeOf,
} from "./library_fixture.ts";

function isCode(code: ErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof MusicfsError && error.code === code;
}

/** Remembers what was listed, and of which folders' own time it was asked. */
class AskedOrigin extends MoodyOrigin {
  listed: string[] = [];
  described: string[] = [];

  override list(folder: string, options: CallOptions): AsyncIterable<OriginEntry> {
    this.listed.push(folder);
    return super.list(folder, options);
  }

  override stat(path: string, options: CallOptions): Promise<OriginEntry> {
    this.described.push(path);
    return super.stat(path, options);
  }
}

/** A library that has scanned an origin of these files. */
async function scanned(
  paths: readonly string[],
): Promise<LibraryFixture & { nas: AskedOrigin }> {
  const nas = new AskedOrigin("nas");
  for (const path of paths) nas.put(path, bytes(3));
  const fixture = openLibrary([nas]);
  await settled(fixture.library.scan(never()), fixture.clock);
  [nas.listed, nas.described] = [[], []];
  return { ...fixture, nas };
}

/** Lets commits that wait for company come to their time. */
async function settled<T>(promise: Promise<T>, clock: VirtualClock): Promise<T> {
  let isOver = false;
  const over = promise.finally(() => (isOver = true));
  over.catch(() => {/* Thrown below. */});
  while (!isOver) await clock.advance(50);
  await clock.settle();
  return await over;
}

async function look(
  { library, clock }: LibraryFixture,
  folders: readonly string[],
  options: Partial<LookOptions> = {},
): Promise<boolean> {
  return await settled(library.look("nas", folders, { ...never(), ...options }), clock);
}

Deno.test("Library.look() lists what it is told of and what is new below, and nothing else", async () => {
  const fixture = await scanned(["a/b/one", "c/d/two"]);
  const { nas, library } = fixture;
  nas.put("a/b/more", bytes(1));
  nas.put("a/new/folder/three", bytes(1));
  nas.put("c/d/unseen", bytes(1));
  await look(fixture, ["a/b", "a"]);
  assert.deepEqual(nas.listed.toSorted(), ["a", "a/b", "a/new", "a/new/folder"]);
  const tree = ["a/", "a/b/", "a/b/more", "a/b/one", "a/new/", "a/new/folder/"];
  assert.deepEqual(treeOf(library), [...tree, "a/new/folder/three", "c/", "c/d/", "c/d/two"]);
  assert.deepEqual(nas.described.toSorted(), ["a", "a/b"], "its own time");
  checkConsistency(fixture);
});

Deno.test("Library.look() lists all below a folder that is another one by now", async () => {
  const fixture = await scanned(["a/b/c/one", "d/two"]);
  const { nas, library } = fixture;
  nas.remove("a/b/c/one");
  nas.put("a/b/c/other", bytes(9));
  await look(fixture, ["a"], { deep: new Set(["a"]) });
  assert.deepEqual(nas.listed.toSorted(), ["a", "a/b", "a/b/c"]);
  assert(treeOf(library).includes("a/b/c/other"));
});

Deno.test("Library.look() finds a folder that nobody knows from the nearest one above it", async () => {
  const fixture = await scanned(["a/one"]);
  const { nas, library } = fixture;
  nas.put("a/x/y/z/track", bytes(1));
  await look(fixture, ["a/x/y/z"]);
  assert.equal(at(library, "a/x/y/z/track").kind, "file");
  nas.listed = [];
  await look(fixture, ["gone/for/good", "a/x/nothing"]);
  assert.deepEqual(nas.listed.toSorted(), ["", "a/x"]);
});

Deno.test("Library.look() takes a folder that vanished out of the one it was in", async () => {
  const fixture = await scanned(["a/b/one", "a/two", "c/three"]);
  const { nas, library } = fixture;
  nas.remove("a/b");
  await look(fixture, ["a/b"]);
  assert.deepEqual(treeOf(library), ["a/", "a/two", "c/", "c/three"]);
  checkConsistency(fixture);
});

Deno.test("Library.look() follows a folder that became a file, and one that moved", async () => {
  const fixture = await scanned(["a/b/one", "a/two", "c/three"]);
  const { nas, library } = fixture;
  nas.move("a/b", "c/moved");
  nas.put("a/b", bytes(2));
  await look(fixture, ["a", "c", "c/moved"], {
    deep: new Set(["c/moved"]),
    gone: new Map([["a", 1]]),
  });
  assert.deepEqual(treeOf(library), [
    ...["a/", "a/b", "a/two", "c/", "c/moved/", "c/moved/one", "c/three"],
  ]);
  checkConsistency(fixture);
});

Deno.test("Library.look() believes deletions that were seen, and holds those that were not", async () => {
  const files = Array.from({ length: 40 }, (_, i) => `a/${i}`);
  const fixture = await scanned([...files, "b/kept"]);
  const { nas, library, warnings } = fixture;
  for (const file of files.slice(0, 30)) nas.remove(file);
  assert.equal(await look(fixture, ["a"], { gone: new Map([["a", 29]]) }), true);
  assert.equal(treeOf(library).length, 43, "one of them nobody saw");
  assert(warnings.some((line) => line.includes("seems to be gone")));
  assert.equal(await look(fixture, ["a"], { gone: new Map([["a", 30]]) }), false);
  assert.equal(treeOf(library).length, 13);
  checkConsistency(fixture);
});

Deno.test("Library.look() never empties an origin", async () => {
  const fixture = await scanned(["a/1", "b/2"]);
  const { nas, library } = fixture;
  nas.remove("a");
  nas.remove("b");
  await look(fixture, ["", "a", "b"], { gone: new Map([["", 2], ["a", 1], ["b", 1]]) });
  assert.deepEqual(treeOf(library).filter((path) => path.endsWith("/")), ["a/", "b/"]);
});

Deno.test("Library.look() removes what went during a scan at once", async () => {
  const fixture = await scanned(["a/1", "b/2", "c/3"]);
  const { nas, library, clock } = fixture;
  const gate = Promise.withResolvers<void>();
  nas.stuck = gate.promise;
  const scan = library.scan(never());
  nas.remove("a/1");
  nas.stuck = undefined;
  await look(fixture, ["a"], { gone: new Map([["a", 1]]) });
  assert(!treeOf(library).includes("a/1"));
  gate.resolve();
  const report = await settled(scan, clock);
  assert.deepEqual([report.files, report.errors.length], [2, 0]);
  checkConsistency(fixture);
});

Deno.test("Library.look() says that an origin is not well, and asks it no more", async () => {
  const fixture = await scanned(["a/1", "b/2", "c/d/3"]);
  const { nas } = fixture;
  nas.down = new MusicfsError("unavailable", "down", { op: "test", subject: "nas" });
  await assert.rejects(look(fixture, ["a", "b", "c/d"]), isCode("unavailable"));
  assert(!nas.listed.includes("c/d"));
  assert.equal(treeOf(fixture.library).length, 7, "nothing is lost");
  const { library } = openLibrary([nas], { isUp: () => false });
  await assert.rejects(library.look("nas", ["a"], never()), isCode("unavailable"));
  await assert.rejects(library.look("else", ["a"], never()), isCode("not_found"));
});

Deno.test("Library.look() leaves a folder that may not be read as it is", async () => {
  const fixture = await scanned(["a/1", "b/2"]);
  const { nas, library } = fixture;
  nas.broken.set("a", new MusicfsError("denied", "no", { op: "test", subject: "a" }));
  nas.put("b/3", bytes(1));
  await look(fixture, ["a", "b"]);
  assert.deepEqual(treeOf(library), ["a/", "a/1", "b/", "b/2", "b/3"]);
});

Deno.test("Library asks a folder that is watched from now on for its own time", async () => {
  const nas = new AskedOrigin("nas");
  for (const path of ["a/b/one", "c/two"]) nas.put(path, bytes(3));
  const { library, clock } = openLibrary([nas], { isWatchedAnew: (_, path) => path !== "c" });
  await settled(library.scan(never()), clock);
  assert.deepEqual([...new Set(nas.described)].toSorted(), ["", "a", "a/b"]);
});
