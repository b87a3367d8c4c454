import assert from "node:assert/strict";
import {
  invalidateAttributes,
  invalidateEntry,
  invalidateNode,
  resend,
} from "../../src/fuse/notify.ts";
import { sizeOf, StructView } from "./layout.ts";

const HEADER = sizeOf("fuse_out_header");

Deno.test("invalidateNode() asks for all of a node to be forgotten", () => {
  const bytes = invalidateNode(2 ** 40 + 5);
  assert.equal(bytes.length, HEADER + sizeOf("fuse_notify_inval_inode_out"));
  assert.equal(new StructView(bytes, "fuse_out_header", 0).i32("error"), 2);
  const out = new StructView(bytes, "fuse_notify_inval_inode_out", HEADER);
  assert.equal(out.u64("ino"), 2n ** 40n + 5n);
  assert.equal(out.u64("off"), 0n);
  assert.equal(out.u64("len"), 0n);
});

Deno.test("invalidateAttributes() leaves the pages of a node alone", () => {
  const out = new StructView(invalidateAttributes(5), "fuse_notify_inval_inode_out", HEADER);
  assert.equal(out.u64("ino"), 5n);
  assert.equal(BigInt.asIntN(64, out.u64("off")), -1n);
});

Deno.test("invalidateEntry() counts the name in bytes and ends it with a NUL", () => {
  const bytes = invalidateEntry(9, "é");
  const out = new StructView(bytes, "fuse_notify_inval_entry_out", HEADER);
  assert.equal(new StructView(bytes, "fuse_out_header", 0).i32("error"), 3);
  assert.equal(out.u64("parent"), 9n);
  assert.equal(out.u32("namelen"), 2);
  assert.deepEqual([...bytes.subarray(HEADER + 16)], [0xc3, 0xa9, 0]);
});

Deno.test("resend() is a bare header with unique 0", () => {
  const header = new StructView(resend(), "fuse_out_header", 0);
  assert.equal(header.u32("len"), HEADER);
  assert.equal(header.i32("error"), 7);
  assert.equal(header.u64("unique"), 0n);
});
