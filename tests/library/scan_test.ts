import fc from "fast-check";
import assert from "node:assert/strict";
import { type ErrorCode, MusicfsError } from "../../src/base/errors.ts";
import { ROOT_ID } from "../../src/library/node_id.ts";
import type { ScanReport } from "../../src/library/library.ts";
import type { Origin } from "../../src/origins/origin.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import {
  at,
  bytes,
  checkConsistency,
  MoodyOrigin,
  never,
  openLibrary,
  treeOf,
} from "./library_fixture.ts";

function failure(code: ErrorCode): MusicfsError {
  return new MusicfsError(code, code, { op: "test", subject: "nas" });
}

/** The counts of a report. */
function countsOf(report: ScanReport): object {
  const { added, changed, gone, files, folders, held } = report;
  return { added, changed, gone, files, folders, ...(held && { held }) };
}

async function everyPath(origin: Origin, folder = ""): Promise<string[]> {
  const paths: string[] = [];
  for await (const { path, kind } of origin.list(folder, never())) {
    paths.push(kind === "folder" ? `${path}/` : path);
    if (kind === "folder") paths.push(...await everyPath(origin, path));
  }
  return paths.sort();
}

Deno.test("Library.scan() finds everything, then what was added, changed and is gone", async () => {
  const nas = new MemoryOrigin("nas");
  for (let i = 0; i < 5; i += 1) nas.put(`a/b/${i}`, bytes(i));
  nas.putFolder("empty");
  nas.putSymlink("link", "a");
  const fixture = openLibrary([nas]);
  const { library, changes } = fixture;
  assert.deepEqual(countsOf(await library.scan(never())), {
    added: 5,
    changed: 0,
    gone: 0,
    files: 5,
    folders: 3,
  });
  assert.deepEqual(changes, []);
  assert.deepEqual(treeOf(library), await everyPath(nas));
  nas.put("a/b/new", bytes(1));
  nas.put("a/b/0", bytes(9));
  nas.remove("a/b/1");
  assert.deepEqual(countsOf(await library.scan(never())), {
    added: 1,
    changed: 1,
    gone: 1,
    files: 5,
    folders: 3,
  });
  assert.deepEqual(treeOf(library), await everyPath(nas));
  assert.deepEqual(countsOf(await library.scan(never())), {
    added: 0,
    changed: 0,
    gone: 0,
    files: 5,
    folders: 3,
  });
  checkConsistency(fixture);
});

Deno.test("Library.scan() never believes that everything is gone, unless it is told to", async () => {
  const nas = new MemoryOrigin("nas");
  nas.put("album/song", bytes(1));
  nas.put("top", bytes(1));
  const fixture = openLibrary([nas]);
  const { library } = fixture;
  await library.scan(never());
  const before = treeOf(library);
  nas.remove("album");
  nas.remove("top");
  for (let i = 0; i < 3; i += 1) {
    const report = await library.scan(never());
    assert.deepEqual([report.gone, report.held], [0, { gone: 2, of: 2 }]);
    assert.deepEqual(treeOf(library), before);
  }
  const report = await library.scan({ acceptDeletions: true, ...never() });
  assert.deepEqual([report.gone, report.held], [2, undefined]);
  assert.deepEqual(treeOf(library), []);
  checkConsistency(fixture);
});

Deno.test("Library.scan() holds the loss of most files until a second scan finds the same", async () => {
  const nas = new MemoryOrigin("nas");
  for (let i = 0; i < 12; i += 1) nas.put(`a/${i}`, bytes(1));
  nas.put("b/x", bytes(1));
  const fixture = openLibrary([nas]);
  const { library } = fixture;
  await library.scan(never());
  const before = treeOf(library);
  for (let i = 0; i < 11; i += 1) nas.remove(`a/${i}`);
  assert.deepEqual((await library.scan(never())).held, { gone: 11, of: 13 });
  assert.deepEqual(treeOf(library), before);
  nas.remove("a/11");
  assert.deepEqual((await library.scan(never())).held, { gone: 12, of: 13 }, "not the same");
  assert.deepEqual(treeOf(library), before);
  const report = await library.scan(never());
  assert.deepEqual([report.gone, report.held], [12, undefined]);
  assert.deepEqual(treeOf(library), ["a/", "b/", "b/x"]);
  checkConsistency(fixture);
});

Deno.test("Library.scan() forgets what it held when that is back", async () => {
  const nas = new MemoryOrigin("nas");
  for (let i = 0; i < 12; i += 1) nas.put(`a/${i}`, bytes(1));
  nas.putFolder("b");
  const { library, index } = openLibrary([nas]);
  await library.scan(never());
  nas.remove("a");
  assert(await library.scan(never()).then(({ held }) => held));
  for (let i = 0; i < 12; i += 1) nas.put(`a/${i}`, bytes(1));
  assert.equal((await library.scan(never())).held, undefined);
  assert.equal(index.table("gone").count(), 0);
  nas.remove("a");
  assert(await library.scan(never()).then(({ held }) => held), "counted from anew");
});

Deno.test("Library.scan() removes nothing when a folder did not answer", async () => {
  const nas = new MoodyOrigin("nas");
  nas.put("a/song", bytes(1));
  nas.put("b/song", bytes(1));
  nas.put("b/sub/song", bytes(1));
  const { library } = openLibrary([nas]);
  await library.scan(never());
  const before = treeOf(library);
  nas.remove("a/song");
  nas.broken.set("b", failure("unavailable"));
  const report = await library.scan(never());
  assert.equal(report.gone, 0);
  assert.deepEqual(report.errors.map((error) => error.message), ["unavailable"]);
  assert.deepEqual(treeOf(library), before);
  nas.broken.clear();
  assert.equal((await library.scan(never())).gone, 1);
});

Deno.test("Library.scan() holds everything if the origin was emptied when most of it was seen", async () => {
  const nas = new MemoryOrigin("nas");
  for (let i = 0; i < 12; i += 1) nas.put(`${String(i).padStart(2, "0")}/song`, bytes(1));
  const { index, clock, library } = openLibrary([nas]);
  await library.scan(never());
  await library[Symbol.asyncDispose]();
  const emptied = stopAt(nas, "11", () => {
    for (let i = 0; i < 12; i += 1) nas.remove(String(i).padStart(2, "0"));
    return Promise.resolve();
  });
  const again = openLibrary([emptied], { index, clock });
  const report = await again.library.scan(never());
  assert.deepEqual([report.gone, report.held], [0, { gone: 12, of: 12 }]);
  assert.equal(again.library.namespace.totals().files, 12);
});

Deno.test("Library.scan() believes no second scan that what stands in another's place is all", async () => {
  const nas = new MemoryOrigin("nas");
  for (let i = 0; i < 12; i += 1) nas.put(`${i}/song`, bytes(1));
  const { library } = openLibrary([nas]);
  await library.scan(never());
  for (let i = 0; i < 12; i += 1) nas.remove(`${i}`);
  for (let i = 0; i < 30; i += 1) nas.put(`other/${i}`, bytes(1));
  for (let i = 0; i < 3; i += 1) {
    const { held, gone } = await library.scan(never());
    assert.deepEqual([gone, held], [0, { gone: 12, of: 12 }]);
    await library.relist(ROOT_ID);
    assert.equal(library.namespace.totals().files, 42);
  }
  assert.equal((await library.scan({ acceptDeletions: true, ...never() })).gone, 12);
  assert.equal((await library.scan(never())).held, undefined);
});

Deno.test("Library.scan() judges by what was known, also of files that no scan has found", async () => {
  const nas = new MemoryOrigin("nas");
  nas.put("kept", bytes(1));
  const { library } = openLibrary([nas]);
  await library.scan(never());
  for (let i = 0; i < 100; i += 1) nas.put(`new/${i}`, bytes(1));
  await library.relist(ROOT_ID);
  await library.ensureListed(at(library, "new").id, never());
  for (let i = 0; i < 20; i += 1) nas.remove(`new/${i}`);
  const report = await library.scan(never());
  assert.deepEqual([report.gone, report.held], [20, undefined]);
});

Deno.test("Library.scan() leaves a folder that it may not read as it is, and removes elsewhere", async () => {
  const nas = new MoodyOrigin("nas");
  nas.put("a/song", bytes(1));
  nas.put("b/song", bytes(1));
  const { library } = openLibrary([nas]);
  await library.scan(never());
  nas.remove("a/song");
  nas.broken.set("b", failure("denied"));
  const report = await library.scan(never());
  assert.equal(report.gone, 1);
  assert.equal(report.errors.length, 1);
  assert.deepEqual(treeOf(library), ["a/", "b/", "b/song"]);
});

Deno.test("Library.scan() takes a folder that vanished under it for gone", async () => {
  const nas = new MoodyOrigin("nas");
  nas.put("a/song", bytes(1));
  nas.put("b/song", bytes(1));
  const { library } = openLibrary([nas]);
  await library.scan(never());
  nas.broken.set("b", failure("not_found"));
  const report = await library.scan(never());
  assert.deepEqual([report.gone, report.errors], [1, []]);
  assert.deepEqual(treeOf(library), ["a/", "a/song"]);
});

Deno.test("Library.scan() reports an origin that is down and keeps all of it", async () => {
  const nas = new MoodyOrigin("nas");
  const disk = new MemoryOrigin("disk");
  nas.put("a", bytes(1));
  disk.put("b", bytes(1));
  const { library } = openLibrary([nas, disk]);
  await library.scan(never());
  nas.down = failure("unavailable");
  disk.put("c", bytes(1));
  const report = await library.scan(never());
  assert.deepEqual([report.added, report.errors.length], [1, 1]);
  assert.deepEqual(treeOf(library), ["a", "b", "c"]);
  assert.deepEqual((await library.scan({ origins: ["disk"], ...never() })).errors, []);
});

Deno.test("Library.scan() gives up an origin that fails again and again", async () => {
  const nas = new MoodyOrigin("nas");
  for (let i = 0; i < 900; i += 1) nas.put(`${i}/song`, bytes(1));
  const { library } = openLibrary([nas]);
  await library.scan(never());
  for (let i = 0; i < 900; i += 1) nas.broken.set(`${i}`, failure("timed_out"));
  const report = await library.scan(never());
  assert.equal(report.errors.length, 10);
  assert.equal(report.gone, 0);
  assert.equal(library.namespace.totals().files, 900);
});

Deno.test("Library.scan() holds the loss of a folder that became a file, then follows", async () => {
  const nas = new MemoryOrigin("nas");
  for (let i = 0; i < 12; i += 1) nas.put(`a/${i}`, bytes(1));
  nas.put("b", bytes(1));
  const fixture = openLibrary([nas]);
  const { library } = fixture;
  await library.scan(never());
  nas.remove("a");
  nas.put("a", bytes(1));
  assert.deepEqual((await library.scan(never())).held, { gone: 12, of: 13 });
  assert.equal(at(library, "a").kind, "folder");
  assert.equal((await library.scan(never())).gone, 12);
  assert.equal(at(library, "a").kind, "file");
  checkConsistency(fixture);
});

Deno.test("Library.scan() walks a folder of 5,100 files and a path of 120 folders", async () => {
  const nas = new MemoryOrigin("nas");
  for (let i = 0; i < 5_100; i += 1) nas.put(`great/${i}`, bytes(0));
  nas.put(`${"d/".repeat(120)}song`, bytes(1));
  const fixture = openLibrary([nas]);
  const report = await fixture.library.scan(never());
  assert.deepEqual([report.added, report.files, report.folders], [5_101, 5_101, 121]);
  assert.deepEqual((await fixture.library.scan(never())).added, 0);
  nas.remove("great");
  nas.putFolder("great");
  const gone = await fixture.library.scan({ acceptDeletions: true, ...never() });
  assert.equal(gone.gone, 5_100);
  checkConsistency(fixture);
});

Deno.test("Library.scan() works beside listings on demand, and each folder is listed once", async () => {
  const nas = new MemoryOrigin("nas");
  for (let i = 0; i < 60; i += 1) nas.put(`${i}/song`, bytes(1));
  const fixture = openLibrary([nas]);
  const { library } = fixture;
  await library.ensureListed(ROOT_ID, never());
  const ids = [...library.namespace.children(ROOT_ID, 0)].map(({ id }) => id);
  nas.lists.length = 0;
  const scan = library.scan(never());
  await Promise.all(ids.map((id) => library.ensureListed(id, never())));
  const report = await scan;
  assert.deepEqual([report.files, report.folders, report.added], [60, 60, 60]);
  assert(nas.lists.length <= 2 * 60 + 1);
  checkConsistency(fixture);
});

Deno.test("Library.scan() tells how far it has come, and at its end all of it", async () => {
  const nas = new MemoryOrigin("nas");
  for (let i = 0; i < 3; i += 1) nas.put(`${i}/song`, bytes(1));
  const { library } = openLibrary([nas]);
  const seen: object[] = [];
  await library.scan({ onProgress: (progress) => seen.push(progress), ...never() });
  const counts = { added: 3, changed: 0, moved: 0, gone: 0, files: 3, folders: 3 };
  assert.deepEqual(seen.at(-1), { origin: "nas", ...counts });
});

Deno.test("Library.scan() lets a scan that is under way end first", async () => {
  const nas = new MemoryOrigin("nas");
  nas.put("song", bytes(1));
  const { library } = openLibrary([nas]);
  const reports = await Promise.all([library.scan(never()), library.scan(never())]);
  assert.deepEqual(reports.map(({ added }) => added), [1, 0]);
});

Deno.test("Library.scan() begins anew what was interrupted long ago, or if it is told to", async () => {
  const table = [
    [0, true, true],
    [299_000, true, true],
    [0, false, false],
    [300_000, true, false],
  ] as const;
  for (const [waitMs, resume, resumed] of table) {
    const { library, nas, clock } = await interrupted();
    nas.put("a/late", bytes(1));
    await clock.advance(waitMs);
    const report = await library.scan({ resume, ...never() });
    assert.equal(report.origins[0]?.resumed, resumed);
    const late = library.namespace.find("a/late");
    assert.equal(late === undefined, resumed, "what was listed is not listed again");
    assert.notEqual(library.namespace.find("b/deep/song"), undefined);
  }
});

/** A scan that has listed "a" but not "b/deep". */
async function interrupted(): Promise<ReturnType<typeof openLibrary> & { nas: MoodyOrigin }> {
  const nas = new MoodyOrigin("nas");
  nas.put("a/song", bytes(1));
  nas.put("b/deep/song", bytes(1));
  const controller = new AbortController();
  const fixture = openLibrary([stopAt(nas, "b/deep", () => {
    controller.abort(new Error("enough"));
    return Promise.reject(failure("unavailable"));
  })]);
  await assert.rejects(fixture.library.scan({ signal: controller.signal }), /enough/);
  return { ...openLibrary([nas], { index: fixture.index, clock: fixture.clock }), nas };
}

/** An origin that waits for `stop` before it lists `folder`. */
function stopAt(origin: Origin, folder: string, stop: () => Promise<void>): Origin {
  return {
    name: origin.name,
    stat: (path, options) => origin.stat(path, options),
    read: (file, range, options) => origin.read(file, range, options),
    async *list(path, options): AsyncIterable<never> {
      if (path === folder) await stop();
      yield* origin.list(path, options) as AsyncIterable<never>;
    },
  };
}

const trees = fc.uniqueArray(
  fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 4 }),
  { minLength: 1, maxLength: 25, selector: (names) => names.join("/") },
);

Deno.test("Library.scan() resumed after any number of interruptions counts each file once", async () => {
  const stops = fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(trees, stops, async (paths, stopAfter) => {
      const nas = new MemoryOrigin("nas");
      for (const names of paths) nas.put(`${names.map((n) => `${n}/`).join("")}song`, bytes(1));
      let fixture = openLibrary([nas]);
      for (const count of stopAfter) {
        const controller = new AbortController();
        let left = count;
        const counting: Origin = {
          name: "nas",
          stat: (path, options) => nas.stat(path, options),
          read: (file, range, options) => nas.read(file, range, options),
          async *list(path, options): AsyncIterable<never> {
            left -= 1;
            if (left === 0) controller.abort(new Error("enough"));
            yield* nas.list(path, options) as AsyncIterable<never>;
          },
        };
        fixture = openLibrary([counting], { index: fixture.index, clock: fixture.clock });
        const outcome = await fixture.library.scan({ signal: controller.signal }).catch(String);
        await fixture.library[Symbol.asyncDispose]();
        if (typeof outcome !== "string") break;
      }
      fixture = openLibrary([nas], { index: fixture.index, clock: fixture.clock });
      const again = await fixture.library.scan(never());
      const expected = await everyPath(nas);
      assert.deepEqual(treeOf(fixture.library), expected);
      const files = expected.filter((path) => !path.endsWith("/")).length;
      assert.deepEqual([again.files, again.folders], [files, expected.length - files]);
      checkConsistency(fixture);
    }),
    { numRuns: 60 },
  );
});

const steps = fc.array(
  fc.record({
    names: fc.array(fc.constantFrom("a", "b"), { minLength: 1, maxLength: 3 }),
    what: fc.constantFrom("file", "folder", "remove", "scan", "relist", "restart"),
    origin: fc.nat(1),
  }),
  { maxLength: 40 },
);

Deno.test("Library converges to its origins after any changes, scans and restarts", async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (todo) => {
      const origins = [new MemoryOrigin("disk"), new MemoryOrigin("nas")] as const;
      let fixture = openLibrary(origins);
      for (const { names, what, origin } of todo) {
        const path = names.join("/");
        const target = origins[origin === 0 ? 0 : 1];
        if (what === "scan") await fixture.library.scan({ acceptDeletions: true, ...never() });
        else if (what === "relist") {
          const id = fixture.library.namespace.find(path);
          if (id?.kind === "folder") {
            await fixture.library.relist(id.id).catch((error) =>
              assert(error instanceof MusicfsError, String(error))
            );
          }
        } else if (what === "restart") fixture = openLibrary(origins, fixture);
        else {
          for (let i = 1; i < names.length; i += 1) {
            const parent = names.slice(0, i).join("/");
            const entry = await target.stat(parent, never()).catch(() => undefined);
            if (entry && entry.kind !== "folder") target.remove(parent);
          }
          target.remove(path);
          if (what === "file") target.put(path, bytes(names.length));
          if (what === "folder") target.putFolder(path);
        }
        checkConsistency(fixture);
      }
      for (let i = 0; i < 3; i += 1) {
        await fixture.library.scan({ acceptDeletions: true, ...never() });
      }
      checkConsistency(fixture);
      assert.deepEqual(treeOf(fixture.library), await federated(origins));
    }),
    { numRuns: 150 },
  );
});

/** What the tree must be: each name from the first origin that has it, folders merged. */
async function federated(origins: readonly Origin[], folder = ""): Promise<string[]> {
  const names = new Map<string, { isFolder: boolean; origins: Origin[] }>();
  for (const origin of origins) {
    for await (const { path, kind } of origin.list(folder, never())) {
      const isFolder = kind === "folder";
      const known = names.get(path);
      if (!known) names.set(path, { isFolder, origins: [origin] });
      else if (known.isFolder && isFolder) known.origins.push(origin);
    }
  }
  const paths: string[] = [];
  for (const [path, { isFolder, origins }] of names) {
    paths.push(isFolder ? `${path}/` : path);
    if (isFolder) paths.push(...await federated(origins, path));
  }
  return paths.sort();
}
