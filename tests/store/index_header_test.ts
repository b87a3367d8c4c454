import fc from "fast-check";
import assert from "node:assert/strict";
import { HEADER_BYTES, headerFault } from "../../src/store/index_header.ts";
import { openEnvironment } from "../../src/store/lmdb.ts";
import { openXxh64 } from "../../src/chunking/xxh64.ts";
import { tempDir } from "../support/temp_dir.ts";

/** data.mdb as lmdb-js itself writes it, after commits that used both meta pages. */
async function freshFile(): Promise<Uint8Array<ArrayBuffer>> {
  await using dir = await tempDir("header");
  const hash = await openXxh64();
  const shared = new SharedArrayBuffer(4);
  const options = { dir: dir.path, shared, hash, writable: true, newEpoch: "0".repeat(32) };
  {
    await using index = openEnvironment(options);
    const table = index.table("names");
    for (let i = 0; i < 3; i += 1) {
      index.transaction(() => table.put(new Uint8Array([i]), new Uint8Array(9_000)));
    }
  }
  return await Deno.readFile(`${dir.path}/data.mdb`);
}

const file = await freshFile();

function faultOf(bytes: Uint8Array<ArrayBuffer>): string | undefined {
  return headerFault(bytes.subarray(0, HEADER_BYTES), bytes.length);
}

function changed(change: (view: DataView) => void): Uint8Array<ArrayBuffer> {
  const copy = file.slice();
  change(new DataView(copy.buffer));
  return copy;
}

Deno.test("headerFault() finds nothing wrong with an empty file and one that lmdb-js wrote", () => {
  assert.equal(faultOf(new Uint8Array(0)), undefined);
  assert.equal(faultOf(file), undefined);
});

const DAMAGE: Record<string, [Uint8Array<ArrayBuffer>, RegExp]> = {
  "a text": [new TextEncoder().encode("no index\n".repeat(3_000)), /page size/],
  "zeros": [new Uint8Array(file.length), /page size of 0/],
  "one byte": [new Uint8Array(1), /it has 1 bytes/],
  "the first meta page only": [file.slice(0, 4096), /it has 4096 bytes/],
  "the meta pages only": [file.slice(0, 8192), /cut short/],
  "half": [file.slice(0, Math.floor(file.length / 8192) * 4096), /cut short/],
  "the first page zeroed": [changed((v) => zero(v, 0)), /page size of 0/],
  "the second page zeroed": [changed((v) => zero(v, 4096)), /meta page 1 .*magic/],
  "another data format": [changed((v) => v.setUint32(0x1c, 1, true)), /data format 1, not 2/],
  "no meta flag": [changed((v) => v.setUint16(0x12, 0, true)), /not flagged/],
  "two page sizes": [changed((v) => v.setUint32(4096 + 0x30, 8192, true)), /page 1 .*8192/],
  "a root outside": [changed((v) => v.setBigUint64(0x88, 9999n, true)), /root at page 9999/],
  "a root in the meta pages": [changed((v) => v.setBigUint64(0x58, 1n, true)), /root at page 1/],
};

function zero(view: DataView, at: number): void {
  new Uint8Array(view.buffer, at, 4096).fill(0);
}

for (const [name, [bytes, expected]] of Object.entries(DAMAGE)) {
  Deno.test(`headerFault() finds damage to the whole file: ${name}`, () => {
    assert.match(faultOf(bytes) ?? "nothing", expected);
  });
}

Deno.test("headerFault() takes any bytes without throwing, and believes none of them", () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 1, maxLength: 20_000 }), (bytes) => {
    assert.equal(typeof headerFault(bytes, bytes.length), "string");
  }));
});
