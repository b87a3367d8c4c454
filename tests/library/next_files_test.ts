import assert from "node:assert/strict";
import { type FileOrder, NextFiles } from "../../src/library/next_files.ts";
import { entryIdOf, nodeIdOf } from "../../src/library/node_id.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { at, bytes, type LibraryFixture, never, openLibrary } from "./library_fixture.ts";

async function libraryOf(
  paths: readonly string[],
): Promise<LibraryFixture & { nas: MemoryOrigin }> {
  const nas = new MemoryOrigin("nas");
  for (const path of paths) nas.put(path, bytes(3));
  const fixture = openLibrary([nas]);
  await fixture.library.scan(never());
  return { ...fixture, nas };
}

/** Paths of the files after one. */
function asker(
  { library, changes }: LibraryFixture,
): (path: string, order?: FileOrder, count?: number) => string[] {
  const next = new NextFiles(library.namespace);
  return (path, order = "name", count = 8) => {
    for (const { folder } of changes.splice(0)) next.forget(folder);
    const { id, sequence } = at(library, path);
    const found = next.after(nodeIdOf(id, sequence), { order, count });
    return found.map((node) => library.namespace.pathOf(entryIdOf(node)));
  };
}

Deno.test("NextFiles.after() goes by bytes of names, or as the mount lists them", async () => {
  const fixture = await libraryOf(["a/9.mp3", "a/10.mp3", "a/b.mp3", "a/B.mp3"]);
  const after = asker(fixture);
  assert.deepEqual(after("a/10.mp3"), ["a/9.mp3", "a/B.mp3", "a/b.mp3"]);
  assert.deepEqual(after("a/10.mp3", "name", 2), ["a/9.mp3", "a/B.mp3"]);
  assert.deepEqual(after("a/b.mp3"), []);
  fixture.nas.put("a/0.mp3", bytes(3));
  await fixture.library.scan(never());
  const { namespace } = fixture.library;
  const listed = Array.from(namespace.children(at(fixture.library, "a").id, 0));
  const paths = listed.map(({ name }) => `a/${name}`);
  assert.notDeepEqual(paths, paths.toSorted());
  for (const [i, path] of paths.entries()) {
    assert.deepEqual(after(path, "listed"), paths.slice(i + 1));
  }
});

Deno.test("NextFiles.after() goes on in the folders within, and then in those beside", async () => {
  const paths = [
    "A/1/2.mp3",
    "A/1/3.mp3",
    "A/2/x/1.mp3",
    "A/2/0.mp3",
    "B/none.jpg",
    "C/1.mp3",
    "top.mp3",
  ];
  const after = asker(await libraryOf(paths));
  const rest = ["A/1/3.mp3", "A/2/0.mp3", "A/2/x/1.mp3", "C/1.mp3"];
  assert.deepEqual(after("A/1/2.mp3"), rest);
  assert.deepEqual(after("top.mp3"), ["A/1/2.mp3", ...rest]);
  assert.deepEqual(after("A/2/x/1.mp3"), ["C/1.mp3"]);
  assert.deepEqual(after("C/1.mp3"), []);
});

Deno.test("NextFiles.after() keeps to audio, and else to one extension", async () => {
  const names = ["1.flac", "1.jpg", "2.MP3", "2.cue", "3.jpg", "4.flac"];
  const after = asker(await libraryOf(names));
  assert.deepEqual(after("1.flac"), ["2.MP3", "4.flac"]);
  assert.deepEqual(after("1.jpg"), ["3.jpg"]);
  assert.deepEqual(after("2.cue"), []);
});

Deno.test("NextFiles.after() sees what came, went and changed, and nothing of great folders", async () => {
  const great = Array.from({ length: 4_001 }, (_, i) => `great/${i}.mp3`);
  const fixture = await libraryOf(["a/1.mp3", "a/2.mp3", "a/4.mp3", ...great]);
  const after = asker(fixture);
  assert.deepEqual(after("a/1.mp3"), ["a/2.mp3", "a/4.mp3"]);
  assert.deepEqual(after("great/1.mp3"), []);
  const { nas, library } = fixture;
  nas.remove("a/2.mp3");
  nas.put("a/3.mp3", bytes(5));
  nas.put("a/4.mp3", bytes(6));
  await library.scan(never());
  assert.deepEqual(after("a/1.mp3"), ["a/3.mp3", "a/4.mp3"]);
  const { id, sequence } = at(library, "a/4.mp3");
  const next = new NextFiles(library.namespace);
  const third = at(library, "a/3.mp3");
  const found = next.after(nodeIdOf(third.id, third.sequence), { order: "name", count: 1 });
  assert.deepEqual(found, [nodeIdOf(id, sequence)]);
  assert.deepEqual(next.after(123 * 2 ** 20, { order: "name", count: 1 }), []);
});

Deno.test("NextFiles.after() reads a folder once for all of its files", async () => {
  const names = Array.from({ length: 500 }, (_, i) => `a/${i}.mp3`);
  const { library } = await libraryOf(names);
  const { namespace } = library;
  let listings = 0;
  const children = namespace.children.bind(namespace);
  namespace.children = (folder, after) => {
    listings += 1;
    return children(folder, after);
  };
  const next = new NextFiles(namespace);
  for (const name of names) {
    const { id, sequence } = at(library, name);
    next.after(nodeIdOf(id, sequence), { order: "name", count: 4 });
  }
  // The folder, and the root when it was gone through.
  assert.equal(listings, 2);
});
