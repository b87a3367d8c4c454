import assert from "node:assert/strict";
import { FLAC_MD5_END, flacMd5 } from "../../src/chunking/flac_md5.ts";
import { readFlacHead } from "../../src/chunking/flac_head.ts";
import { flacFile } from "../support/flac_file.ts";

Deno.test("flacMd5() is what readFlacHead() finds, of 42 bytes", () => {
  for (const seed of [1, 2, 3]) {
    const bytes = flacFile({ samples: 5_000, seed, tags: { TITLE: "A" } });
    const head = readFlacHead(
      bytes.length,
      (offset, length) => bytes.slice(offset, offset + length),
    );
    assert(head && "md5" in head);
    assert.deepEqual(flacMd5(bytes.subarray(0, FLAC_MD5_END)), head.md5);
  }
});

Deno.test("flacMd5() is undefined for what is short, not FLAC, or has no MD5", () => {
  const bytes = flacFile({ samples: 1, seed: 1, tags: {} });
  assert.equal(flacMd5(bytes.subarray(0, FLAC_MD5_END - 1)), undefined);
  assert.equal(flacMd5(new Uint8Array()), undefined);
  for (const [at, value] of [[0, 0x46], [4, 4], [5, 1], [7, 33]] as const) {
    const odd = bytes.slice();
    odd[at] = value;
    assert.equal(flacMd5(odd), undefined, `byte ${at}`);
  }
  assert.equal(flacMd5(bytes.slice().fill(0, 26, 42)), undefined);
});
