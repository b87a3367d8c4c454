import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import { nodeIdOf, ROOT_ID } from "../../src/library/node_id.ts";
import type { Entry } from "../../src/library/entry.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { at, bytes, MoodyOrigin, never, openLibrary, treeOf } from "./library_fixture.ts";

const unavailable = new MusicfsError("unavailable", "down", { op: "test", subject: "nas" });

function currentNode(entry: Entry): number {
  return nodeIdOf(entry.id, entry.sequence);
}

function isCode(code: string): (error: unknown) => boolean {
  return (error) => error instanceof MusicfsError && error.code === code;
}

Deno.test("Namespace has an unlisted root before anything was listed", async () => {
  const nas = new MemoryOrigin("nas");
  const { library } = openLibrary([nas]);
  const root = library.namespace.entry(ROOT_ID);
  assert.equal(root?.kind, "folder");
  assert.equal(root?.listed, false);
  assert.equal(library.namespace.pathOf(ROOT_ID), "");
  assert.deepEqual(library.namespace.totals(), { files: 0, folders: 0, bytes: 0 });
  await library[Symbol.asyncDispose]();
});

Deno.test("Library.ensureListed() lists one folder, once, and what is below stays unlisted", async () => {
  const nas = new MemoryOrigin("nas");
  nas.put("album/song", bytes(3));
  nas.put("top", bytes(5));
  const { library, changes } = openLibrary([nas]);
  await Promise.all([
    library.ensureListed(ROOT_ID, never()),
    library.ensureListed(ROOT_ID, never()),
  ]);
  await library.ensureListed(ROOT_ID, never());
  assert.deepEqual(nas.lists, [""]);
  assert.deepEqual(treeOf(library), ["album/", "top"]);
  assert.equal(library.namespace.entry(ROOT_ID)?.listed, true);
  assert.equal(at(library, "album").listed, false);
  await library.ensureListed(at(library, "album").id, never());
  assert.deepEqual(treeOf(library), ["album/", "album/song", "top"]);
  assert.deepEqual(library.namespace.totals(), { files: 2, folders: 1, bytes: 8 });
  assert.deepEqual(changes.flatMap(({ names }) => names), []);
});

Deno.test("Namespace answers by id, name, path, node and version", async () => {
  const nas = new MemoryOrigin("nas");
  const { version } = nas.put("a/b/ö song", bytes(3), 77n);
  nas.putSymlink("a/link", "b");
  const { library } = openLibrary([nas]);
  await library.scan(never());
  const { namespace } = library;
  const song = at(library, "/a/b/ö song/");
  const folder = at(library, "a/b");
  assert.deepEqual(namespace.entry(song.id), song);
  assert.deepEqual(namespace.child(folder.id, "ö song"), song);
  assert.deepEqual(namespace.child(folder.id, new TextEncoder().encode("ö song")), song);
  assert.equal(namespace.child(folder.id, "ö son"), undefined);
  assert.equal(namespace.child(folder.id, new Uint8Array(300).fill(120)), undefined);
  assert.equal(namespace.find("a/none/x"), undefined);
  assert.deepEqual(namespace.node(currentNode(song)), song);
  assert.deepEqual(namespace.node(ROOT_ID), namespace.entry(ROOT_ID));
  assert.equal(namespace.node(nodeIdOf(song.id, 2)), undefined);
  assert.equal(namespace.pathOf(song.id), "a/b/ö song");
  assert.throws(() => namespace.pathOf(9_999), isCode("not_found"));
  assert.deepEqual(namespace.version(currentNode(song)), {
    id: currentNode(song),
    size: 3,
    mtimeNs: 77n,
    sources: [{ origin: "nas", path: "a/b/ö song", version }],
  });
  assert.equal(namespace.version(folder.id), undefined);
  assert.equal(at(library, "a/link").target, "b");
  const ids = [...namespace.children(at(library, "a").id, 0)].map(({ id }) => id);
  assert.deepEqual(ids, ids.toSorted((a, b) => a - b));
  assert.deepEqual([...namespace.children(at(library, "a").id, ids[0] ?? 0)].length, 1);
});

Deno.test("Library.relist() makes a new version of a changed file and keeps the old one", async () => {
  const nas = new MemoryOrigin("nas");
  const old = nas.put("album/song", bytes(3));
  const { library, changes } = openLibrary([nas]);
  await library.scan(never());
  const before = at(library, "album/song");
  const now = nas.put("album/song", bytes(4));
  const album = at(library, "album").id;
  await library.relist(album);
  const after = at(library, "album/song");
  assert.deepEqual([after.id, after.sequence, after.size], [before.id, 2, 4]);
  assert.deepEqual(library.namespace.node(currentNode(before)), before);
  assert.equal(library.namespace.version(currentNode(before))?.sources[0].version, old.version);
  assert.equal(library.namespace.version(currentNode(after))?.sources[0].version, now.version);
  assert.deepEqual(changes, [{ folder: album, names: ["song"], nodes: [nodeIdOf(album, 0)] }]);
  assert.deepEqual(library.namespace.totals(), { files: 1, folders: 1, bytes: 4 });
});

Deno.test("Library.relist() tells of a time that moved without making a version", async () => {
  const nas = new MoodyOrigin("nas");
  nas.putFolder("album", 5n);
  const { library, changes } = openLibrary([nas]);
  await library.scan(never());
  nas.putFolder("album", 6n);
  await library.relist(ROOT_ID);
  const album = at(library, "album");
  assert.equal(album.mtimeNs, 6n);
  assert.deepEqual(changes, [{ folder: ROOT_ID, names: [], nodes: [currentNode(album)] }]);
});

Deno.test("Library.relist() removes what is gone; open handles go on", async () => {
  const nas = new MemoryOrigin("nas");
  nas.put("keep/song", bytes(1));
  const gone = nas.put("album/disc/song", bytes(3));
  const { library, changes } = openLibrary([nas]);
  await library.scan(never());
  const song = at(library, "album/disc/song");
  nas.remove("album");
  await library.relist(ROOT_ID);
  assert.deepEqual(treeOf(library), ["keep/", "keep/song"]);
  assert.equal(library.namespace.entry(song.id), undefined);
  assert.deepEqual(library.namespace.node(currentNode(song)), song);
  assert.deepEqual(library.namespace.version(currentNode(song))?.sources, [
    { origin: "nas", ...pathAndVersion(gone) },
  ]);
  assert.deepEqual(changes.at(-1)?.names, ["album"]);
  assert.deepEqual(library.namespace.totals(), { files: 1, folders: 1, bytes: 1 });
});

function pathAndVersion(file: { path: string; version: string }): object {
  return { path: file.path, version: file.version };
}

Deno.test("Library.relist() holds back when most of the library is missing", async () => {
  const nas = new MemoryOrigin("nas");
  for (let i = 0; i < 20; i += 1) nas.put(`a/${i}`, bytes(1));
  nas.put("b/x", bytes(1));
  const { library, warnings } = openLibrary([nas]);
  await library.scan(never());
  const before = treeOf(library);
  for (let i = 0; i < 20; i += 1) nas.remove(`a/${i}`);
  await library.relist(at(library, "a").id);
  assert.deepEqual(treeOf(library), before);
  assert(warnings.some((line) => line.includes("Most of an origin")));
  nas.remove("a");
  nas.remove("b");
  await library.relist(ROOT_ID);
  assert.deepEqual(treeOf(library), before);
});

Deno.test("Library gives a name of another kind another entry", async () => {
  const nas = new MemoryOrigin("nas");
  nas.put("x", bytes(1));
  nas.putFolder("empty");
  nas.put("y", bytes(1));
  const { library } = openLibrary([nas]);
  await library.scan(never());
  const before = at(library, "x");
  nas.remove("x");
  nas.put("x/inside", bytes(1));
  nas.remove("empty");
  nas.putSymlink("empty", "y");
  await library.relist(ROOT_ID);
  assert.equal(at(library, "x").kind, "folder");
  assert.notEqual(at(library, "x").id, before.id);
  assert.deepEqual(library.namespace.node(currentNode(before)), before);
  assert.equal(at(library, "empty").target, "y");
});

Deno.test("Library.refresh() looks at one file again, and at its folder when it is gone", async () => {
  const nas = new MemoryOrigin("nas");
  for (let i = 0; i < 4; i += 1) nas.put(`album/${i}`, bytes(1));
  const { library } = openLibrary([nas]);
  await library.scan(never());
  const listings = nas.lists.length;
  nas.put("album/1", bytes(7));
  await library.refresh(at(library, "album/1").id, never());
  assert.equal(at(library, "album/1").size, 7);
  assert.equal(nas.lists.length, listings);
  const id = at(library, "album/2").id;
  nas.remove("album/2");
  await library.refresh(id, never());
  assert.equal(library.namespace.entry(id), undefined);
  await library.refresh(id, never());
});

Deno.test("Library.refresh() throws when the origin cannot say, and changes nothing", async () => {
  const nas = new MoodyOrigin("nas");
  nas.put("song", bytes(1));
  const { library } = openLibrary([nas]);
  await library.scan(never());
  nas.down = unavailable;
  await assert.rejects(library.refresh(at(library, "song").id, never()), isCode("unavailable"));
  assert.deepEqual(treeOf(library), ["song"]);
});

Deno.test("Library.ensureListed() throws the origin's error when nothing is known", async () => {
  const nas = new MoodyOrigin("nas");
  nas.down = unavailable;
  const { library } = openLibrary([nas]);
  await assert.rejects(library.ensureListed(ROOT_ID, never()), isCode("unavailable"));
  await assert.rejects(library.ensureListed(4_711, never()), isCode("not_found"));
  nas.down = undefined;
  nas.put("song", bytes(1));
  await library.ensureListed(ROOT_ID, never());
  assert.deepEqual(treeOf(library), ["song"]);
});

Deno.test("Library.ensureListed() removes a folder that its origin no longer has", async () => {
  const nas = new MemoryOrigin("nas");
  nas.put("album/song", bytes(1));
  nas.put("top", bytes(1));
  const { library } = openLibrary([nas]);
  await library.ensureListed(ROOT_ID, never());
  const album = at(library, "album").id;
  nas.remove("album");
  await assert.rejects(library.ensureListed(album, never()), isCode("not_found"));
  assert.deepEqual(treeOf(library), ["top"]);
});

Deno.test("Library.ensureListed() waits 20 s for a silent origin, then adds what comes late", async () => {
  const nas = new MoodyOrigin("nas");
  nas.put("song", bytes(1));
  const gate = Promise.withResolvers<void>();
  nas.stuck = gate.promise;
  const { library, clock } = openLibrary([nas]);
  const listing = assert.rejects(library.ensureListed(ROOT_ID, never()), isCode("timed_out"));
  await clock.settle();
  await clock.advance(20_000);
  await listing;
  const again = library.ensureListed(ROOT_ID, never());
  gate.resolve();
  await again;
  assert.deepEqual(nas.lists, [""]);
  assert.deepEqual(treeOf(library), ["song"]);
});

Deno.test("Library.ensureListed() ends with its caller's signal; the listing goes on", async () => {
  const nas = new MoodyOrigin("nas");
  nas.put("song", bytes(1));
  const gate = Promise.withResolvers<void>();
  nas.stuck = gate.promise;
  const { library } = openLibrary([nas]);
  const reason = new Error("enough");
  const controller = new AbortController();
  const listing = library.ensureListed(ROOT_ID, { signal: controller.signal });
  controller.abort(reason);
  await assert.rejects(listing, (error) => error === reason);
  gate.resolve();
  await library.ensureListed(ROOT_ID, never());
  assert.deepEqual(nas.lists, [""]);
});

Deno.test("Library shows what one origin has while another is silent, and adds the rest later", async () => {
  const disk = new MemoryOrigin("disk");
  disk.put("a", bytes(1));
  const nas = new MoodyOrigin("nas");
  nas.put("b", bytes(1));
  const gate = Promise.withResolvers<void>();
  nas.stuck = gate.promise;
  const { library, clock, changes } = openLibrary([disk, nas]);
  const first = library.ensureListed(ROOT_ID, never());
  await clock.settle();
  await clock.advance(20_000);
  await first;
  assert.deepEqual(treeOf(library), ["a"]);
  assert.equal(library.namespace.entry(ROOT_ID)?.listed, false);
  const second = library.ensureListed(ROOT_ID, never());
  await clock.settle();
  await clock.advance(1_000);
  await second;
  gate.resolve();
  await library.ensureListed(ROOT_ID, never());
  assert.deepEqual(treeOf(library), ["a", "b"]);
  assert.deepEqual(changes.flatMap(({ names }) => names), ["b"]);
});

Deno.test("Library does not ask an origin that is down again for 5 s if it has something to show", async () => {
  const disk = new MemoryOrigin("disk");
  disk.put("a", bytes(1));
  const nas = new MoodyOrigin("nas");
  nas.put("b", bytes(1));
  nas.down = unavailable;
  const { library, clock } = openLibrary([disk, nas]);
  await library.ensureListed(ROOT_ID, never());
  nas.down = undefined;
  await library.ensureListed(ROOT_ID, never());
  assert.deepEqual(treeOf(library), ["a"]);
  await clock.advance(5_000);
  await library.ensureListed(ROOT_ID, never());
  assert.deepEqual(treeOf(library), ["a", "b"]);
});

Deno.test("Library takes each name from the first origin that has it", async () => {
  const disk = new MemoryOrigin("disk");
  const nas = new MemoryOrigin("nas");
  disk.put("both/song", bytes(1), 10n);
  nas.put("both/song", bytes(2), 20n);
  nas.put("both/more", bytes(3));
  nas.put("kind/inside", bytes(4));
  disk.put("kind", bytes(5));
  const { library } = openLibrary([disk, nas]);
  await library.scan(never());
  await library.scan(never());
  assert.deepEqual(treeOf(library), ["both/", "both/more", "both/song", "kind"]);
  const song = at(library, "both/song");
  assert.deepEqual([song.size, song.sources.length], [1, 2]);
  assert.deepEqual(
    library.namespace.version(currentNode(song))?.sources.map(({ origin }) => origin),
    ["disk"],
  );
  assert.deepEqual(library.namespace.totals(), { files: 3, folders: 1, bytes: 9 });
  disk.remove("both/song");
  disk.remove("kind");
  await library.scan(never());
  await library.scan(never());
  assert.deepEqual(treeOf(library), ["both/", "both/more", "both/song", "kind/", "kind/inside"]);
  const after = at(library, "both/song");
  assert.deepEqual([after.id, after.sequence, after.size], [song.id, 2, 2]);
  assert.equal(library.namespace.version(currentNode(song))?.sources[0].origin, "disk");
  disk.put("kind", bytes(5));
  await library.scan(never());
  assert.deepEqual(treeOf(library), ["both/", "both/more", "both/song", "kind"]);
  assert.deepEqual(library.namespace.totals(), { files: 3, folders: 1, bytes: 10 });
});

Deno.test("Library follows a change of the configured origins, also after a restart", async () => {
  const disk = new MemoryOrigin("disk");
  const nas = new MemoryOrigin("nas");
  disk.put("both", bytes(1));
  nas.put("both", bytes(2));
  nas.put("folder/nas", bytes(4));
  disk.put("folder/disk", bytes(8));
  const { library, index } = openLibrary([disk, nas]);
  await library.scan(never());
  const ids = at(library, "both").id;
  const swapped = openLibrary([nas, disk], { index }).library;
  assert.deepEqual([at(swapped, "both").id, at(swapped, "both").size], [ids, 2]);
  const alone = openLibrary([disk], { index }).library;
  assert.deepEqual(treeOf(alone), ["both", "folder/", "folder/disk"]);
  assert.deepEqual(alone.namespace.totals(), { files: 2, folders: 1, bytes: 9 });
  assert.equal(alone.namespace.entry(ROOT_ID)?.listed, true);
  const back = openLibrary([disk, nas], { index }).library;
  assert.equal(back.namespace.entry(ROOT_ID)?.listed, false);
  await back.scan(never());
  assert.deepEqual(treeOf(back), ["both", "folder/", "folder/disk", "folder/nas"]);
});

Deno.test("Library hides .musicfs and what is excluded, and refuses hostile names", async () => {
  const nas = new MoodyOrigin("nas");
  nas.put(".musicfs/index", bytes(1));
  nas.put("album/@eaDir/x", bytes(1));
  nas.put("album/song", bytes(1));
  nas.extra.set("album", [{
    path: "album/../../etc",
    kind: "file",
    size: 1,
    mtimeNs: 0n,
    version: "v",
    target: "",
  }]);
  const { library, warnings } = openLibrary([nas], { exclude: ["@eaDir"] });
  await library.scan(never());
  assert.deepEqual(treeOf(library), ["album/", "album/song"]);
  assert.deepEqual(warnings, ["Refused names that an origin listed"]);
});

Deno.test("Library.owed() survives a crash; settled() and beginMount() clear it", async () => {
  const nas = new MemoryOrigin("nas");
  nas.put("a", bytes(1));
  const { library, index, changes } = openLibrary([nas]);
  await library.scan(never());
  assert.deepEqual(library.owed(), []);
  nas.put("a", bytes(2));
  await library.relist(ROOT_ID);
  nas.put("b", bytes(2));
  await library.relist(ROOT_ID);
  assert.equal(changes.length, 2);
  const successor = openLibrary([nas], { index }).library;
  assert.deepEqual(successor.owed(), [{ folder: ROOT_ID, names: ["a", "b"], nodes: [ROOT_ID] }]);
  successor.settled([ROOT_ID]);
  assert.deepEqual(successor.owed(), []);
  nas.put("b", bytes(3));
  await successor.relist(ROOT_ID);
  await successor.beginMount();
  assert.deepEqual(successor.owed(), []);
});

Deno.test("Library.beginMount() forgets old versions, but not what the current one is stored by", async () => {
  const nas = new MoodyOrigin("nas");
  nas.put("a", bytes(1));
  nas.put("b", bytes(1));
  const given: { id: number; keepFiles: boolean }[] = [];
  const manifests = {
    remove: (id: number) => assert.fail(`${id} is removed, not retired`),
    retire: (id: number, { keepFiles }: { keepFiles: boolean }) =>
      void given.push({ id, keepFiles }),
    boundRetired: () => undefined,
  };
  const { library } = openLibrary([nas], { manifests });
  await library.scan(never());
  const [a, b] = [at(library, "a"), at(library, "b")];
  nas.put("a", bytes(2));
  const [bEntry] = await Array.fromAsync(nas.list("", never())).then((all) =>
    all.filter(({ path }) => path === "b")
  );
  nas.put("b", bytes(2));
  await library.relist(ROOT_ID);
  nas.remove("b");
  if (bEntry) nas.extra.set("", [bEntry]);
  await library.relist(ROOT_ID);
  assert.equal(at(library, "b").sequence, 3);
  await library.beginMount();
  assert.equal(library.namespace.node(currentNode(a)), undefined);
  assert.deepEqual(given, [
    { id: nodeIdOf(a.id, 1), keepFiles: false },
    { id: nodeIdOf(b.id, 1), keepFiles: true },
    { id: nodeIdOf(b.id, 2), keepFiles: false },
  ]);
});

Deno.test("Library loses nothing when a commit fails, and goes on afterwards", async () => {
  const nas = new MemoryOrigin("nas");
  nas.put("a", bytes(1));
  const { library, index } = openLibrary([nas]);
  const full = new MusicfsError("full", "full", { op: "test", subject: "disk" });
  index.beforeCommit = () => {
    throw full;
  };
  await assert.rejects(library.ensureListed(ROOT_ID, never()), isCode("full"));
  assert.deepEqual(treeOf(library), []);
  index.beforeCommit = () => {};
  await library.ensureListed(ROOT_ID, never());
  assert.deepEqual(treeOf(library), ["a"]);
  assert.deepEqual(library.namespace.totals(), { files: 1, folders: 0, bytes: 1 });
});

Deno.test("Library ends its listings when it is disposed of", async () => {
  const nas = new MoodyOrigin("nas");
  nas.stuck = new Promise((_, reject) => {
    queueMicrotask(() => reject(unavailable));
  });
  const { library } = openLibrary([nas]);
  const listing = assert.rejects(library.ensureListed(ROOT_ID, never()), isCode("unavailable"));
  await library[Symbol.asyncDispose]();
  await listing;
  await assert.rejects(library.ensureListed(ROOT_ID, never()), isCode("unavailable"));
});
