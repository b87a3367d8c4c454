import assert from "node:assert/strict";
import { negotiate, writeInitOut } from "../../src/fuse/negotiation.ts";
import { IN_HEADER_BYTES, INIT_FLAG, INIT_FLAG2 } from "../../src/fuse/protocol.ts";
import { offsetOf, sizeOf, StructView } from "./layout.ts";

const ALL = 0xffff_ffff;

function initRequest(
  kernel: { major?: number; minor: number; flags: number; flags2?: number },
): DataView {
  const view = new DataView(new ArrayBuffer(IN_HEADER_BYTES + sizeOf("fuse_init_in")));
  const put = (member: string, value: number): void =>
    view.setUint32(IN_HEADER_BYTES + offsetOf("fuse_init_in", member), value, true);
  put("major", kernel.major ?? 7);
  put("minor", kernel.minor);
  put("flags", kernel.flags);
  put("flags2", kernel.flags2 ?? 0);
  return view;
}

Deno.test("negotiate() takes only what the kernel offers", () => {
  const agreed = negotiate(initRequest({ minor: 45, flags: ALL, flags2: ALL }), {
    passthrough: true,
    readAheadBytes: 65_536,
  });
  assert(agreed?.passthrough && agreed.resend);
  assert.equal(agreed.readBytesMax, 1024 * 1024);

  const none = negotiate(initRequest({ minor: 45, flags: 0 }), {
    passthrough: true,
    readAheadBytes: 65_536,
  });
  assert(none);
  assert.equal(none.flags, 0);
  assert.equal(none.flags2, 0);
  assert.equal(none.readBytesMax, 128 * 1024);
});

Deno.test("negotiate() reads flags2 only if the kernel says that it sent them", () => {
  const flags = ALL & ~INIT_FLAG.INIT_EXT;
  const agreed = negotiate(initRequest({ minor: 45, flags, flags2: ALL }), {
    passthrough: true,
    readAheadBytes: 65_536,
  });
  assert.equal(agreed?.flags2, 0);
});

Deno.test("negotiate() asks for passthrough only if it is wanted", () => {
  const request = initRequest({ minor: 45, flags: ALL, flags2: ALL });
  assert.equal(
    negotiate(request, { passthrough: false, readAheadBytes: 65_536 })?.flags2,
    INIT_FLAG2.HAS_RESEND,
  );
});

Deno.test("negotiate() refuses kernels it cannot talk to", () => {
  assert.equal(
    negotiate(initRequest({ major: 8, minor: 0, flags: 0 }), {
      passthrough: false,
      readAheadBytes: 65_536,
    }),
    undefined,
  );
  assert.equal(
    negotiate(initRequest({ minor: 30, flags: 0 }), { passthrough: false, readAheadBytes: 65_536 }),
    undefined,
  );
});

Deno.test("writeInitOut() fills the kernel's structure and nothing beside it", () => {
  const bytes = new Uint8Array(16 + sizeOf("fuse_init_out") + 8).fill(0xaa);
  const agreed = negotiate(initRequest({ minor: 99, flags: ALL, flags2: ALL }), {
    passthrough: true,
    readAheadBytes: 65_536,
  });
  assert(agreed);
  writeInitOut(new DataView(bytes.buffer), 16, agreed);
  const out = new StructView(bytes, "fuse_init_out", 16);
  assert.equal(out.u32("major"), 7);
  assert.equal(out.u32("minor"), 45);
  assert.equal(out.u32("flags"), agreed.flags);
  assert.equal(out.u32("flags2"), agreed.flags2);
  assert.equal(out.u32("max_readahead"), 65_536);
  assert.equal(out.u16("max_pages"), 256);
  assert.equal(out.u32("time_gran"), 1);
  assert.deepEqual([...bytes.subarray(0, 16)], new Array(16).fill(0xaa));
  assert.deepEqual([...bytes.subarray(16 + 64)], new Array(8).fill(0xaa));
});
