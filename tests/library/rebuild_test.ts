import assert from "node:assert/strict";
import type { ChunkList } from "../../src/chunking/chunk_list.ts";
import { type ChunkManifest, MANIFEST_FORMAT } from "../../src/chunking/chunk_manifest.ts";
import { MusicfsError } from "../../src/base/errors.ts";
import { nodeIdOf, ROOT_ID } from "../../src/library/node_id.ts";
import { rebuildNamespace } from "../../src/library/rebuild.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import {
  at,
  bytes,
  checkConsistency,
  MoodyOrigin,
  never,
  openLibrary,
  treeOf,
} from "./library_fixture.ts";

function manifest(path: string, more: Partial<ChunkManifest> = {}): ChunkManifest {
  const size = more.size ?? 30;
  const chunks = [{ hash: new Uint8Array(16).fill(7), length: size }];
  return {
    format: MANIFEST_FORMAT,
    origin: "nas",
    path,
    version: "v1",
    size,
    mtimeNs: 5n,
    hash: "xxh128",
    regions: [{ kind: "whole", chunks }],
    ...more,
  };
}

/** The manifests on a disk, and what is put into the index's table. */
function manifestsOf(
  ...all: ChunkManifest[]
): {
  stored: [FileVersion, ChunkList][];
  files: () => { manifest: ChunkManifest }[];
  put: (version: FileVersion, list: ChunkList) => void;
} {
  const stored: [FileVersion, ChunkList][] = [];
  return {
    stored,
    files: () => all.map((manifest) => ({ manifest })),
    put: (version, list) => void stored.push([version, list]),
  };
}

const unavailable = new MusicfsError("unavailable", "down", { op: "test", subject: "nas" });

Deno.test("rebuildNamespace() shows the whole tracks again with every origin down", async () => {
  const nas = new MoodyOrigin("nas");
  nas.down = unavailable;
  const fixture = openLibrary([nas]);
  const { index, library } = fixture;
  const manifests = manifestsOf(manifest("a/b/song"), manifest("a/other", { size: 4 }));
  const restored = rebuildNamespace({ index, manifests, origins: ["nas"], nowMs: 1 });
  assert.equal(restored, 2);
  assert.deepEqual(treeOf(library), ["a/", "a/b/", "a/b/song", "a/other"]);
  const song = at(library, "a/b/song");
  const version = library.namespace.version(nodeIdOf(song.id, song.sequence));
  assert.deepEqual(version, {
    id: nodeIdOf(song.id, 1),
    size: 30,
    mtimeNs: 5n,
    sources: [{ origin: "nas", path: "a/b/song", version: "v1" }],
  });
  const [first] = manifests.stored;
  assert.deepEqual(first?.[0], version);
  assert.deepEqual([first?.[1].whole, first?.[1].count], [true, 1]);
  checkConsistency(fixture);
  await library.ensureListed(ROOT_ID, never());
  assert.equal(library.namespace.entry(ROOT_ID)?.listed, false);
});

Deno.test("rebuildNamespace() is corrected by the origins' listings, keeping what is the same", async () => {
  const nas = new MoodyOrigin("nas");
  const { version } = nas.put("a/same", bytes(30), 5n);
  nas.put("a/changed", bytes(31), 5n);
  for (let i = 0; i < 5; i += 1) nas.put(`b/${i}`, bytes(1));
  const fixture = openLibrary([nas]);
  const { index, library } = fixture;
  const manifests = manifestsOf(
    manifest("a/same", { version }),
    manifest("a/changed", { version: "v0" }),
    manifest("a/gone"),
  );
  rebuildNamespace({ index, manifests, origins: ["nas"], nowMs: 1 });
  const before = at(library, "a/same");
  await library.scan(never());
  assert.equal(at(library, "a/same").sequence, before.sequence);
  assert.equal(at(library, "a/changed").sequence, 2);
  assert.equal(library.namespace.find("a/gone"), undefined);
  checkConsistency(fixture);
});

Deno.test("rebuildNamespace() takes the latest version, and nothing hostile or of other origins", () => {
  const nas = new MoodyOrigin("nas");
  const disk = new MoodyOrigin("disk");
  const fixture = openLibrary([disk, nas]);
  const { index, library } = fixture;
  const manifests = manifestsOf(
    manifest("song", { version: "old", mtimeNs: 1n }),
    manifest("song", { version: "new", mtimeNs: 9n }),
    manifest("song", { version: "older", mtimeNs: 0n }),
    manifest("both", { origin: "nas", size: 1 }),
    manifest("both", { origin: "disk", size: 2 }),
    manifest("song/below", {}),
    manifest("../up"),
    manifest("a//b"),
    manifest("stranger", { origin: "gone" }),
  );
  rebuildNamespace({ index, manifests, origins: ["disk", "nas"], nowMs: 1 });
  assert.deepEqual(treeOf(library), ["both", "song"]);
  assert.equal(at(library, "song").sources[0]?.version, "new");
  assert.equal(at(library, "both").size, 2);
  checkConsistency(fixture);
});
