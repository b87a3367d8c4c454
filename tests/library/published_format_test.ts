import assert from "node:assert/strict";
import fc from "fast-check";
import { type Log, silentLog } from "../../src/base/log.ts";
import { openChunkHash } from "../../src/chunking/chunk_hash.ts";
import { deflate, inflate } from "../../src/library/deflate.ts";
import { compareNames } from "../../src/library/path_order.ts";
import { NameColumns } from "../../src/library/name_columns.ts";
import {
  encodeNames,
  type NamedEntry,
  type NamedFolder,
} from "../../src/library/published_columns.ts";
import {
  decodeNamesFile,
  encodeNamesFile,
  NAMES_HEADER_BYTES,
  NAMES_PATH,
  partPath,
} from "../../src/library/published_format.ts";
import { PublishedIndex } from "../../src/library/published_index.ts";
import { goldenBytes } from "../chunking/golden_files.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import {
  md5Of,
  publish,
  type PublishedFiles,
  regionsOf,
  type TreeEntry,
} from "./published_fixture.ts";

const xxh128 = await openChunkHash("xxh128");
const T = 1_700_000_000_123_456_789n;

const TREE: TreeEntry[] = [
  { path: "", kind: "folder", mtimeNs: T },
  { path: "Ana", kind: "folder", mtimeNs: T + 1n },
  { path: "Ana/1 é.flac", kind: "file", size: 90_000, mtimeNs: T, regions: regionsOf(90_000) },
  { path: "Ana/empty", kind: "folder" },
  { path: "Ana/link", kind: "symlink", target: "1 é.flac" },
  { path: "b.flac", kind: "file", size: 3, mtimeNs: -1n, etag: "ab-2" },
];

Deno.test("the published index is laid out as its golden files are", async () => {
  const golden = goldenBytes("published_index_1.hex");
  const part = goldenBytes("published_chunks_1.hex");
  const id = xxh128.digest(part).toHex();
  const index = await opened({ index: golden, part: { id, bytes: part } });
  const made = await publish(TREE);
  assert.deepEqual(made.part, { id, bytes: part });
  assert.deepEqual([...index.folders()], [...(await opened(made)).folders()]);
  // What deflates it may change; what it inflates to may not.
  assert.deepEqual(await columnsOf(made.index), await columnsOf(golden));
  assert.deepEqual(made.index.subarray(0, 48), golden.subarray(0, 48));
  const file = { path: "Ana/1 é.flac", size: 90_000, version: `90000-${T}` };
  assert.deepEqual(await chunksOf(index, file), regionsOf(90_000));
});

const name = fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 })
  .filter((text) => !/[/\0]/.test(text) && text !== "." && text !== "..");

interface FileNode {
  kind: "file";
  size: number;
  mtimeNs: bigint;
  etag: string;
  hasMd5: boolean;
  listBytes: number;
}
interface LinkNode {
  kind: "symlink";
  mtimeNs: bigint;
  target: string;
}
interface FolderNode {
  kind: "folder";
  mtimeNs: bigint;
  names: [name: string, node: FileNode | LinkNode | FolderNode][];
}

const mtimeNs = fc.bigInt({ min: -(2n ** 62n), max: 2n ** 62n });
const file: fc.Arbitrary<FileNode> = fc.record({
  kind: fc.constant("file"),
  size: fc.maxSafeNat(),
  mtimeNs,
  etag: fc.constantFrom("", "abc-3"),
  hasMd5: fc.boolean(),
  listBytes: fc.nat(1000),
});
const link: fc.Arbitrary<LinkNode> = fc.record({
  kind: fc.constant("symlink"),
  target: name,
  mtimeNs,
});
const { folder } = fc.letrec<{ folder: FolderNode }>((tie) => ({
  folder: fc.record({
    kind: fc.constant("folder"),
    mtimeNs,
    names: fc.uniqueArray(
      fc.tuple(name, fc.oneof({ depthSize: "small" }, file, link, tie("folder"))),
      { selector: ([name]) => name, maxLength: 5 },
    ),
  }),
}));

Deno.test("encodeNames() and NameColumns go there and back for every tree", () => {
  fc.assert(fc.property(folder, (tree) => {
    const { folders, bytes } = foldersOf(tree);
    const parts = [{ id: "0123456789abcdef".repeat(2), bytes }];
    const { columns, digests } = encodeNames(folders, parts);
    const decoded = new NameColumns(columns, digests);
    const paths = new Map<string, number>();
    const found = Array.from({ length: decoded.folders }, (_, number) => {
      const { own, first, end } = decoded.place(number);
      const path = decoded.path(number);
      const entries = Array.from({ length: end - first }, (_, i) => {
        paths.set(
          path === "" ? `${decoded.names[first + i]}` : `${path}/${decoded.names[first + i]}`,
          first + i,
        );
        return decoded.entry(first + i);
      });
      return { path, mtimeNs: decoded.mtimeNs(own), entries };
    });
    assert.deepEqual(found, folders);
    assert.deepEqual(decoded.parts, parts);
    for (const [path, i] of paths) {
      assert.equal(decoded.find(path), i);
      assert.equal(decoded.find(`${path}/\0`), undefined);
    }
    assert.equal(decoded.find("\0"), undefined);
  }));
});

Deno.test("PublishedIndex is none if any of its bytes is damaged, or it is cut off", async () => {
  const { index, part } = await publish(TREE);
  for (let at = 0; at < index.length; at += 1) {
    const damaged = index.slice();
    damaged[at] = (damaged[at] ?? 0) ^ 0x20;
    assert.equal(await open({ index: damaged, part }), undefined, `byte ${at}`);
    assert.equal(await open({ index: index.slice(0, at), part }), undefined, `cut at ${at}`);
  }
  const longer = new Uint8Array([...index, 0]);
  assert.equal(await open({ index: longer, part }), undefined);
});

Deno.test("PublishedIndex gives out no list that is damaged, forged or of another file", async () => {
  const { index, part } = await publish(TREE);
  const file = { path: "Ana/1 é.flac", size: 90_000, version: `90000-${T}` };
  for (let at = 0; at < part.bytes.length; at += 1) {
    const bytes = part.bytes.slice();
    bytes[at] = (bytes[at] ?? 0) ^ 0x01;
    const found = await chunksOf(await opened({ index, part: { id: part.id, bytes } }), file);
    // The part's own header names a format and nothing of the file.
    if (at >= 16) assert.equal(found, undefined, `byte ${at}`);
  }
  const cut = { id: part.id, bytes: part.bytes.slice(0, -1) };
  assert.equal(await chunksOf(await opened({ index, part: cut }), file), undefined);
  const other = await publish(
    TREE.map((entry) =>
      entry.regions ? { ...entry, size: 90_001, regions: regionsOf(90_001) } : entry
    ),
  );
  assert.equal(other.part.bytes.length, part.bytes.length);
  const swapped = { id: part.id, bytes: other.part.bytes };
  assert.equal(await chunksOf(await opened({ index, part: swapped }), file), undefined);
});

Deno.test("PublishedIndex of forged columns is none, or one of sound names", async () => {
  const { index } = await publish(TREE);
  const header = decodeNamesFile(index, xxh128);
  const columns = await columnsOf(index);
  const digests = index.subarray(NAMES_HEADER_BYTES + header.deflatedBytes);
  let used = 0;
  for (let at = 0; at < columns.length; at += 1) {
    for (const bit of [0x01, 0x40, 0x80]) {
      const forged = columns.slice();
      forged[at] = (forged[at] ?? 0) ^ bit;
      const body = { deflated: await deflate(forged), digests };
      const bytes = encodeNamesFile({ ...header, columnsBytes: forged.length }, body, xxh128);
      const found = await open({ index: bytes, part: { id: "0", bytes: new Uint8Array(0) } });
      if (!found) continue;
      used += 1;
      for (const { path, entries } of found.folders()) {
        const prefix = path === "" ? "" : `${path}/`;
        for (const entry of entries) {
          assert.ok(entry.path.startsWith(prefix));
          assert.match(entry.path.slice(prefix.length), /^(?!\.\.?$)[^/\0]+$/);
          assert.ok(Number.isSafeInteger(entry.size) && entry.size >= 0);
        }
      }
    }
  }
  assert.ok(used > 0, "some still are an index, of other times");
});

Deno.test("PublishedIndex says in one line why it does not use a newer format", async () => {
  const { index, part } = await publish(TREE);
  new DataView(index.buffer).setUint32(8, 2, true);
  const lines: string[] = [];
  const log: Log = {
    ...silentLog,
    warning: (message, fields) => lines.push(`${message} ${fields?.error}`),
  };
  assert.equal(await open({ index, part }, log), undefined);
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? "", /format 2 is newer than this musicfs/);
});

Deno.test("inflate() makes no more of a bomb than it was told to expect", async () => {
  const bomb = await deflate(new Uint8Array(64 * 1024 * 1024));
  await assert.rejects(inflate(bomb, 1_000), { code: "corrupt" });
  await assert.rejects(inflate(bomb.slice(0, 1_000), 1_000), { code: "corrupt" });
  await assert.rejects(inflate(new Uint8Array(100).fill(255), 100), { code: "corrupt" });
  const text = new TextEncoder().encode("Furrow");
  assert.deepEqual(await inflate(await deflate(text), text.length), text);
  await assert.rejects(inflate(await deflate(text), text.length + 1), { code: "corrupt" });
});

Deno.test("PublishedIndex takes no index that is larger than any can be", async () => {
  const { index } = await publish(TREE);
  const header = decodeNamesFile(index, xxh128);
  const body = {
    deflated: index.slice(NAMES_HEADER_BYTES, NAMES_HEADER_BYTES + header.deflatedBytes),
    digests: index.slice(NAMES_HEADER_BYTES + header.deflatedBytes),
  };
  for (const columnsBytes of [2 ** 40, 2 ** 53 - 1, header.columnsBytes - 1]) {
    const bytes = encodeNamesFile({ ...header, columnsBytes }, body, xxh128);
    const part = { id: "0", bytes: new Uint8Array(0) };
    assert.equal(await open({ index: bytes, part }), undefined, `${columnsBytes}`);
  }
});

Deno.test("NameColumns of a great many long paths takes little memory for them", () => {
  const folder = (name: string): NamedEntry => ({
    name,
    kind: "folder",
    size: 0,
    mtimeNs: 0n,
    target: "",
    etag: "",
  });
  const folders: NamedFolder[] = [];
  let path = "";
  const deep = "x".repeat(250);
  for (let depth = 0; depth < 16; depth += 1) {
    folders.push({ path, mtimeNs: 0n, entries: [folder(deep)] });
    path = path === "" ? deep : `${path}/${deep}`;
  }
  const names = Array.from({ length: 50_000 }, (_, i) => String(i).padStart(5, "0"));
  folders.push({ path, mtimeNs: 0n, entries: names.map(folder) });
  for (const name of names) folders.push({ path: `${path}/${name}`, mtimeNs: 0n, entries: [] });
  const { columns, digests } = encodeNames(folders, []);
  const before = Deno.memoryUsage().heapUsed;
  const decoded = new NameColumns(columns, digests);
  assert.equal(decoded.find(`${path}/01234`), 16 + 1234);
  const grown = Deno.memoryUsage().heapUsed - before;
  assert.ok(grown < 50 * 2 ** 20, `${grown} bytes, where the paths have 200 MB`);
  const deeper = [...folders.slice(0, -50_001), {
    path,
    mtimeNs: 0n,
    entries: [folder(deep)],
  }, { path: `${path}/${deep}`, mtimeNs: 0n, entries: [] }];
  const bad = encodeNames(deeper, []);
  assert.throws(() => new NameColumns(bad.columns, bad.digests), { code: "corrupt" });
});

/** The folders of a tree in the order of the format, and the bytes that their lists take. */
function foldersOf(root: FolderNode): { folders: NamedFolder[]; bytes: number } {
  const folders: NamedFolder[] = [];
  let bytes = 16;
  const namedFile = (name: string, node: FileNode): NamedEntry => {
    const { size, mtimeNs, listBytes } = node;
    const md5 = node.hasMd5 ? md5Of(name) : undefined;
    const etag = node.etag || (md5?.toHex() ?? "");
    const entry = { name, kind: "file" as const, size, mtimeNs, target: "", md5, etag };
    if (listBytes === 0) return entry;
    const list = { part: 0, offset: bytes, bytes: listBytes };
    bytes += listBytes;
    return { ...entry, list };
  };
  const add = ({ names, mtimeNs }: FolderNode, path: string): void => {
    const sorted = names.toSorted(([a], [b]) => compareNames(a, b));
    const entries = sorted.map(([name, node]): NamedEntry => {
      if (node.kind === "file") return namedFile(name, node);
      const target = node.kind === "symlink" ? node.target : "";
      return { name, kind: node.kind, size: 0, mtimeNs: node.mtimeNs, target, etag: "" };
    });
    folders.push({ path, mtimeNs, entries });
    for (const [name, node] of sorted) {
      if (node.kind === "folder") add(node, path === "" ? name : `${path}/${name}`);
    }
  };
  add(root, "");
  return { folders, bytes };
}

async function columnsOf(index: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const { deflatedBytes, columnsBytes } = decodeNamesFile(index, xxh128);
  const deflated = index.subarray(NAMES_HEADER_BYTES, NAMES_HEADER_BYTES + deflatedBytes);
  return await inflate(deflated, columnsBytes);
}

async function open(
  { index, part }: PublishedFiles,
  log: Log = silentLog,
): Promise<PublishedIndex | undefined> {
  const origin = new MemoryOrigin("nas");
  origin.put(NAMES_PATH, index);
  origin.put(partPath(part.id), part.bytes);
  return await PublishedIndex.open(origin, { kind: "local", signal: never(), log });
}

async function opened(files: PublishedFiles): Promise<PublishedIndex> {
  const index = await open(files);
  assert.ok(index, "the index is used");
  return index;
}

async function chunksOf(
  index: PublishedIndex,
  file: { path: string; size: number; version: string },
): ReturnType<PublishedIndex["chunks"]> {
  return await index.chunks(file, { signal: never(), hash: "xxh128" });
}

function never(): AbortSignal {
  return new AbortController().signal;
}
