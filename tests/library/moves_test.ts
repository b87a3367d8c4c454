import fc from "fast-check";
import assert from "node:assert/strict";
import type { EntryEvent } from "../../src/library/entry_event.ts";
import type { Library, ScanReport } from "../../src/library/library.ts";
import { ROOT_ID } from "../../src/library/node_id.ts";
import type { CallOptions, OriginEntry } from "../../src/origins/origin.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import {
  at,
  bytes,
  checkConsistency,
  type LibraryFixture,
  never,
  openLibrary,
  treeOf,
} from "./library_fixture.ts";

/** What a scan counted, but for what was seen. */
function countsOf({ added, changed, moved, gone, held }: ScanReport): object {
  return { added, changed, moved, gone, ...(held && { held }) };
}

const nothing = { added: 0, changed: 0, moved: 0, gone: 0 };

/** Events since the last call, as lines in order. */
function hear(library: Library): () => string[] {
  const heard: EntryEvent[] = [];
  library.listen((events) => heard.push(...events));
  return () =>
    heard.splice(0).map(({ kind, path, from }) => `${kind} ${from ? `${from} > ` : ""}${path}`)
      .toSorted();
}

/** Some albums at an origin, and a library that has scanned them. */
async function albums(
  count = 4,
): Promise<ReturnType<typeof openLibrary> & { nas: MemoryOrigin; told: () => string[] }> {
  const nas = new MemoryOrigin("nas");
  for (let i = 0; i < count; i += 1) {
    for (const track of ["1", "2", "3"]) nas.put(`all/a${i}/${track}`, bytes(i));
  }
  const fixture = openLibrary([nas]);
  await fixture.library.scan(never());
  return { ...fixture, nas, told: hear(fixture.library) };
}

Deno.test("Library.scan() tells a file that was renamed, and one in another folder, as moved", async () => {
  const fixture = await albums();
  const { library, nas, told } = fixture;
  nas.move("all/a1/2", "all/a1/9");
  nas.move("all/a2/1", "all/a3/new");
  nas.put("all/a0/4", bytes(1));
  nas.remove("all/a0/1");
  const report = await library.scan(never());
  assert.deepEqual(countsOf(report), { added: 1, changed: 0, moved: 2, gone: 1 });
  assert.deepEqual(report.origins[0]?.moved, 2);
  assert.deepEqual(told(), [
    "added all/a0/4",
    "gone all/a0/1",
    "moved all/a1/2 > all/a1/9",
    "moved all/a2/1 > all/a3/new",
  ]);
  assert.deepEqual(countsOf(await library.scan(never())), nothing);
  checkConsistency(fixture);
});

Deno.test("Library.scan() lets a folder with everything in it be renamed, in one scan", async () => {
  const fixture = await albums(100);
  const { library, nas, told } = fixture;
  nas.move("all", "everything");
  assert.deepEqual(countsOf(await library.scan(never())), { ...nothing, moved: 300 });
  assert(told().every((line) => /^moved all\/(a\d+\/\d) > everything\/\1$/.test(line)));
  assert.equal(library.namespace.find("all"), undefined);
  assert.equal(library.namespace.totals().files, 300);
  checkConsistency(fixture);
});

Deno.test("Library.scan() holds what vanished beside what moved, and removes the old names", async () => {
  const fixture = await albums();
  const { library, nas, told } = fixture;
  nas.move("all/a0", "new");
  nas.move("all/a1/1", "new/4");
  nas.remove("all");
  const held = await library.scan(never());
  assert.deepEqual(countsOf(held), { ...nothing, moved: 4, gone: 8 }, "less than ten may go");
  told();
  for (let i = 0; i < 20; i += 1) nas.put(`all/${i}/1`, bytes(1));
  await library.scan(never());
  told();
  nas.move("all/1", "all/first");
  for (let i = 2; i < 20; i += 1) nas.remove(`all/${i}`);
  const second = await library.scan(never());
  assert.deepEqual(countsOf(second), { ...nothing, moved: 1, held: { gone: 18, of: 24 } });
  assert.deepEqual(told(), ["moved all/1/1 > all/first/1"]);
  assert.equal(library.namespace.totals().files, 24);
  assert.deepEqual(countsOf(await library.scan(never())), { ...nothing, gone: 18 });
  checkConsistency(fixture);
});

Deno.test("Library.scan() invents no move where the content is another or was there before", async () => {
  const { library, nas, told } = await albums();
  nas.remove("all/a1/1");
  nas.put("all/a1/new", bytes(1)); // Of the same size, but another version.
  nas.copy("all/a2/1", "all/a2/copy"); // Both are there.
  assert.deepEqual(countsOf(await library.scan(never())), { ...nothing, added: 2, gone: 1 });
  assert.deepEqual(told(), ["added all/a1/new", "added all/a2/copy", "gone all/a1/1"]);
  await library.scan(never());
  nas.remove("all/a2/1"); // The copy came with an earlier scan.
  assert.deepEqual(countsOf(await library.scan(never())), { ...nothing, gone: 1 });
  assert.deepEqual(told(), ["gone all/a2/1"]);
});

Deno.test("Library.scan() pairs what has the same mark one to one", async () => {
  const { library, nas, told } = await albums();
  nas.copy("all/a0/1", "all/a1/cover");
  nas.copy("all/a0/1", "all/a2/cover");
  nas.copy("all/a0/1", "all/a3/cover");
  nas.remove("all/a0/1");
  await library.scan(never());
  await library.scan(never());
  told();
  nas.move("all/a1", "new1");
  nas.move("all/a2", "new2");
  nas.remove("all/a3/cover");
  assert.deepEqual(countsOf(await library.scan(never())), { ...nothing, moved: 8, gone: 1 });
  const covers = told().filter((line) => line.includes("cover"));
  assert.deepEqual(covers, [
    "gone all/a3/cover",
    "moved all/a1/cover > new1/cover",
    "moved all/a2/cover > new2/cover",
  ]);
});

Deno.test("Library.scan() holds nothing of a folder whose new name somebody has looked into", async () => {
  const { library, nas, told } = await albums();
  nas.move("all", "everything");
  await library.relist(ROOT_ID);
  for (const { path } of [{ path: "everything" }, ...folders("everything/a", 4)]) {
    await library.ensureListed(at(library, path).id, never());
  }
  assert.equal(told().filter((line) => line.startsWith("added everything/")).length, 12);
  assert.equal(at(library, "all").kind, "folder", "what one listing misses is for a scan");
  assert.deepEqual(countsOf(await library.scan(never())), { ...nothing, gone: 12 });
  assert(told().every((line) => line.startsWith("gone all/")));
});

Deno.test("Library.scan() holds nothing of what moved under it", async () => {
  const { library, nas, index, clock } = await albums();
  await library[Symbol.asyncDispose]();
  let isMoved = false;
  const moving = {
    name: "nas",
    stat: nas.stat.bind(nas),
    read: nas.read.bind(nas),
    async *list(path: string, options: CallOptions): AsyncIterable<OriginEntry> {
      if (path === "last" && !isMoved) {
        isMoved = true;
        nas.move("all", "last/all");
      }
      yield* nas.list(path, options);
    },
  };
  nas.putFolder("last");
  const again = openLibrary([moving], { index, clock });
  const told = hear(again.library);
  const first = await again.library.scan(never());
  assert.equal(isMoved, true);
  const second = await again.library.scan(never());
  assert.deepEqual([first.held, second.held], [undefined, undefined]);
  assert.equal(first.added + second.added - first.gone - second.gone, 0);
  assert.equal(first.moved + second.moved + first.gone + second.gone, 12);
  assert.equal(again.library.namespace.totals().files, 12);
  assert(told().length > 0);
});

Deno.test("Library.relist() tells a file that was renamed in its folder as moved", async () => {
  const fixture = await albums();
  const { library, nas, told } = fixture;
  nas.move("all/a1/1", "all/a1/one");
  nas.put("all/a1/4", bytes(4));
  await library.relist(at(library, "all/a1").id);
  assert.deepEqual(told(), ["added all/a1/4", "moved all/a1/1 > all/a1/one"]);
  assert.deepEqual(countsOf(await library.scan(never())), nothing);
  assert.deepEqual(told(), []);
  checkConsistency(fixture);
});

Deno.test("Library.look() tells of what moved among the folders it was given, and below new ones", async () => {
  const fixture = await albums(12);
  const { library, nas, told } = fixture;
  nas.move("all/a1/1", "all/a2/one");
  nas.put("all/a2/new", bytes(1));
  nas.remove("all/a1/2");
  await look(fixture, ["all/a1", "all/a2"]);
  assert.deepEqual(told(), [
    "added all/a2/new",
    "gone all/a1/2",
    "moved all/a1/1 > all/a2/one",
  ]);
  nas.move("all", "everything");
  await look(fixture, [""]);
  assert(told().every((line) => /^moved all\/(\S+) > everything\/\1$/.test(line)));
  assert.equal(library.namespace.find("all"), undefined);
  assert.equal(library.namespace.totals().files, 36);
  assert.deepEqual(countsOf(await library.scan(never())), nothing);
  assert.deepEqual(told(), []);
  checkConsistency(fixture);
});

Deno.test("Library.look() judges what is gone by all that was known, moved or not", async () => {
  const fixture = await albums(20);
  const { library, nas, told } = fixture;
  for (let i = 0; i < 12; i += 1) nas.move(`all/a${i}`, `all/b${i}`);
  for (let i = 12; i < 18; i += 1) nas.remove(`all/a${i}`);
  await look(fixture, ["all"]); // 18 of 60 are gone, of the 24 that did not move.
  assert.equal(told().filter((line) => line.startsWith("gone")).length, 18);
  nas.remove("all");
  nas.put("other/1", bytes(1));
  await look(fixture, ["", "other"]); // 42 of 42, whatever came.
  assert.deepEqual(told(), ["added other/1"]);
  for (let i = 0; i < 3; i += 1) assert((await library.scan(never())).held);
});

Deno.test("Library.look() tells of both when the new name is found later, and nothing is held", async () => {
  const fixture = await albums(12);
  const { library, nas, told } = fixture;
  nas.move("all", "everything");
  nas.putFolder("all");
  await look(fixture, ["everything"]);
  assert.equal(told().filter((line) => line.startsWith("added")).length, 36);
  await look(fixture, ["all"]);
  assert.equal(told().filter((line) => line.startsWith("gone")).length, 36);
  assert.equal(library.namespace.totals().files, 36);
  checkConsistency(fixture);
});

Deno.test("Library.look() beside a scan settles what it finds with what the scan has found", async () => {
  const { library, nas, index, clock } = await albums();
  await library[Symbol.asyncDispose]();
  nas.move("all/a1", "all/b");
  nas.put("zz/1", bytes(1));
  const looked: Promise<void>[] = [];
  let lookThere = (): Promise<void> => Promise.resolve();
  const looking = {
    name: "nas",
    stat: nas.stat.bind(nas),
    read: nas.read.bind(nas),
    async *list(path: string, options: CallOptions): AsyncIterable<OriginEntry> {
      if (path === "zz" && looked.length === 0) {
        nas.move("all/b", "all/c");
        looked.push(lookThere());
        await Promise.all(looked);
      }
      yield* nas.list(path, options);
    },
  };
  const again = openLibrary([looking], { index, clock });
  lookThere = () => look(again, ["all"]);
  const told = hear(again.library);
  const report = await again.library.scan(never());
  const next = await again.library.scan(never());
  assert.equal(looked.length, 1);
  const files = treeOf(again.library).filter((path) => !path.endsWith("/"));
  assert.equal(files.length, 13);
  assert.equal(report.added + next.added - report.gone - next.gone, 1);
  const lines = told();
  assert.deepEqual(lines.filter((line) => line.includes("all/b")), []);
  assert.equal(lines.filter((line) => /^moved all\/a1\/. > all\/c\/.$/.test(line)).length, 3);
});

Deno.test("Library.scan() counts a move at each of two origins, and tells of it truly", async () => {
  const [disk, nas] = [new MemoryOrigin("disk"), new MemoryOrigin("nas")];
  for (const origin of [disk, nas]) {
    origin.put("a/song", bytes(3));
    origin.put("b/song", bytes(4));
  }
  const fixture = openLibrary([disk, nas]);
  const { library } = fixture;
  await library.scan(never());
  const told = hear(library);
  for (const origin of [disk, nas]) origin.move("a", "c");
  const report = await library.scan(never());
  assert.deepEqual(report.origins.map(countsOf as never), [
    { ...nothing, moved: 1 },
    { ...nothing, moved: 1 },
  ]);
  const names = (): string[] => told().filter((line) => !line.startsWith("changed"));
  assert.deepEqual(names(), ["added c/song", "gone a/song"]);
  disk.move("c", "d"); // The other one still has the old name.
  assert.deepEqual(countsOf(await library.scan(never())), { ...nothing, moved: 1 });
  assert.deepEqual(names(), ["added d/song"]);
  nas.move("c", "d"); // Later than the first.
  assert.deepEqual(countsOf(await library.scan(never())), { ...nothing, moved: 1 });
  assert.deepEqual(names(), ["gone c/song"]);
  checkConsistency(fixture);
});

Deno.test("Library.scan() that ends early tells of what came when it is gone on with", async () => {
  const { library, nas, index, clock } = await albums();
  const heard = hear(library);
  nas.move("all/a1", "all/b");
  nas.put("all/b/4", bytes(1));
  const controller = new AbortController();
  const stopping = {
    name: "nas",
    stat: nas.stat.bind(nas),
    read: nas.read.bind(nas),
    async *list(path: string, options: CallOptions): AsyncIterable<OriginEntry> {
      if (path === "all/a3") controller.abort(new Error("enough"));
      yield* nas.list(path, options);
    },
  };
  await library[Symbol.asyncDispose]();
  assert.deepEqual(heard(), []);
  const ended = openLibrary([stopping], { index, clock });
  await assert.rejects(ended.library.scan({ signal: controller.signal }), /enough/);
  await ended.library[Symbol.asyncDispose]();
  const again = openLibrary([nas], { index, clock });
  const told = hear(again.library);
  const report = await again.library.scan(never());
  assert.deepEqual([report.moved, report.added, report.gone], [3, 1, 0]);
  assert.deepEqual(told(), [
    "added all/b/4",
    ...["1", "2", "3"].map((track) => `moved all/a1/${track} > all/b/${track}`),
  ]);
});

/** Looks at folders; commits that wait for company get it when time goes on. */
async function look(
  { library, clock }: Pick<LibraryFixture, "library" | "clock">,
  folders: readonly string[],
): Promise<void> {
  let isDone = false;
  const done = library.look("nas", folders, never()).finally(() => isDone = true);
  while (!isDone) await clock.advance(30);
  await done;
}

const steps = fc.array(
  fc.record({
    from: fc.constantFrom("a", "b", "a/x", "b/x", "a/1", "b/1", "a/x/1", "b/x/1"),
    to: fc.constantFrom("a", "b", "a/y", "b/y", "a/2", "b/1", "a/x/2", "b/x/1", "c"),
    what: fc.constantFrom("move", "move", "copy", "put", "remove", "scan", "relist", "restart"),
    origin: fc.nat(1),
  }),
  { minLength: 5, maxLength: 40 },
);

Deno.test("Library's events, one after another, make the tree, whatever moves", async () => {
  await fc.assert(
    fc.asyncProperty(steps, fc.integer({ min: 1, max: 2 }), async (todo, origins) => {
      const all = [new MemoryOrigin("disk"), new MemoryOrigin("nas")].slice(0, origins);
      for (const origin of all) {
        for (const path of ["a/1", "a/x/1", "b/1", "b/x/1"]) origin.put(path, bytes(2));
      }
      let fixture = openLibrary(all);
      const known = new Set<string>();
      const follow = (): void => {
        fixture.library.listen((events) => events.forEach((event) => apply(known, event)));
      };
      follow();
      await fixture.library.scan(never());
      for (const { from, to, what, origin } of todo) {
        const target = all[origin % origins];
        if (what === "scan") {
          const before = fixture.library.namespace.totals().files;
          const report = await fixture.library.scan({ acceptDeletions: true, ...never() });
          const after = fixture.library.namespace.totals().files;
          if (origins === 1) assert.equal(after - before, report.added - report.gone);
        } else if (what === "relist") {
          const id = fixture.library.namespace.find(from);
          if (id?.kind === "folder") await fixture.library.relist(id.id).catch(() => {});
        } else if (what === "restart") {
          fixture = openLibrary(all, fixture);
          follow();
        } else if (target) await change(target, { from, to, what });
        checkConsistency(fixture);
      }
      for (let i = 0; i < 3; i += 1) {
        await fixture.library.scan({ acceptDeletions: true, ...never() });
      }
      const files = treeOf(fixture.library).filter((path) => !path.endsWith("/"));
      assert.deepEqual([...known].sort(), files);
      assert.equal(fixture.index.table("arrived").count(), 0, "notes stay behind");
    }),
    { numRuns: 60 },
  );
});

/** Follows one event; each must make sense by itself. */
function apply(known: Set<string>, { kind, path, from }: EntryEvent): void {
  const said = `${kind} ${path}`;
  if (kind === "changed") assert(known.has(path), said);
  else if (kind === "gone") assert(known.delete(path), said);
  else {
    assert.equal(from !== undefined, kind === "moved");
    if (from !== undefined) assert(known.delete(from), `${said} from ${from}`);
    assert(!known.has(path), said);
    known.add(path);
  }
}

async function change(
  origin: MemoryOrigin,
  { from, to, what }: { from: string; to: string; what: string },
): Promise<void> {
  const kindOf = async (path: string): Promise<string | undefined> =>
    await origin.stat(path, never()).then(({ kind }) => kind, () => undefined);
  const isFree = async (path: string): Promise<boolean> => {
    const parent = path.slice(0, Math.max(0, path.lastIndexOf("/")));
    if (parent !== "" && await kindOf(parent) === "file") return false;
    return await kindOf(path) === undefined;
  };
  if (what === "remove") return origin.remove(from);
  if (!await isFree(to) || to.startsWith(`${from}/`)) return;
  if (what === "put") origin.put(to, bytes(to.length));
  else if (what === "copy" && await kindOf(from) === "file") origin.copy(from, to);
  else if (what === "move" && await kindOf(from) !== undefined) origin.move(from, to);
}

function folders(prefix: string, count: number): { path: string }[] {
  return Array.from({ length: count }, (_none, i) => ({ path: `${prefix}${i}` }));
}
