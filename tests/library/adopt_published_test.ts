import assert from "node:assert/strict";
import fc from "fast-check";
import { MusicfsError } from "../../src/base/errors.ts";
import { ADOPT_MS_MAX, ADOPT_WAIT_MS_MAX } from "../../src/library/adopt_published.ts";
import type { PublishedNames } from "../../src/library/library.ts";
import { ROOT_ID } from "../../src/library/node_id.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { eventually } from "../support/process.ts";
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
import { FakeNames, file, folder, link, namesOf } from "./published_names_fixture.ts";

const unavailable = new MusicfsError("unavailable", "down", { op: "test", subject: "nas" });

/** Opens a library that adopts `names`, and waits until it has. */
async function adopt(
  nas: MemoryOrigin,
  names: PublishedNames,
  options: Parameters<typeof openLibrary>[1] = {},
): Promise<LibraryFixture> {
  const fixture = openLibrary([nas], { published: () => Promise.resolve(names), ...options });
  fixture.library.adoptPublished();
  await adopted(fixture);
  return fixture;
}

/** Resolves when nothing is being adopted any more. */
async function adopted({ clock, library }: LibraryFixture): Promise<void> {
  await eventually(() => clock.sleeping.length === 0, {
    ms: 10_000,
    what: "the end of the adoption",
  });
  await library.ensureListed(ROOT_ID, never());
}

Deno.test("Library.adoptPublished() shows all names at once, and asks the origin for none of them", async () => {
  const nas = new MemoryOrigin("nas");
  for (let i = 0; i < 30; i += 1) nas.put(`a/${i}/song`, bytes(i), BigInt(i));
  nas.putFolder("empty", 7n);
  nas.putSymlink("a/link", "0/song");
  const names = await namesOf(nas);
  nas.lists.length = 0;
  const fixture = await adopt(nas, names);
  const { library } = fixture;
  for (const path of ["", "a", "a/1", "empty"]) {
    await library.ensureListed(library.namespace.find(path)?.id ?? 0, never());
    assert.equal(library.namespace.find(path)?.listed, true);
  }
  assert.deepEqual([nas.lists, treeOf(library).length], [[], 63]);
  assert.equal(at(library, "empty").mtimeNs, 7n);
  assert.deepEqual(
    [at(library, "a/9/song").size, at(library, "a/9/song").mtimeNs, at(library, "a/link").target],
    [9, 9n, "0/song"],
  );
  checkConsistency(fixture);
});

Deno.test("Library.adoptPublished() lets the first scan list every folder, which finds nothing new", async () => {
  const nas = new MemoryOrigin("nas");
  for (let i = 0; i < 5; i += 1) nas.put(`a/${i}/song`, bytes(i));
  const { library } = await adopt(nas, await namesOf(nas));
  nas.lists.length = 0;
  const ids = at(library, "a/3/song").id;
  const report = await library.scan(never());
  assert.deepEqual(nas.lists.toSorted(), ["", "a", ...[0, 1, 2, 3, 4].map((i) => `a/${i}`)]);
  const { added, changed, gone, files, folders } = report;
  assert.deepEqual({ added, changed, gone, files, folders }, {
    added: 0,
    changed: 0,
    gone: 0,
    files: 5,
    folders: 6,
  });
  assert.equal(at(library, "a/3/song").id, ids);
  assert.equal(at(library, "a/3").sources[0]?.isPublished, undefined);
});

Deno.test("Library.adoptPublished() is set right by the scan where the index is stale or lies", async () => {
  const nas = new MemoryOrigin("nas");
  nas.put("stays", bytes(1));
  nas.put("longer", bytes(1));
  nas.put("gone/song", bytes(1));
  nas.put("file", bytes(1));
  nas.put("folder/song", bytes(1));
  const names = await namesOf(nas);
  nas.put("longer", bytes(2));
  nas.remove("gone");
  nas.put("new/song", bytes(1));
  nas.remove("file");
  nas.put("file/is/a/folder", bytes(1));
  nas.remove("folder");
  nas.put("folder", bytes(3));
  const fixture = await adopt(nas, names);
  const { library } = fixture;
  assert.deepEqual(treeOf(library).length, 7);
  const { held, changed } = await library.scan(never());
  assert.deepEqual([held, changed], [undefined, 1]);
  assert.deepEqual(treeOf(library), await everyPath(nas));
  assert.deepEqual([at(library, "longer").size, at(library, "folder").size], [2, 3]);
  checkConsistency(fixture);
});

Deno.test("Library.scan() lets all go that only an index had, however much that is", async () => {
  const nas = new MemoryOrigin("nas");
  for (let i = 0; i < 40; i += 1) nas.put(`old/${i}`, bytes(1));
  const names = await namesOf(nas);
  nas.remove("old");
  nas.put("new/song", bytes(1));
  const fixture = await adopt(nas, names);
  const report = await fixture.library.scan(never());
  assert.deepEqual([report.gone, report.held], [40, undefined]);
  assert.deepEqual(treeOf(fixture.library), ["new/", "new/song"]);
  checkConsistency(fixture);
});

Deno.test("Library.scan() holds what the origin itself had listed after names were adopted", async () => {
  const nas = new MemoryOrigin("nas");
  for (let i = 0; i < 12; i += 1) nas.put(`seen/${i}`, bytes(1));
  nas.put("kept", bytes(1));
  const real = await namesOf(nas);
  const stale = Array.from({ length: 50 }, (_, i) => file(`stale/${i}`));
  const names = new FakeNames([
    { path: "", mtimeNs: 0n, entries: [...real.list[0]?.entries ?? [], folder("stale")] },
    ...real.list.slice(1),
    { path: "stale", mtimeNs: 0n, entries: stale },
  ]);
  const fixture = await adopt(nas, names);
  const { library } = fixture;
  await library.relist(at(library, "seen").id);
  nas.remove("seen");
  const report = await library.scan(never());
  assert.deepEqual([report.held, report.gone], [{ gone: 12, of: 13 }, 50]);
  assert.equal(library.namespace.find("stale"), undefined);
  assert.notEqual(library.namespace.find("seen/3"), undefined);
  assert.equal((await library.scan(never())).gone, 12);
  assert.deepEqual(treeOf(library), ["kept"]);
  checkConsistency(fixture);
});

Deno.test("Library.scan() holds all that an index had while the origin shows nothing at all", async () => {
  const nas = new MemoryOrigin("nas");
  for (let i = 0; i < 3; i += 1) nas.put(`a/${i}`, bytes(1));
  const names = await namesOf(nas);
  nas.remove("a");
  const { library } = await adopt(nas, names);
  await library.relist(ROOT_ID);
  assert.equal(treeOf(library).length, 4);
  for (let i = 0; i < 3; i += 1) assert((await library.scan(never())).held);
  assert.equal(treeOf(library).length, 4);
  nas.put("b", bytes(1));
  assert.equal((await library.scan(never())).held, undefined);
  assert.deepEqual(treeOf(library), ["b"]);
});

Deno.test("Library.relist() lets go what only an index had in that folder", async () => {
  const nas = new MemoryOrigin("nas");
  for (let i = 0; i < 30; i += 1) nas.put(`a/${i}`, bytes(1));
  const names = await namesOf(nas);
  for (let i = 0; i < 29; i += 1) nas.remove(`a/${i}`);
  const { library } = await adopt(nas, names);
  await library.relist(at(library, "a").id);
  assert.deepEqual(treeOf(library), ["a/", "a/29"]);
  await library.scan(never());
  assert.deepEqual(treeOf(library), ["a/", "a/29"]);
});

Deno.test("Library.adoptPublished() has readers and scans wait for it", async () => {
  const nas = new MemoryOrigin("nas");
  nas.put("a/song", bytes(1));
  const names = await namesOf(nas);
  nas.lists.length = 0;
  const coming = Promise.withResolvers<PublishedNames>();
  const fixture = openLibrary([nas], { published: () => coming.promise });
  const { library, clock } = fixture;
  library.adoptPublished();
  const reading = library.ensureListed(ROOT_ID, never()).then(() => "listed");
  const scanning = library.scan(never());
  await clock.advance(ADOPT_WAIT_MS_MAX - 1);
  assert.deepEqual([nas.lists, treeOf(library)], [[], []]);
  coming.resolve(names);
  assert.equal(await reading, "listed");
  assert.equal(await library.adopted(never().signal), true);
  await library.ensureListed(at(library, "a").id, never());
  assert.deepEqual((await scanning).added, 0);
  assert.deepEqual(treeOf(library), ["a/", "a/song"]);
});

Deno.test("Library shows what an index has of an origin that has gone down since it was read", async () => {
  const nas = new MoodyOrigin("nas");
  nas.put("a/b/song", bytes(1));
  const names = await namesOf(nas);
  const coming = Promise.withResolvers<PublishedNames>();
  let isUp = true;
  const { library } = openLibrary([nas], { published: () => coming.promise, isUp: () => isUp });
  library.adoptPublished();
  isUp = false;
  nas.down = unavailable;
  const reading = library.ensureListed(ROOT_ID, never());
  coming.resolve(names);
  await reading;
  await library.ensureListed(at(library, "a").id, never());
  await library.ensureListed(at(library, "a/b").id, never());
  assert.deepEqual(treeOf(library), ["a/", "a/b/", "a/b/song"]);
});

Deno.test("Library lists folders itself where there is no index, or none that comes in time", async () => {
  const broken = new Error("broken");
  const outcomes: [string, () => Promise<PublishedNames | undefined>, number][] = [
    ["none", () => Promise.resolve(undefined), 0],
    ["unreadable", () => Promise.reject(unavailable), 0],
    ["a bug", () => Promise.reject(broken), 0],
    ["silence", () => new Promise(() => {}), ADOPT_WAIT_MS_MAX],
  ];
  for (const [what, published, waitMs] of outcomes) {
    const nas = new MemoryOrigin("nas");
    nas.put("a/song", bytes(1));
    const { library, clock } = openLibrary([nas], { published });
    library.adoptPublished();
    const reading = library.ensureListed(ROOT_ID, never());
    await clock.settle();
    if (waitMs > 0) {
      assert.deepEqual(nas.lists, [], what);
      await clock.advance(waitMs);
    }
    await reading;
    await library.ensureListed(at(library, "a").id, never());
    assert.deepEqual([treeOf(library), nas.lists], [["a/", "a/song"], ["", "a"]], what);
    assert.equal(await library.adopted(never().signal), false, what);
    if (what === "silence") await clock.advance(ADOPT_MS_MAX - ADOPT_WAIT_MS_MAX);
    await library[Symbol.asyncDispose]();
  }
});

Deno.test("Library takes from an index that comes late only what nobody has listed meanwhile", async () => {
  const nas = new MemoryOrigin("nas");
  nas.put("a/song", bytes(1));
  nas.put("b/song", bytes(1));
  const names = await namesOf(nas);
  nas.lists.length = 0;
  nas.put("a/new", bytes(1));
  const coming = Promise.withResolvers<PublishedNames>();
  const fixture = openLibrary([nas], { published: () => coming.promise });
  const { library, clock } = fixture;
  library.adoptPublished();
  await clock.advance(ADOPT_WAIT_MS_MAX);
  await library.ensureListed(ROOT_ID, never());
  await library.ensureListed(at(library, "a").id, never());
  coming.resolve(names);
  await adopted(fixture);
  assert.deepEqual(treeOf(library), ["a/", "a/new", "a/song", "b/", "b/song"]);
  assert.deepEqual(nas.lists, ["", "a"]);
  const states = ["", "a", "b"].map((path) =>
    library.namespace.find(path)?.sources[0]?.isPublished
  );
  assert.deepEqual(states, [undefined, undefined, true]);
});

Deno.test("Library takes what an index has before the place where it is damaged, and lists the rest", async () => {
  const nas = new MemoryOrigin("nas");
  for (let i = 0; i < 300; i += 1) nas.put(`a/${i}`, bytes(1));
  nas.put("b/song", bytes(1));
  const names = await namesOf(nas);
  nas.lists.length = 0;
  names.failure = { after: 2, error: unavailable };
  const fixture = await adopt(nas, names);
  const { library, index, warnings } = fixture;
  await library.ensureListed(at(library, "a").id, never());
  await library.ensureListed(at(library, "b").id, never());
  assert.equal(treeOf(library).length, 303);
  assert.deepEqual(nas.lists, ["b"]);
  assert.equal(warnings.length, 1);
  const again = await adopt(nas, await namesOf(nas), { index });
  assert.deepEqual(treeOf(again.library).length, 303, "it is not tried a second time");
});

Deno.test("Library.adoptPublished() asks for an origin of which nothing is known, and once", async () => {
  const nas = new MemoryOrigin("nas");
  nas.put("a/song", bytes(1));
  const names = await namesOf(nas);
  let asked = 0;
  const published = (): Promise<PublishedNames> => {
    asked += 1;
    return Promise.resolve(names);
  };
  const first = await adopt(nas, names, { published });
  await first.library[Symbol.asyncDispose]();
  for (let i = 0; i < 2; i += 1) {
    const next = await adopt(nas, names, { published, index: first.index });
    await next.library.scan(never());
  }
  assert.equal(asked, 1);
  const listed = openLibrary([nas]);
  await listed.library.ensureListed(ROOT_ID, never());
  await adopt(nas, names, { published, index: listed.index });
  assert.equal(asked, 1, "its root was listed");
});

Deno.test("Library.adoptPublished() that was stopped goes on at the next start; half a folder does not count", async () => {
  const nas = new MemoryOrigin("nas");
  nas.put("a/song", bytes(1));
  for (let i = 0; i < 4_500; i += 1) nas.put(`great/${i}`, bytes(1));
  nas.put("z/song", bytes(1));
  const names = await namesOf(nas);
  nas.lists.length = 0;
  const expected = await everyPath(nas);
  nas.lists.length = 0;
  const { index } = await stoppedAt(nas, names, "great/0");
  const half = openLibrary([nas], { index });
  assert.equal(at(half.library, "a").listed, true);
  assert.equal(at(half.library, "great").listed, false);
  assert(half.library.namespace.totals().files < 4_502);
  const fixture = await adopt(nas, names, { index });
  assert.deepEqual([treeOf(fixture.library), nas.lists], [expected, []]);
  assert.equal(at(fixture.library, "great").listed, true);
  checkConsistency(fixture);

  const { index: other } = await stoppedAt(nas, names, "great/0");
  const plain = openLibrary([nas], { index: other });
  await plain.library.ensureListed(at(plain.library, "great").id, never());
  assert.deepEqual(nas.lists, ["great"]);
  assert.equal((await plain.library.scan(never())).files, 4_502);
  assert.deepEqual(treeOf(plain.library), expected);
});

/** A library that was stopped as soon as it had adopted a path. */
async function stoppedAt(
  nas: MemoryOrigin,
  names: PublishedNames,
  path: string,
): Promise<LibraryFixture> {
  const fixture = openLibrary([nas], { published: () => Promise.resolve(names) });
  const { library } = fixture;
  library.adoptPublished();
  while (!library.namespace.find(path)) await Promise.resolve();
  await library[Symbol.asyncDispose]();
  return fixture;
}

Deno.test("Library.adoptPublished() refuses what could not be a name, or leads out of the origin", async () => {
  const nas = new MemoryOrigin("nas");
  nas.put("a/song", bytes(1));
  const { version } = await nas.stat("a/song", never());
  const names = new FakeNames([
    {
      path: "",
      mtimeNs: 0n,
      entries: [
        folder("a"),
        folder("a"),
        folder(".musicfs"),
        folder("@eaDir"),
        folder(".."),
        folder("b/c"),
        file("", 1),
        file("x\0y"),
        file("n".repeat(256)),
        file("-1", -1),
        file("half", 0.5),
        link("out", "../etc/passwd"),
        link("round", "a/../../etc/passwd"),
        link("absolute", "/etc/passwd"),
        link("in", "a/song"),
        { ...folder("sized"), size: 5 },
      ],
    },
    { path: "a", mtimeNs: 0n, entries: [{ ...file("a/song"), version }, link("a/up", "../in")] },
    { path: "a", mtimeNs: 0n, entries: [file("a/twice")] },
    { path: "nowhere", mtimeNs: 0n, entries: [file("nowhere/song")] },
    { path: "a/song", mtimeNs: 0n, entries: [file("a/song/song")] },
    { path: ".musicfs", mtimeNs: 0n, entries: [file(".musicfs/index")] },
    { path: "..", mtimeNs: 0n, entries: [file("../song")] },
    { path: "d/".repeat(4_000), mtimeNs: 0n, entries: [] },
  ]);
  const fixture = await adopt(nas, names, { exclude: ["@eaDir"] });
  const { library } = fixture;
  assert.deepEqual(treeOf(library), ["a/", "a/song", "a/up", "in"]);
  checkConsistency(fixture);
  await library.scan(never());
  assert.deepEqual(treeOf(library), ["a/", "a/song"]);
});

Deno.test("Library.adoptPublished() adds to what other origins have, and leaves conflicts to the origin", async () => {
  const disk = new MemoryOrigin("disk");
  disk.put("both/disk", bytes(1));
  disk.put("both/same", bytes(1));
  disk.put("odd", bytes(1));
  const nas = new MemoryOrigin("nas");
  nas.put("both/nas", bytes(1));
  nas.put("both/same", bytes(2));
  nas.put("odd/song", bytes(1));
  for (const order of [[disk, nas], [nas, disk]]) {
    const names = await namesOf(nas);
    const fixture = openLibrary(order, {
      published: (name) => Promise.resolve(name === "nas" ? names : undefined),
    });
    const { library } = fixture;
    await library.scan({ origins: ["disk"], ...never() });
    library.adoptPublished();
    await adopted(fixture);
    nas.lists.length = 0;
    await library.ensureListed(ROOT_ID, never());
    await library.ensureListed(at(library, "both").id, never());
    assert.equal(at(library, "both/same").size, order[0] === disk ? 1 : 2);
    assert.equal(at(library, "both/nas").sources.length, 1);
    assert.equal(at(library, "both/same").sources.length, 2);
    const last = await library.scan(never());
    assert.deepEqual(last.errors, []);
    assert.equal(at(library, "odd").kind, order[0] === disk ? "file" : "folder");
    checkConsistency(fixture);
  }
});

const names = fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 3 });
const trees = fc.array(fc.record({ names, size: fc.nat(3) }), { maxLength: 25 });

Deno.test("Library.scan() makes of adopted names what it would have made of none", async () => {
  await fc.assert(
    fc.asyncProperty(trees, trees, fc.nat(3), async (before, after, stops) => {
      const then = treeOrigin(before);
      const now = treeOrigin(after);
      const list = await namesOf(then);
      let fixture = openLibrary([now], { published: () => Promise.resolve(list) });
      fixture.library.adoptPublished();
      for (let i = 0; i < stops; i += 1) await Promise.resolve();
      await fixture.library[Symbol.asyncDispose]();
      fixture = await adopt(now, list, { index: fixture.index });
      checkConsistency(fixture);
      const stays = before.some(({ names: [first] }) =>
        after.some(({ names: [other] }) => other === first) &&
        isFolderIn(before, first) === isFolderIn(after, first)
      );
      const { held } = await fixture.library.scan(never());
      if (stays) assert.equal(held, undefined, "something is left, so all else may go");
      await fixture.library.scan({ acceptDeletions: true, ...never() });
      checkConsistency(fixture);
      assert.deepEqual(treeOf(fixture.library), await everyPath(now));
    }),
    { numRuns: 80 },
  );
});

/** A tree; a name that is both a file and on the way to another is a folder. */
function treeOrigin(paths: readonly { names: string[]; size: number }[]): MemoryOrigin {
  const origin = new MemoryOrigin("nas");
  for (const { names, size } of paths) {
    const path = names.join("/");
    if (!isFolderIn(paths, path)) origin.put(path, bytes(size));
  }
  return origin;
}

function isFolderIn(paths: readonly { names: string[] }[], path = ""): boolean {
  return paths.some(({ names }) => names.join("/").startsWith(`${path}/`));
}

async function everyPath(origin: MemoryOrigin, path = ""): Promise<string[]> {
  const paths: string[] = [];
  for await (const entry of origin.list(path, never())) {
    if (entry.kind === "folder") {
      paths.push(`${entry.path}/`, ...await everyPath(origin, entry.path));
    } else paths.push(entry.path);
  }
  return paths.sort();
}
