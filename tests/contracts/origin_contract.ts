import assert from "node:assert/strict";
import { type ErrorCode, MusicfsError } from "../../src/base/errors.ts";
import { TreeFold } from "../../src/library/tree_fold.ts";
import type { Origin, OriginEntry, TreeCursor } from "../../src/origins/origin.ts";

/** What an origin under test is to hold: bytes of a file, a link's target, or an empty folder. */
export type Held = Uint8Array<ArrayBuffer> | { target: string } | "folder";

/** An origin that holds exactly what was asked for; folders on the way appear by themselves. */
export interface OriginFixture extends AsyncDisposable {
  origin: Origin;
  /** Puts other bytes in a file's place, as a new file. */
  replace(path: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  remove(path: string): Promise<void>;
}

/** What an origin is not able to do. */
export interface OriginLimits {
  /** Whether it can hold symlinks; default true. */
  symlinks?: boolean;
}

/** Registers the tests that every origin must pass. */
export function testOriginContract(
  kind: string,
  open: (held: Record<string, Held>) => Promise<OriginFixture>,
  { symlinks = true }: OriginLimits = {},
): void {
  const song = new Uint8Array([0, 1, 2, 3, 4, 5, 6, 7]);
  const noSignal = (): { signal: AbortSignal } => ({ signal: new AbortController().signal });

  async function rejectsWith(code: ErrorCode, call: Promise<unknown>): Promise<void> {
    await assert.rejects(call, (error) => {
      assert(error instanceof MusicfsError, String(error));
      assert.equal(error.code, code);
      return true;
    });
  }

  async function list(origin: Origin, folder: string): Promise<OriginEntry[]> {
    const entries = await Array.fromAsync(origin.list(folder, noSignal()));
    return entries.sort((a, b) => a.path < b.path ? -1 : 1);
  }

  Deno.test(`${kind}.list() yields what lies directly in the folder, each once`, async () => {
    await using fixture = await open({
      "a/song.flac": song,
      "a/b/deep.flac": song,
      ...(symlinks ? { "a/link": { target: "song.flac" } } : {}),
      "a/empty": "folder",
      "other/song.flac": song,
    });
    const entries = await list(fixture.origin, "a");
    assert.deepEqual(
      entries.map(({ path, kind, size, target }) => ({ path, kind, size, target })),
      [
        { path: "a/b", kind: "folder", size: 0, target: "" },
        { path: "a/empty", kind: "folder", size: 0, target: "" },
        ...(symlinks ? [{ path: "a/link", kind: "symlink", size: 0, target: "song.flac" }] : []),
        { path: "a/song.flac", kind: "file", size: 8, target: "" },
      ],
    );
    assert.deepEqual((await list(fixture.origin, "")).map(({ path }) => path), ["a", "other"]);
    assert.deepEqual(await list(fixture.origin, "a/empty"), []);
  });

  Deno.test(`${kind}.list() and stat() say the same of every name`, async () => {
    await using fixture = await open({
      "song.flac": song,
      "folder/x": song,
      ...(symlinks ? { "link": { target: "folder/x" } } : {}),
      "odd \n name \u{1F3B5}": song,
      ["n".repeat(255)]: song,
    });
    const entries = await list(fixture.origin, "");
    assert.equal(entries.length, symlinks ? 5 : 4);
    for (const entry of entries) {
      assert.deepEqual(await fixture.origin.stat(entry.path, noSignal()), entry);
      assert.equal(entry.version !== "", entry.kind === "file");
    }
  });

  Deno.test(`${kind}.list() throws not_found and invalid for what is no folder`, async () => {
    await using fixture = await open({ "a/song.flac": song });
    await rejectsWith("not_found", list(fixture.origin, "none"));
    await rejectsWith("invalid", list(fixture.origin, "a/song.flac"));
  });

  Deno.test(`${kind}.stat() throws not_found for a missing name`, async () => {
    await using fixture = await open({ "a/song.flac": song });
    await rejectsWith("not_found", fixture.origin.stat("a/none.flac", noSignal()));
    await rejectsWith("not_found", fixture.origin.stat("none/song.flac", noSignal()));
  });

  Deno.test(`${kind}.read() returns exactly the range`, async () => {
    await using fixture = await open({ "a/song.flac": song });
    const file = await fixture.origin.stat("a/song.flac", noSignal());
    for (const [offset, length] of [[0, 8], [0, 1], [7, 1], [3, 4]] as const) {
      const bytes = await fixture.origin.read(file, { offset, length }, noSignal());
      assert.deepEqual(bytes, song.slice(offset, offset + length));
    }
  });

  Deno.test(`${kind}.read() throws invalid past the end`, async () => {
    await using fixture = await open({ "a/song.flac": song });
    const file = await fixture.origin.stat("a/song.flac", noSignal());
    await rejectsWith("invalid", fixture.origin.read(file, { offset: 7, length: 2 }, noSignal()));
    await rejectsWith("invalid", fixture.origin.read(file, { offset: 9, length: 1 }, noSignal()));
  });

  Deno.test(`${kind}.read() throws changed after the file was replaced`, async () => {
    await using fixture = await open({ "a/song.flac": song });
    const file = await fixture.origin.stat("a/song.flac", noSignal());
    await fixture.replace("a/song.flac", new Uint8Array(8).fill(9));
    await rejectsWith("changed", fixture.origin.read(file, { offset: 0, length: 8 }, noSignal()));
    const now = await fixture.origin.stat("a/song.flac", noSignal());
    const bytes = await fixture.origin.read(now, { offset: 0, length: 8 }, noSignal());
    assert.deepEqual(bytes, new Uint8Array(8).fill(9));
  });

  Deno.test(`${kind}.read() throws not_found after the file was removed`, async () => {
    await using fixture = await open({ "a/song.flac": song });
    const file = await fixture.origin.stat("a/song.flac", noSignal());
    await fixture.remove("a/song.flac");
    await rejectsWith("not_found", fixture.origin.read(file, { offset: 0, length: 8 }, noSignal()));
  });

  Deno.test(`${kind}.listTree(), where there is one, says what list() does`, async () => {
    await using fixture = await open({
      "a/song.flac": song,
      "a-1": song,
      "a/b/deep.flac": song,
      "a/b-1": song,
      "a/b/c/d/e": song,
      "a/empty": "folder",
      "empty": "folder",
      "\u{1F3B5}/x": song,
      "\uFF01/x": song,
      ...Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`many/${i}`, song])),
      ...(symlinks ? { "a/link": { target: "song.flac" } } : {}),
    });
    const { origin } = fixture;
    if (!origin.listTree) return;
    const fold = new TreeFold(new Set());
    let cursor: TreeCursor | undefined;
    do {
      const page = await origin.listTree(cursor, noSignal());
      for (const entry of page.entries) fold.take(entry);
      cursor = page.next;
    } while (cursor);
    const found = new Map(fold.finish().map(({ path, listing }) => [path, listing]));
    const visit = async (folder: string): Promise<void> => {
      const listing = found.get(folder);
      assert(listing, `${folder} is missing`);
      found.delete(folder);
      const expected = await list(origin, folder);
      const entries = Array.from({ length: listing.count }, (_, place) => listing.at(place));
      const isTimed = expected.some(({ kind, mtimeNs }) => kind === "folder" && mtimeNs !== 0n);
      assert(!isTimed, "folders of a tree have no times");
      assert.deepEqual(entries.sort((a, b) => a.path < b.path ? -1 : 1), expected);
      for (const entry of expected) if (entry.kind === "folder") await visit(entry.path);
    };
    await visit("");
    assert.deepEqual([...found.keys()], []);
    const signal = AbortSignal.abort(new Error("enough"));
    await assert.rejects(origin.listTree(undefined, { signal }), /enough/);
  });

  Deno.test(`${kind} throws the signal's reason when it has ended`, async () => {
    await using fixture = await open({ "a/song.flac": song });
    const file = await fixture.origin.stat("a/song.flac", noSignal());
    const reason = new Error("enough");
    const signal = AbortSignal.abort(reason);
    const isReason = (error: unknown): boolean => error === reason;
    await assert.rejects(Array.fromAsync(fixture.origin.list("", { signal })), isReason);
    await assert.rejects(fixture.origin.stat("a/song.flac", { signal }), isReason);
    const range = { offset: 0, length: 8 };
    await assert.rejects(fixture.origin.read(file, range, { signal }), isReason);
  });
}
