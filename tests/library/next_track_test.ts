import assert from "node:assert/strict";
import { firstOf, nextDiscOf, nextOf, nextTrack } from "../../src/library/next_track.ts";
import { nodeIdOf } from "../../src/library/node_id.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { at, bytes, never, openLibrary } from "./library_fixture.ts";

Deno.test("nextOf() goes by numbers, not by letters, and keeps to the format", () => {
  const table: [names: string[], current: string, next: string | undefined][] = [
    [["10.flac", "9.flac", "2.flac"], "9.flac", "10.flac"],
    [["10.flac", "9.flac", "2.flac"], "2.flac", "9.flac"],
    [["10.flac", "9.flac"], "10.flac", undefined],
    [["b.MP3", "A.mp3", "c.mp3"], "A.mp3", "b.MP3"],
    [["1.flac", "1.mp3", "2.flac", "2.mp3"], "1.flac", "2.flac"],
    [["1.flac", "1.mp3", "2.flac", "2.mp3"], "1.mp3", "2.mp3"],
    [["1.flac", "2.mp3", "3.flac"], "1.flac", "2.mp3"],
    [["1.flac", "cover.jpg", "1.cue", "2.flac"], "1.flac", "2.flac"],
    [["1.jpg", "2.flac"], "1.jpg", undefined],
    [["1.flac", ".flac", "2"], "1.flac", undefined],
  ];
  for (const [names, current, next] of table) {
    assert.equal(nextOf(names, current), next, current);
    assert.equal(nextOf(names.toReversed(), current), next, current);
  }
  assert.equal(firstOf(["2.mp3", "1.mp3", "1.flac"], "9.flac"), "1.flac");
});

Deno.test("nextDiscOf() finds the disc with the next number", () => {
  const table: [names: string[], current: string, next: string | undefined][] = [
    [["CD1", "CD2", "CD10"], "CD1", "CD2"],
    [["CD 01", "cd 02"], "CD 01", "cd 02"],
    [["Disc 1 - Day", "Disc 2 - Night"], "Disc 1 - Day", "Disc 2 - Night"],
    [["Album (Disc 1)", "Other (Disc 2)"], "Album (Disc 1)", undefined],
    [["1999", "2000"], "1999", undefined],
    [["CD9", "CD10"], "CD10", undefined],
  ];
  for (const [names, current, next] of table) assert.equal(nextDiscOf(names, current), next);
});

Deno.test("nextTrack() finds the version after a track, over discs, but not in a great folder", async () => {
  const nas = new MemoryOrigin("nas");
  for (const path of ["a/CD1/1.flac", "a/CD1/2.flac", "a/CD2/1.flac", "a/cover.jpg"]) {
    nas.put(path, bytes(3));
  }
  for (let i = 0; i < 2_001; i += 1) nas.put(`great/${i}.mp3`, bytes(1));
  nas.put("top.mp3", bytes(1));
  const { library } = openLibrary([nas]);
  await library.scan(never());
  const after = (path: string): string | undefined => {
    const { id, sequence } = at(library, path);
    return nextTrack(library.namespace, nodeIdOf(id, sequence))?.sources[0].path;
  };
  assert.equal(after("a/CD1/1.flac"), "a/CD1/2.flac");
  assert.equal(after("a/CD1/2.flac"), "a/CD2/1.flac");
  assert.equal(after("a/CD2/1.flac"), undefined);
  assert.equal(after("a/cover.jpg"), undefined);
  assert.equal(after("a/CD1"), undefined);
  assert.equal(after("great/1.mp3"), undefined);
  assert.equal(after("top.mp3"), undefined);
  assert.equal(nextTrack(library.namespace, 123 * 2 ** 20), undefined);
});
