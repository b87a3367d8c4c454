import fc from "fast-check";
import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import type { ScanReport } from "../../src/library/library.ts";
import { ROOT_ID } from "../../src/library/node_id.ts";
import type { CallOptions, TreeCursor, TreePage } from "../../src/origins/origin.ts";
import { MemoryBucket } from "../support/memory_origin.ts";
import { at, bytes, checkConsistency, never, openLibrary, treeOf } from "./library_fixture.ts";

/** A bucket whose pages can fail, or have something done before them. */
class MoodyBucket extends MemoryBucket {
  /** Called before a page is given out, with its number from 1. */
  before: (page: number) => Promise<void> = () => Promise.resolve();

  override async listTree(
    cursor: TreeCursor | undefined,
    options: CallOptions,
  ): Promise<TreePage> {
    await this.before(this.pages + 1);
    return await super.listTree(cursor, options);
  }
}

function failure(code: "invalid" | "unavailable"): MusicfsError {
  return new MusicfsError(code, code, { op: "test", subject: "bucket" });
}

function bucketOf(albums: number, tracks: number): MoodyBucket {
  const bucket = new MoodyBucket("bucket");
  for (let album = 0; album < albums; album += 1) {
    for (let track = 0; track < tracks; track += 1) {
      bucket.put(`artist ${album % 3}/album ${album}/${track}`, bytes(1));
    }
  }
  return bucket;
}

function countsOf({ added, changed, gone, files, folders, held }: ScanReport): object {
  return { added, changed, gone, files, folders, ...(held && { held }) };
}

function pathsOf(bucket: MemoryBucket, folder = ""): string[] {
  const paths: string[] = [];
  for (const { path, kind } of bucket.entriesIn(folder, never())) {
    paths.push(kind === "folder" ? `${path}/` : path);
    if (kind === "folder") paths.push(...pathsOf(bucket, path));
  }
  return paths.sort();
}

Deno.test("Library.scan() learns and compares a bucket by its pages, and lists no folder", async () => {
  const bucket = bucketOf(20, 5);
  bucket.pageEntries = 10;
  const fixture = openLibrary([bucket]);
  const { library } = fixture;
  const first = await library.scan(never());
  assert.deepEqual(countsOf(first), { added: 100, changed: 0, gone: 0, files: 100, folders: 23 });
  assert.deepEqual(treeOf(library), pathsOf(bucket));
  // 123 names with those of folders, 10 a page.
  assert.deepEqual([bucket.pages, bucket.lists], [13, []]);
  bucket.put("artist 0/album 0/new", bytes(1));
  bucket.put("artist 0/new album/deep/song", bytes(1));
  bucket.put("artist 1/album 1/0", bytes(2));
  bucket.remove("artist 2/album 2");
  const counts = countsOf(await library.scan(never()));
  assert.deepEqual(counts, { added: 2, changed: 1, gone: 5, files: 97, folders: 24 });
  assert.deepEqual(treeOf(library), pathsOf(bucket));
  assert.deepEqual(bucket.lists, [""], "once more, because something is missing");
  checkConsistency(fixture);
});

Deno.test("Library.scan() of a bucket believes no empty one, nor half of a listing", async () => {
  const bucket = bucketOf(6, 3);
  const fixture = openLibrary([bucket]);
  const { library } = fixture;
  await library.scan(never());
  const before = treeOf(library);
  bucket.remove("artist 0");
  bucket.pages = 0;
  bucket.before = (page) => page < 2 ? Promise.resolve() : Promise.reject(failure("unavailable"));
  const broken = await library.scan(never());
  assert.deepEqual([broken.gone, broken.errors.length], [0, 1]);
  assert.deepEqual(treeOf(library), before);
  assert.deepEqual(bucket.lists, [], "an origin that failed is not asked for each folder");
  bucket.before = () => Promise.resolve();
  bucket.remove("artist 1");
  bucket.remove("artist 2");
  assert.deepEqual((await library.scan(never())).held, { gone: 18, of: 18 });
  assert.deepEqual(treeOf(library), before);
  assert.equal((await library.scan({ acceptDeletions: true, ...never() })).gone, 18);
  checkConsistency(fixture);
});

Deno.test("Library.scan() walks an origin whose pages turn out to be no good", async () => {
  const bucket = bucketOf(6, 3);
  bucket.before = (page) => page < 3 ? Promise.resolve() : Promise.reject(failure("invalid"));
  const fixture = openLibrary([bucket]);
  const report = await fixture.library.scan(never());
  assert.deepEqual(
    countsOf(report),
    { added: 18, changed: 0, gone: 0, files: 18, folders: 9 },
  );
  assert.deepEqual(report.errors, []);
  assert.deepEqual(bucket.lists.toSorted(), [
    "",
    ...pathsOf(bucket).filter((path) => path.endsWith("/")).map((path) => path.slice(0, -1)),
  ]);
  checkConsistency(fixture);
});

Deno.test("Library.scan() of a bucket does not miss what came while its pages were read", async () => {
  const bucket = bucketOf(6, 3);
  const { library } = openLibrary([bucket]);
  await library.scan(never());
  bucket.pages = 0;
  bucket.before = async (page) => {
    if (page !== 3) return;
    // Below a folder whose names have come, and in the root, which is complete at the end alone.
    bucket.put("artist 0/album 0/late", bytes(1));
    bucket.put("a late file", bytes(1));
    for (const folder of [at(library, "artist 0/album 0").id, ROOT_ID]) {
      await library.relist(folder, never());
    }
  };
  const report = await library.scan(never());
  assert.equal(report.gone, 0);
  assert.deepEqual(treeOf(library), pathsOf(bucket));
});

Deno.test("Library.scan() of a bucket leaves hidden folders out", async () => {
  const bucket = bucketOf(1, 1);
  bucket.put(".musicfs/index", bytes(1));
  bucket.put("artist 0/@eaDir/x/y", bytes(1));
  const { library } = openLibrary([bucket], { exclude: ["@eaDir"] });
  const report = await library.scan(never());
  assert.deepEqual([report.files, report.folders], [1, 2]);
  assert.deepEqual(treeOf(library), ["artist 0/", "artist 0/album 0/", "artist 0/album 0/0"]);
});

const trees = fc.uniqueArray(
  fc.array(fc.constantFrom("a", "b", "a-"), { minLength: 1, maxLength: 4 }),
  { minLength: 1, maxLength: 25, selector: (names) => names.join("/") },
);

Deno.test("Library.scan() of a bucket, interrupted anywhere, converges and counts once", async () => {
  const stops = fc.array(fc.integer({ min: 1, max: 8 }), { maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(trees, trees, stops, async (before, after, stopAt) => {
      const bucket = new MoodyBucket("bucket");
      for (const names of before) bucket.put(`${names.map((n) => `${n}/`).join("")}song`, bytes(1));
      let fixture = openLibrary([bucket]);
      await fixture.library.scan(never());
      for (const names of before) bucket.remove(names.join("/"));
      for (const names of after) bucket.put(`${names.map((n) => `${n}/`).join("")}song`, bytes(2));
      for (const count of stopAt) {
        const controller = new AbortController();
        let left = count;
        bucket.before = () => {
          left -= 1;
          if (left === 0) controller.abort(new Error("enough"));
          return Promise.resolve();
        };
        fixture = openLibrary([bucket], { index: fixture.index, clock: fixture.clock });
        await fixture.library.scan({ signal: controller.signal }).catch(String);
        await fixture.library[Symbol.asyncDispose]();
      }
      bucket.before = () => Promise.resolve();
      fixture = openLibrary([bucket], { index: fixture.index, clock: fixture.clock });
      const report = await fixture.library.scan({ acceptDeletions: true, ...never() });
      const expected = pathsOf(bucket);
      assert.deepEqual(treeOf(fixture.library), expected);
      const files = expected.filter((path) => !path.endsWith("/")).length;
      assert.deepEqual([report.files, report.folders], [files, expected.length - files]);
      checkConsistency(fixture);
    }),
    { numRuns: 60 },
  );
});
