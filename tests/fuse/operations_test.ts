import assert from "node:assert/strict";
import { Operations } from "../../src/fuse/operations.ts";
import { DEFERRED, Reply, SILENT } from "../../src/fuse/reply.ts";
import { OpenFiles } from "../../src/fuse/open_files.ts";
import { IN_HEADER_BYTES, OPCODE, OPEN_FLAG } from "../../src/fuse/protocol.ts";
import type { EntrySource } from "../../src/library/entry.ts";
import { Namespace } from "../../src/library/namespace.ts";
import { NamespaceEdit } from "../../src/library/namespace_edit.ts";
import { nodeIdOf, ROOT_ID } from "../../src/library/node_id.ts";
import { MemoryIndex } from "../support/memory_index.ts";
import { offsetOf, sizeOf, StructView } from "./layout.ts";

const HEADER = sizeOf("fuse_out_header");
const encoder = new TextEncoder();

function source(kind: EntrySource["kind"], size = 0): EntrySource {
  const version = kind === "file" ? `${size}-5` : "";
  return {
    origin: 1,
    kind,
    size,
    mtimeNs: 5n,
    version,
    target: kind === "symlink" ? "../x" : "",
    listed: kind === "folder",
    lastScan: 1,
  };
}

/** A listed root with a file, a link, an unlisted folder and a listed folder of `count` files. */
function fixture(
  { count = 0, cached = new Map<number, Uint8Array>(), answersUnlisted = false } = {},
): {
  answer: (opcode: number, node: number, body?: Uint8Array) => number;
  reply: Reply;
  ids: { song: number; link: number; later: number; album: number };
  names: string[];
} {
  const index = new MemoryIndex();
  index.transaction(() => index.table("origins").put(Uint8Array.of(0, 1), encoder.encode("nas")));
  const namespace = new Namespace(index);
  const ids = { song: 0, link: 0, later: 0, album: 0 };
  const names = Array.from({ length: count }, (_, i) => `${i} ${"x".repeat(i % 60)}\u{1f3b5}`);
  NamespaceEdit.run({ index, namespace, nowMs: 1 }, (edit) => {
    const root = namespace.entry(ROOT_ID);
    assert(root);
    edit.setSources(root, [source("folder")]);
    const insert = (parent: number, name: string, source: EntrySource): number =>
      edit.insert(parent, name, { sources: [source], quiet: true }).id;
    ids.song = insert(ROOT_ID, "song.flac", source("file", 1000));
    ids.link = insert(ROOT_ID, "link", source("symlink"));
    ids.later = insert(ROOT_ID, "later", { ...source("folder"), listed: false });
    ids.album = insert(ROOT_ID, "album", source("folder"));
    for (const name of names) insert(ids.album, name, source("file", 1));
  });
  const reply = new Reply({ uid: 0, gid: 0, umask: 0, ttlS: 60 });
  const files = new OpenFiles({
    namespace,
    reader: {
      read: (version, offset, into) => {
        const bytes = cached.get(version)?.subarray(offset, offset + into.length);
        if (bytes) into.set(bytes);
        return bytes ? bytes.length : -1;
      },
    },
    direct: { open: () => "cached", closeBacking: () => undefined },
    ledger: undefined,
    observer: { opened: () => undefined, released: () => undefined },
    counters: { handles: 0, cacheBytes: 0, directBytes: 0 },
    nonce: 1,
  });
  const operations = new Operations({
    namespace,
    files,
    reply,
    cacheFolders: true,
    answersUnlisted,
  });
  return {
    answer: (opcode, node, body) => operations.answer(request(opcode, node, body)),
    reply,
    ids,
    names,
  };
}

function request(opcode: number, node: number, body: Uint8Array = new Uint8Array()): DataView {
  const bytes = new Uint8Array(IN_HEADER_BYTES + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint32(offsetOf("fuse_in_header", "opcode"), opcode, true);
  view.setBigUint64(offsetOf("fuse_in_header", "unique"), 42n, true);
  view.setBigUint64(offsetOf("fuse_in_header", "nodeid"), BigInt(node), true);
  bytes.set(body, IN_HEADER_BYTES);
  return view;
}

const named = (name: string): Uint8Array => encoder.encode(`${name}\0`);

/** `struct fuse_read_in`, which READDIR uses too. */
function readIn(offset: number, size: number): Uint8Array {
  const bytes = new Uint8Array(sizeOf("fuse_read_in"));
  const view = new DataView(bytes.buffer);
  view.setBigUint64(offsetOf("fuse_read_in", "offset"), BigInt(offset), true);
  view.setUint32(offsetOf("fuse_read_in", "size"), size, true);
  return bytes;
}

function errorOf(reply: Reply): number {
  return -new StructView(reply.bytes, "fuse_out_header", 0).i32("error");
}

Deno.test("Operations answers LOOKUP with the node of the current version", () => {
  const { answer, reply, ids } = fixture();
  assert(answer(OPCODE.LOOKUP, ROOT_ID, named("song.flac")) > 0);
  const out = new StructView(reply.bytes, "fuse_entry_out", HEADER);
  assert.equal(out.u64("nodeid"), BigInt(nodeIdOf(ids.song, 1)));
});

Deno.test("Operations says that a name is missing only in a folder that was listed", () => {
  const { answer, reply, ids } = fixture();
  assert(answer(OPCODE.LOOKUP, ROOT_ID, named("none")) > 0);
  assert.equal(new StructView(reply.bytes, "fuse_entry_out", HEADER).u64("nodeid"), 0n);
  const later = nodeIdOf(ids.later, 0);
  answer(OPCODE.LOOKUP, ROOT_ID, named("x".repeat(256)));
  assert.equal(errorOf(reply), 36, "ENAMETOOLONG");
  assert.equal(answer(OPCODE.LOOKUP, later, named("none")), DEFERRED);
  assert.equal(answer(OPCODE.OPENDIR, later), DEFERRED);
  assert.equal(answer(OPCODE.READDIR, later, readIn(0, 4096)), DEFERRED);
});

Deno.test("Operations shows an unlisted folder as it is known once the origins were asked", () => {
  const { answer, reply, ids } = fixture({ answersUnlisted: true });
  const later = nodeIdOf(ids.later, 0);
  answer(OPCODE.LOOKUP, later, named("none"));
  assert.equal(errorOf(reply), 2, "a missing name must not be remembered by the kernel");
  answer(OPCODE.OPENDIR, later);
  assert.equal(new StructView(reply.bytes, "fuse_open_out", HEADER).u32("open_flags"), 0);
  assert(answer(OPCODE.READDIR, later, readIn(0, 4096)) > HEADER);
});

Deno.test("Operations lists a folder whole, once each, however small the buffer and wherever it starts", () => {
  const { answer, reply, ids, names } = fixture({ count: 500 });
  const album = nodeIdOf(ids.album, 0);
  for (const [opcode, head] of [[OPCODE.READDIR, 0], [OPCODE.READDIRPLUS, 128]] as const) {
    for (const size of [512, 4096, 65536]) {
      const listed: string[] = [];
      const cookies: bigint[] = [];
      for (let cookie = 0n;;) {
        const end = answer(opcode, album, readIn(Number(cookie), size));
        assert(end >= HEADER && end <= HEADER + size);
        if (end === HEADER) break;
        for (let at = HEADER; at < end;) {
          const dirent = new StructView(reply.bytes, "fuse_dirent", at + head);
          const length = dirent.u32("namelen");
          const nameAt = at + head + 24;
          listed.push(new TextDecoder().decode(reply.bytes.subarray(nameAt, nameAt + length)));
          cookie = dirent.u64("off");
          cookies.push(cookie);
          at = nameAt + Math.ceil(length / 8) * 8;
        }
      }
      assert.deepEqual(listed, [".", "..", ...names]);
      const middle = cookies[250] ?? 0n;
      answer(opcode, album, readIn(Number(middle), 65536));
      assert.equal(
        new StructView(reply.bytes, "fuse_dirent", HEADER + head).u64("off"),
        cookies[251],
      );
    }
  }
});

Deno.test("Operations reads what is cached and leaves the rest to the main thread", () => {
  const cached = new Map<number, Uint8Array>();
  const { answer, reply, ids } = fixture({ cached });
  const song = nodeIdOf(ids.song, 1);
  assert.equal(answer(OPCODE.READ, song, readIn(0, 100)), DEFERRED);
  cached.set(song, Uint8Array.from({ length: 1000 }, (_, i) => i));
  assert.equal(answer(OPCODE.READ, song, readIn(990, 100)), HEADER + 10);
  assert.deepEqual([...reply.bytes.subarray(HEADER, HEADER + 3)], [
    990 & 255,
    991 & 255,
    992 & 255,
  ]);
});

Deno.test("Operations refuses every kind of write with EROFS and what it does not know with ENOSYS", () => {
  const { answer, reply, ids } = fixture();
  const song = nodeIdOf(ids.song, 1);
  const writes = ["SETATTR", "WRITE", "CREATE", "MKDIR", "UNLINK", "RENAME2", "FALLOCATE"] as const;
  for (const name of writes) {
    answer(OPCODE[name], song, new Uint8Array(64));
    assert.equal(errorOf(reply), 30, name);
  }
  const O_RDWR = 2;
  answer(OPCODE.OPEN, song, Uint8Array.of(O_RDWR, 0, 0, 0, 0, 0, 0, 0));
  assert.equal(errorOf(reply), 30, "OPEN for writing");
  for (const opcode of [22, /* GETXATTR */ 25, /* FLUSH */ 40, /* POLL */ 999]) {
    answer(opcode, song, new Uint8Array(64));
    assert.equal(errorOf(reply), 38, `opcode ${opcode}`);
  }
});

Deno.test("Operations answers nothing to FORGET, and ESTALE for what it never knew", () => {
  const { answer, reply } = fixture();
  assert.equal(answer(OPCODE.FORGET, 5, new Uint8Array(8)), SILENT);
  for (const opcode of [OPCODE.GETATTR, OPCODE.OPEN, OPCODE.OPENDIR, OPCODE.READLINK]) {
    answer(opcode, nodeIdOf(9999, 1), new Uint8Array(16));
    assert.equal(errorOf(reply), 116, `opcode ${opcode}`);
  }
});

Deno.test("Operations finds data up to a file's end and a hole only there", () => {
  const { answer, reply, ids } = fixture();
  const song = nodeIdOf(ids.song, 1);
  const seek = (offset: number, whence: number): number | bigint => {
    const body = new Uint8Array(sizeOf("fuse_lseek_in"));
    const view = new DataView(body.buffer);
    view.setBigUint64(offsetOf("fuse_lseek_in", "offset"), BigInt(offset), true);
    view.setUint32(offsetOf("fuse_lseek_in", "whence"), whence, true);
    answer(OPCODE.LSEEK, song, body);
    return errorOf(reply) || reply.view.getBigUint64(HEADER, true);
  };
  assert.equal(seek(10, 3), 10n);
  assert.equal(seek(10, 4), 1000n);
  assert.equal(seek(1000, 3), 6);
  assert.equal(seek(0, 7), 22);
});

Deno.test("Operations keeps the pages of a file across opens, and reads links", () => {
  const { answer, reply, ids } = fixture();
  answer(OPCODE.OPEN, nodeIdOf(ids.song, 1), new Uint8Array(8));
  const out = new StructView(reply.bytes, "fuse_open_out", HEADER);
  assert((out.u32("open_flags") & OPEN_FLAG.KEEP_CACHE) !== 0);
  const length = answer(OPCODE.READLINK, nodeIdOf(ids.link, 0));
  assert.equal(new TextDecoder().decode(reply.bytes.subarray(HEADER, length)), "../x");
});

Deno.test("Operations answers the same through a predecessor's handle as through its own", () => {
  const cached = new Map<number, Uint8Array>();
  const { answer, reply, ids } = fixture({ cached, count: 3 });
  const song = nodeIdOf(ids.song, 1);
  const album = nodeIdOf(ids.album, 0);
  cached.set(song, new Uint8Array(1000));
  answer(OPCODE.OPEN, song, new Uint8Array(8));
  const own = new StructView(reply.bytes, "fuse_open_out", HEADER).u64("fh");
  const FLUSH = 25;
  const requests: [name: string, opcode: number, node: number, handleAt: number][] = [
    ["READ", OPCODE.READ, song, 0],
    ["LSEEK", OPCODE.LSEEK, song, 0],
    ["GETATTR with a handle", OPCODE.GETATTR, song, 8],
    ["FLUSH", FLUSH, song, 0],
    ["FSYNC", OPCODE.FSYNC, song, 0],
    ["READDIR", OPCODE.READDIR, album, 0],
    ["READDIRPLUS", OPCODE.READDIRPLUS, album, 0],
    ["RELEASEDIR", OPCODE.RELEASEDIR, album, 0],
    ["RELEASE", OPCODE.RELEASE, song, 0],
  ];
  for (const [name, opcode, node, handleAt] of requests) {
    const answerTo = (handle: bigint): string => {
      const body = readIn(0, 1000);
      const view = new DataView(body.buffer);
      // For LSEEK: SEEK_DATA.
      if (opcode === OPCODE.LSEEK) view.setUint32(16, 3, true);
      view.setBigUint64(handleAt, handle, true);
      const length = answer(opcode, node, body);
      return reply.bytes.subarray(0, length).toHex();
    };
    const older = (1n << 52n) + 5n;
    assert.equal(answerTo(older), answerTo(own), name);
  }
});
