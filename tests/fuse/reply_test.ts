import assert from "node:assert/strict";
import type { Entry } from "../../src/library/entry.ts";
import { nodeIdOf } from "../../src/library/node_id.ts";
import { Reply } from "../../src/fuse/reply.ts";
import { sizeOf, StructView } from "./layout.ts";

const presentation = { uid: 1000, gid: 100, umask: 0o027, ttlS: 3600 };
const HEADER = sizeOf("fuse_out_header");

function entry(overrides: Partial<Entry>): Entry {
  return {
    id: 77,
    parent: 1,
    name: "song.flac",
    kind: "file",
    sequence: 3,
    size: 5_000_000_000,
    mtimeNs: 1_700_000_000_123_456_789n,
    target: "",
    listed: false,
    sources: [],
    ...overrides,
  };
}

Deno.test("Reply.entry() writes fuse_entry_out where the kernel looks for it", () => {
  const reply = new Reply(presentation);
  reply.begin(0x89abcdef, 0x01234567);

  const length = reply.entry(entry({}));

  assert.equal(length, HEADER + sizeOf("fuse_entry_out"));
  const header = new StructView(reply.bytes, "fuse_out_header", 0);
  assert.equal(header.u32("len"), length);
  assert.equal(header.i32("error"), 0);
  assert.equal(header.u64("unique"), 0x0123456789abcdefn);
  const out = new StructView(reply.bytes, "fuse_entry_out", HEADER);
  assert.equal(out.u64("nodeid"), BigInt(nodeIdOf(77, 3)));
  assert.equal(out.u64("entry_valid"), 3600n);
  assert.equal(out.u64("attr_valid"), 3600n);
  const attr = new StructView(reply.bytes, "fuse_attr", HEADER + 40);
  assert.equal(attr.u64("ino"), 77n);
  assert.equal(attr.u64("size"), 5_000_000_000n);
  assert.equal(attr.u64("blocks"), 9_765_625n);
  assert.equal(attr.u64("mtime"), 1_700_000_000n);
  assert.equal(attr.u32("mtimensec"), 123_456_789);
  assert.equal(attr.u32("mode"), 0o100440);
  assert.equal(attr.u32("uid"), 1000);
  assert.equal(attr.u32("gid"), 100);
});

Deno.test("Reply.entry() of a missing name is node 0, to be remembered as long as a name", () => {
  const reply = new Reply(presentation);
  reply.entry(entry({}));

  reply.entry(undefined);

  const out = new StructView(reply.bytes, "fuse_entry_out", HEADER);
  assert.equal(out.u64("nodeid"), 0n);
  assert.equal(out.u64("entry_valid"), 3600n);
  assert.equal(new StructView(reply.bytes, "fuse_attr", HEADER + 40).u64("ino"), 0n);
});

Deno.test("Reply.attributes() gives times before 1970 as seconds and positive nanoseconds", () => {
  const reply = new Reply(presentation);
  reply.attributes(entry({ mtimeNs: -1n }));
  const attr = new StructView(reply.bytes, "fuse_attr", HEADER + 16);
  assert.equal(BigInt.asIntN(64, attr.u64("mtime")), -1n);
  assert.equal(attr.u32("mtimensec"), 999_999_999);
});

Deno.test("Reply.directoryEntry() fills a buffer without a gap and stops before its end", () => {
  const reply = new Reply(presentation);
  for (const plus of [false, true]) {
    const head = plus ? sizeOf("fuse_entry_out") : 0;
    const end = HEADER + 2 * (head + 32) + 16;
    const names = ["a", "\u{1f3b5}é", "never fits"];
    let at = HEADER;
    const placed: string[] = [];
    for (const [i, name] of names.entries()) {
      const item = { cookie: 20 + i, name, entry: entry({ id: 20 + i, name }), plus };
      const next = reply.directoryEntry(at, end, { ...item, describe: true });
      if (next < 0) break;
      const dirent = new StructView(reply.bytes, "fuse_dirent", at + head);
      const nameAt = at + head + 24;
      const bytes = reply.bytes.subarray(nameAt, nameAt + dirent.u32("namelen"));
      placed.push(new TextDecoder().decode(bytes));
      assert.equal(dirent.u64("ino"), BigInt(20 + i));
      assert.equal(dirent.u64("off"), BigInt(20 + i));
      assert.equal(dirent.u32("type"), 8);
      assert.equal((next - HEADER) % 8, 0);
      assert(next <= end);
      at = next;
    }
    assert.deepEqual(placed, names.slice(0, 2));
  }
});

Deno.test("Reply.filesystem() counts what the library holds and has nothing free", () => {
  const reply = new Reply(presentation);
  const length = reply.filesystem({ files: 10, folders: 2, bytes: 8193 });
  assert.equal(length, HEADER + sizeOf("fuse_kstatfs"));
  const out = new StructView(reply.bytes, "fuse_kstatfs", HEADER);
  assert.equal(out.u64("blocks"), 3n);
  assert.equal(out.u64("files"), 12n);
  assert.equal(out.u32("bsize"), 4096);
  assert.equal(out.u32("namelen"), 255);
});
