import assert from "node:assert/strict";
import { join } from "node:path";
import { silentLog } from "../../src/base/log.ts";
import { PublishedIndex } from "../../src/library/published_index.ts";
import type { OriginPlace } from "../../src/origins/open.ts";
import { LocalOrigin } from "../../src/origins/local.ts";
import type { Origin, OriginEntry } from "../../src/origins/origin.ts";
import { tempDir } from "../support/temp_dir.ts";
import {
  md5Of,
  publish,
  type PublishedFiles,
  regionsOf,
  type TreeEntry,
} from "./published_fixture.ts";

const T = 1_700_000_000_123_456_789n;

const TREE: TreeEntry[] = [
  { path: "", kind: "folder", mtimeNs: T + 1n },
  { path: "Ana", kind: "folder", mtimeNs: T + 2n },
  { path: "Ana/Salt", kind: "folder", mtimeNs: T + 3n },
  { path: "Ana/Salt/1 é.flac", kind: "file", size: 90_000, mtimeNs: T, regions: regionsOf(90_000) },
  { path: "Ana/Salt/empty.flac", kind: "file", size: 0, mtimeNs: -1n },
  { path: "Ana/none.mp3", kind: "file", size: 2 ** 40, mtimeNs: T - 5n },
  { path: "Ana/\u{1F3B5}", kind: "folder", mtimeNs: 0n },
  { path: "Ana/\uFFFD", kind: "symlink", mtimeNs: T, target: "Salt/1 é.flac" },
  { path: "b.flac", kind: "file", size: 3, mtimeNs: T, etag: "abc-2", regions: regionsOf(3) },
];

Deno.test("PublishedIndex.folders() gives back every name as it was published", async () => {
  await using place = await placed(await publish(TREE));
  const index = await opened(place.origin);
  assert.equal(index.files, 4);
  const folders = [...index.folders()];
  assert.deepEqual(folders.map(({ path, mtimeNs }) => [path, mtimeNs]), [
    ["", T + 1n],
    ["Ana", T + 2n],
    ["Ana/Salt", T + 3n],
    ["Ana/\u{1F3B5}", 0n],
  ]);
  assert.deepEqual(
    folders[1]?.entries.map(({ path }) => path),
    ["Ana/Salt", "Ana/none.mp3", "Ana/\uFFFD", "Ana/\u{1F3B5}"],
  );
  const expected: OriginEntry = {
    path: "Ana/Salt/1 é.flac",
    kind: "file",
    size: 90_000,
    mtimeNs: T,
    version: `90000-${T}`,
    target: "",
  };
  assert.deepEqual(folders[2]?.entries[0], expected);
  assert.equal(folders[1]?.entries[2]?.target, "Salt/1 é.flac");
});

Deno.test("PublishedIndex.chunks() gives the list of the indexed version, and of no other", async () => {
  await using place = await placed(await publish(TREE));
  const index = await opened(place.origin);
  const options = { signal: AbortSignal.timeout(10_000), hash: "xxh128" } as const;
  const file = { path: "Ana/Salt/1 é.flac", size: 90_000, mtimeNs: T, version: `90000-${T}` };
  assert.deepEqual(await index.chunks(file, options), regionsOf(90_000));
  assert.deepEqual(await index.chunks({ ...file, path: "b.flac" }, options), undefined);
  assert.equal(await index.chunks({ ...file, size: 90_001 }, options), undefined);
  assert.equal(await index.chunks({ ...file, version: `90000-${T + 1n}` }, options), undefined);
  assert.equal(await index.chunks(file, { ...options, hash: "xxh64" }), undefined);
  const none = { path: "Ana/none.mp3", size: 2 ** 40, version: `${2 ** 40}-${T - 5n}` };
  assert.equal(await index.chunks(none, options), undefined);
  const empty = { path: "Ana/Salt/empty.flac", size: 0, version: "0--1" };
  assert.deepEqual(await index.chunks(empty, options), []);
});

Deno.test("PublishedIndex gives each kind of origin the versions that it has", async () => {
  await using place = await placed(await publish(TREE));
  const ofKind = async (kind: OriginPlace): Promise<Map<string, OriginEntry>> => {
    const index = await opened(place.origin, kind);
    const entries = [...index.folders()].flatMap((folder) => folder.entries);
    return new Map(entries.map((entry) => [entry.path, entry]));
  };
  const sftp = await ofKind("sftp");
  const seconds = T - T % 1_000_000_000n;
  assert.equal(sftp.get("b.flac")?.version, `3-${seconds}`);
  assert.equal(sftp.get("Ana")?.mtimeNs, seconds);
  assert.equal(sftp.get("Ana/Salt/empty.flac")?.mtimeNs, -1_000_000_000n);
  const s3 = await ofKind("s3");
  assert.equal(s3.get("b.flac")?.version, "abc-2");
  assert.equal(s3.get("Ana/none.mp3")?.version, md5Of("Ana/none.mp3").toHex());
  assert.equal(s3.get("Ana")?.mtimeNs, 0n);
  assert.ok(!s3.has("Ana/\uFFFD"), "a bucket has no links");
  assert.ok(!s3.has("Ana/\u{1F3B5}"), "a bucket has no empty folders");
});

async function placed(
  { index, part }: PublishedFiles,
): Promise<AsyncDisposable & { origin: Origin; dir: string }> {
  const dir = await tempDir("published");
  await Deno.mkdir(join(dir.path, ".musicfs"));
  await Deno.writeFile(join(dir.path, ".musicfs", "index"), index);
  await Deno.writeFile(join(dir.path, ".musicfs", `chunks-${part.id}`), part.bytes);
  const origin = new LocalOrigin("nas", dir.path, { log: silentLog });
  return {
    origin,
    dir: dir.path,
    async [Symbol.asyncDispose](): Promise<void> {
      await origin[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    },
  };
}

async function opened(origin: Origin, kind: OriginPlace = "local"): Promise<PublishedIndex> {
  const signal = AbortSignal.timeout(10_000);
  const index = await PublishedIndex.open(origin, { kind, signal, log: silentLog });
  assert.ok(index, "the index is used");
  return index;
}
