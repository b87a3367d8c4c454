import assert from "node:assert/strict";
import { IN_HEADER_BYTES, OPCODE } from "../../src/fuse/protocol.ts";
import { DeferredReads } from "../../src/mount/deferred_reads.ts";

function readRequest(handle: number, offset: number, length = 65_536): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(IN_HEADER_BYTES + 40);
  const view = new DataView(bytes.buffer);
  view.setUint32(4, OPCODE.READ, true);
  view.setBigUint64(IN_HEADER_BYTES, BigInt(handle), true);
  view.setBigUint64(IN_HEADER_BYTES + 8, BigInt(offset), true);
  view.setUint32(IN_HEADER_BYTES + 16, length, true);
  return bytes;
}

const answered = (handle: number, offset: number): DataView =>
  new DataView(readRequest(handle, offset).buffer);

Deno.test("DeferredReads tells once of a handle that is read elsewhere", () => {
  const reads = new DeferredReads();
  reads.deferred(readRequest(1, 65_536));
  assert.equal(reads.elsewhere(answered(2, 0)), undefined);
  assert.equal(reads.elsewhere(answered(1, 1_000_000)), 1);
  assert.equal(reads.elsewhere(answered(1, 2_000_000)), undefined);
});

Deno.test("DeferredReads takes a READ that goes on for what it is", () => {
  const reads = new DeferredReads();
  reads.deferred(readRequest(1, 65_536));
  assert.equal(reads.elsewhere(answered(1, 131_072)), undefined);
});

Deno.test("DeferredReads remembers 256 handles", () => {
  const reads = new DeferredReads();
  for (let handle = 1; handle <= 257; handle += 1) reads.deferred(readRequest(handle, 0));
  assert.equal(reads.elsewhere(answered(1, 1_000_000)), undefined);
  assert.equal(reads.elsewhere(answered(2, 1_000_000)), 2);
});
