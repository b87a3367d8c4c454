import assert from "node:assert/strict";
import { typedPaths } from "../../src/cli/music_paths.ts";
import { tempDir } from "../support/temp_dir.ts";

const meant = (typed: string, cwd: string, mountpoint?: string): readonly string[] =>
  typedPaths([typed], { cwd, mountpoint })[0]?.candidates ?? [];

Deno.test("typedPaths() takes a path for one in the mount first, then for one in the library", () => {
  const mount = "/mnt/music";
  assert.deepEqual(meant("/mnt/music/A/b", "/", mount), ["A/b", "mnt/music/A/b"]);
  assert.deepEqual(meant("/mnt/music/", "/", mount), ["", "mnt/music"]);
  assert.deepEqual(meant("b", "/mnt/music/A", mount), ["A/b", "b"]);
  assert.deepEqual(meant("A//b/", "/home", mount), ["A/b"]);
  assert.deepEqual(meant("/A/b", "/home", mount), ["A/b"]);
  assert.deepEqual(meant("/", "/home", mount), [""]);
  assert.deepEqual(meant("../C", "/mnt/music/A", mount), ["C"]);
  assert.deepEqual(meant(".", "/mnt/music/A", mount), ["A"]);
  assert.deepEqual(meant("/mnt/music2/A", "/", mount), ["mnt/music2/A"]);
});

Deno.test("typedPaths() never takes a folder elsewhere for the whole library", () => {
  for (const typed of [".", "..", "./", "../x", ""]) {
    assert.deepEqual(meant(typed, "/home", "/mnt/music"), [], typed);
    assert.deepEqual(meant(typed, "/home"), [], typed);
  }
});

Deno.test("typedPaths() finds the mount behind links", async () => {
  await using dir = await tempDir("paths");
  await Deno.mkdir(`${dir.path}/real/mnt`, { recursive: true });
  await Deno.symlink("real", `${dir.path}/link`);
  await Deno.symlink("real/mnt", `${dir.path}/music`);
  const mountpoint = await Deno.realPath(`${dir.path}/real/mnt`);
  assert.equal(meant(`${dir.path}/link/mnt/A/b`, "/", mountpoint)[0], "A/b");
  assert.equal(meant(`${dir.path}/music/A/b`, "/", mountpoint)[0], "A/b");
  assert.equal(meant(`${dir.path}/music`, "/", mountpoint)[0], "");
  assert.equal(meant(`music/A`, dir.path, mountpoint)[0], "A");
});
