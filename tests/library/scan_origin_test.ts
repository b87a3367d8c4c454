import assert from "node:assert/strict";
import fc from "fast-check";
import { comparePaths } from "../../src/library/path_order.ts";
import { detectChanges, type FileChange } from "../../src/library/detect_changes.ts";
import { type ScannedFile, scanOrigin, walkOrigin } from "../../src/library/scan_origin.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";

const HIDDEN = new Set([".musicfs"]);

Deno.test("scanOrigin() yields each file once, in one order, and hides what is hidden", async () => {
  const origin = new MemoryOrigin("nas");
  const paths = [
    "z.flac",
    "a/z.flac",
    "a/b/1.flac",
    "a/b/2.flac",
    "a-1/x.flac",
    "a/c/\uFFFD.flac",
    "a/c/\u{1F3B5}.flac",
    "B/y.flac",
  ];
  for (const path of paths.toReversed()) origin.put(path, new Uint8Array(1), 7n);
  origin.put(".musicfs/index", new Uint8Array(1));
  origin.putFolder("empty");
  origin.putSymlink("link", "z.flac");
  const options = { signal: AbortSignal.timeout(10_000), hidden: HIDDEN };
  const scanned = await Array.fromAsync(scanOrigin(origin, options));
  assert.deepEqual(scanned.map(({ path }) => path), [
    "z.flac",
    "B/y.flac",
    "a/z.flac",
    "a/b/1.flac",
    "a/b/2.flac",
    "a/c/\uFFFD.flac",
    "a/c/\u{1F3B5}.flac",
    "a-1/x.flac",
  ]);
  assert.deepEqual(scanned.map(({ path }) => path), paths.toSorted(comparePaths));
  assert.ok(scanned.every(({ size, mtimeNs }) => size === 1 && mtimeNs === 7n));
  const folders = await Array.fromAsync(walkOrigin(origin, options));
  assert.deepEqual(folders.map(({ path }) => path), ["", "B", "a", "a/b", "a/c", "a-1", "empty"]);
  assert.deepEqual(new Set(origin.lists).size, 7, "no folder is listed that is hidden");
});

Deno.test("scanOrigin() throws what a listing throws, and leaves a folder out if it is told to", async () => {
  const origin = new MemoryOrigin("nas");
  for (const path of ["a/1", "b/2", "c/3"]) origin.put(path, new Uint8Array(1));
  const list = origin.list.bind(origin);
  origin.list = (folder, options) => list(folder === "b" ? "missing" : folder, options);
  const options = { signal: AbortSignal.timeout(10_000), hidden: HIDDEN };
  await assert.rejects(Array.fromAsync(scanOrigin(origin, options)), { code: "not_found" });
  const lost: string[] = [];
  const some = await Array.fromAsync(
    scanOrigin(origin, { ...options, onError: (folder) => lost.push(folder) }),
  );
  assert.deepEqual(some.map(({ path }) => path), ["a/1", "c/3"]);
  assert.deepEqual(lost, ["b"]);
});

const name = fc.constantFrom("a", "b", "a-", "B", "\u{1F3B5}", "\uFFFD", "zz");
const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => names.join("/"));
const tree = fc.dictionary(path, fc.record({ size: fc.nat(3), time: fc.nat(3) }), { maxKeys: 12 })
  .map((files) =>
    Object.entries(files).map(([path, { size, time }]): ScannedFile => ({
      path,
      size,
      mtimeNs: BigInt(time),
      version: `${size}-${time}`,
    })).sort((a, b) => comparePaths(a.path, b.path))
  );

Deno.test("detectChanges() turns what was known into what was scanned", async () => {
  await fc.assert(fc.asyncProperty(tree, tree, async (known, scanned) => {
    const changes = await Array.fromAsync(detectChanges(known, scanned));
    assert.deepEqual(applied(known, changes), scanned);
    for (const change of changes) {
      if (change.kind !== "moved") continue;
      assert.notEqual(change.file.path, change.from.path);
      assert.equal(change.file.version, change.from.version);
    }
    const few = await Array.fromAsync(detectChanges(known, scanned, { unpairedMax: 2 }));
    assert.deepEqual(applied(known, few), scanned, "with little memory, too");
  }));
});

Deno.test("detectChanges() pairs what moved, and nothing that could have been another", async () => {
  const file = (path: string, version: string): ScannedFile => ({
    path,
    size: 1,
    mtimeNs: 1n,
    version,
  });
  const known = [file("1", "x"), file("2", "y"), file("3", "y"), file("4", "same")];
  const scanned = [file("4", "same"), file("5", "y"), file("6", "x"), file("7", "new")];
  const changes = await Array.fromAsync(detectChanges(known, scanned));
  assert.deepEqual(
    changes.map((change) => [
      change.kind,
      "from" in change ? change.from.path : "",
      "file" in change ? change.file.path : "",
    ]),
    [
      ["added", "", "5"],
      ["moved", "1", "6"],
      ["added", "", "7"],
      ["removed", "2", ""],
      ["removed", "3", ""],
    ],
  );
});

Deno.test("detectChanges() compares content where it is asked to, and only what seems the same", async () => {
  const files = ["a", "b"].map((path) => ({ path, size: 1, mtimeNs: 1n, version: "1" }));
  const asked: string[] = [];
  const checksum = (file: ScannedFile): Promise<boolean> => {
    asked.push(file.path);
    return Promise.resolve(file.path !== "b");
  };
  const later = [files[0], { ...files[1], version: "2" }].filter((file) => file !== undefined);
  assert.deepEqual(
    (await Array.fromAsync(detectChanges(files, files, { checksum }))).map(({ kind }) => kind),
    ["modified"],
  );
  assert.deepEqual(asked, ["a", "b"]);
  const changes = await Array.fromAsync(detectChanges(files, later as ScannedFile[], { checksum }));
  assert.deepEqual(changes.map(({ kind }) => kind), ["modified"]);
  assert.deepEqual(asked, ["a", "b", "a"]);
});

Deno.test("detectChanges() refuses what is not in order", async () => {
  const files = ["b", "a"].map((path) => ({ path, size: 1, mtimeNs: 1n, version: "1" }));
  await assert.rejects(Array.fromAsync(detectChanges(files, [])), RangeError);
});

Deno.test("comparePaths() is an order", () => {
  fc.assert(fc.property(path, path, path, (a, b, c) => {
    const sign = (x: number): number => Math.sign(x);
    assert.equal(sign(comparePaths(a, b)), -sign(comparePaths(b, a)) || 0);
    assert.equal(comparePaths(a, b) === 0, a === b);
    if (comparePaths(a, b) < 0 && comparePaths(b, c) < 0) assert.ok(comparePaths(a, c) < 0);
  }));
});

/** What a reader makes of the changes. */
function applied(known: readonly ScannedFile[], changes: readonly FileChange[]): ScannedFile[] {
  const files = new Map(known.map((file) => [file.path, file]));
  for (const change of changes) {
    if ("from" in change) assert.ok(files.delete(change.from.path), "each leaves once");
  }
  for (const change of changes) {
    if (!("file" in change)) continue;
    assert.ok(!files.has(change.file.path), "each appears once");
    files.set(change.file.path, change.file);
  }
  return [...files.values()].sort((a, b) => comparePaths(a.path, b.path));
}
