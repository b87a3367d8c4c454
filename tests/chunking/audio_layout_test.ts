import fc from "fast-check";
import assert from "node:assert/strict";
import {
  type Layout,
  layoutOf,
  type LayoutRegion,
  type ReadHere,
} from "../../src/chunking/audio_layout.ts";
import { readFlacHead } from "../../src/chunking/flac_head.ts";
import { joined } from "../support/flac_file.ts";
import {
  assertTiled,
  AUDIO_FILES,
  fileOf,
  flacBlock,
  flacHeadOf,
  id3v2,
  ODD_FILES,
  regionsOf,
  text,
} from "./audio_files.ts";
import { randomBytes } from "./golden_inputs.ts";

const FILES = Object.entries(AUDIO_FILES).map(([name, parts]) => ({
  name,
  bytes: fileOf(parts),
  regions: regionsOf(parts),
}));

/** Every byte is here; what is read lies in the file, or the test fails. */
function readerOf(bytes: Uint8Array): ReadHere {
  return (offset, length) => {
    assert(offset >= 0 && length > 0 && offset + length <= bytes.length, `${offset}+${length}`);
    return bytes.subarray(offset, offset + length);
  };
}

function regionsIn(layout: Layout): readonly LayoutRegion[] {
  assert("regions" in layout, JSON.stringify(layout));
  return layout.regions;
}

Deno.test("layoutOf() tells metadata from audio in every form it knows", async (t) => {
  for (const { name, bytes, regions } of FILES) {
    await t.step(name, () => {
      assert.deepEqual(regionsIn(layoutOf(bytes.length, readerOf(bytes))), regions);
    });
  }
});

Deno.test("layoutOf() takes what is unknown, odd or cut off for one piece", async (t) => {
  for (const [name, bytes] of Object.entries(ODD_FILES)) {
    await t.step(name, () => {
      const whole = [{ kind: "whole", end: bytes.length }];
      assert.deepEqual(regionsIn(layoutOf(bytes.length, readerOf(bytes))), whole);
    });
  }
  assert.deepEqual(regionsIn(layoutOf(0, readerOf(new Uint8Array(0)))), []);
});

Deno.test("layoutOf() keeps what it found in a long head before it turns odd", () => {
  const head = flacHeadOf(2_000_000, 10).slice(0, -14);
  const bytes = joined([head, flacBlock(127, text("a"), true), randomBytes(1, 50_000)]);
  const regions = [{ kind: "metadata", end: head.length }, { kind: "audio", end: bytes.length }];
  assert.deepEqual(regionsIn(layoutOf(bytes.length, readerOf(bytes))), regions);
});

Deno.test("layoutOf() takes a head of more than 64 MiB for damage", () => {
  // Five blocks of 16 MiB, without their bytes.
  const head = flacHeadOf(1).slice(0, -5);
  const block = Uint8Array.of(1, 0xff, 0xff, 0xff);
  const size = 100 * 2 ** 20;
  const read: ReadHere = (offset, length) => {
    const at = (offset - head.length) % (2 ** 24 + 3);
    return (offset < head.length ? head.subarray(offset) : block.subarray(at)).subarray(0, length);
  };
  const end = head.length + 3 * (2 ** 24 + 3);
  assert.deepEqual(regionsIn(layoutOf(size, read)), [
    { kind: "metadata", end },
    { kind: "audio", end: size },
  ]);
});

Deno.test("layoutOf() names what it lacks, a little at a time, and is sure of nothing untrue", () => {
  for (const { name, bytes, regions } of FILES) {
    const here = new Set<string>();
    const read: ReadHere = (offset, length) =>
      here.has(`${offset}+${length}`) ? bytes.subarray(offset, offset + length) : undefined;
    let asked = 0;
    for (;;) {
      const layout = layoutOf(bytes.length, read);
      if ("regions" in layout) {
        assert.deepEqual(layout.regions, regions, name);
        break;
      }
      const { needs: { offset, length }, sure } = layout;
      assert(offset >= 0 && length > 0 && offset + length <= bytes.length, name);
      assert(!here.has(`${offset}+${length}`), `${name} asks twice`);
      for (const [i, region] of sure.entries()) {
        assert.equal(region.kind, regions[i]?.kind, name);
        if (i < sure.length - 1) assert.equal(region.end, regions[i]?.end, name);
        else assert(region.end <= (regions[i]?.end ?? 0), name);
      }
      here.add(`${offset}+${length}`);
      asked += length;
    }
    assert(asked < 4096, `${name}: ${asked} bytes`);
  }
});

Deno.test("layoutOf() does not wait for a file's end to be sure of what lies before its tags", () => {
  const bytes = joined([id3v2(3000), randomBytes(1, 900_000)]);
  const layout = layoutOf(
    bytes.length,
    (offset, length) => offset < 300_000 ? bytes.subarray(offset, offset + length) : undefined,
  );
  assert("needs" in layout && layout.needs.offset >= bytes.length - 128);
  assert.deepEqual(layout.sure, [
    { kind: "metadata", end: 3010 },
    { kind: "audio", end: bytes.length - 256 * 1024 },
  ]);
});

Deno.test("layoutOf() never throws and tiles the file, whatever is in it", () => {
  const marks = FILES.map(({ bytes }) => bytes.subarray(0, 4096)).concat(Object.values(ODD_FILES));
  const damaged = fc.record({
    head: fc.constantFrom(...marks),
    // Most heads are short: damage to their first bytes tells most.
    flips: fc.array(fc.tuple(fc.oneof(fc.nat(63), fc.nat(4095)), fc.nat(255)), { maxLength: 8 }),
    length: fc.oneof(fc.nat(64), fc.nat(5000)),
    tail: fc.oneof(fc.constant(new Uint8Array(0)), fc.uint8Array({ maxLength: 200, size: "max" })),
    more: fc.oneof(fc.constant(0), fc.nat(2 ** 40), fc.constant(Number.MAX_SAFE_INTEGER / 2)),
  }, { noNullPrototype: true });
  fc.assert(
    fc.property(damaged, ({ head, flips, length, tail, more }) => {
      const bytes = joined([head.subarray(0, length), tail]);
      for (const [at, value] of flips) if (at < bytes.length) bytes[at] = value;
      const size = bytes.length + more;
      let reads = 0;
      const read: ReadHere = (offset, wanted) => {
        reads += 1;
        assert(offset >= 0 && wanted > 0 && offset + wanted <= size);
        const found = new Uint8Array(wanted);
        if (offset < bytes.length) found.set(bytes.subarray(offset, offset + wanted));
        return found;
      };
      assertTiled(regionsIn(layoutOf(size, read)), size);
      assert(reads <= 2100, `${reads} reads`);
      readFlacHead(size, read);
    }),
    { numRuns: 3000 },
  );
});

Deno.test("layoutOf() never throws for random bytes behind any mark", () => {
  const marks = [
    "fLaC",
    "ID3\x04\0\0",
    "OggS\0\x02",
    "RIFF\0\0\0\0WAVE",
    "FORM\0\0\0\0AIFF",
    "DSD ",
  ];
  const mark = fc.constantFrom(...marks, "\0\0\0\x18ftypM4A ", "\xff\xfb", "MAC ", "");
  fc.assert(
    fc.property(mark, fc.uint8Array({ maxLength: 600, size: "max" }), (start, rest) => {
      const bytes = joined([text(start), rest]);
      assertTiled(regionsIn(layoutOf(bytes.length, readerOf(bytes))), bytes.length);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("readFlacHead() reads what STREAMINFO says, also behind ID3v2", () => {
  const head = flacHeadOf(40, 8192);
  for (const before of [new Uint8Array(0), id3v2(777), joined([id3v2(5), id3v2(9)])]) {
    const bytes = joined([before, head, randomBytes(1, 1000)]);
    assert.deepEqual(readFlacHead(bytes.length, readerOf(bytes)), {
      metadataStart: before.length,
      audioStart: before.length + head.length,
      md5: randomBytes(5, 16),
      totalSamples: 0x8_1234_5678n,
      sampleRate: 44_100,
      channels: 2,
      bitsPerSample: 16,
    });
  }
});

Deno.test("readFlacHead() names what it lacks, and knows what is not FLAC", () => {
  const bytes = joined([flacHeadOf(40), randomBytes(1, 1000)]);
  const start = bytes.slice(0, 60);
  const read: ReadHere = (offset, length) =>
    offset + length <= start.length ? start.subarray(offset, offset + length) : undefined;
  assert.deepEqual(readFlacHead(bytes.length, () => undefined), {
    needs: { offset: 0, length: 10 },
  });
  assert("audioStart" in (readFlacHead(bytes.length, read) ?? {}));
  for (const other of [ODD_FILES["a text"], ODD_FILES["FLAC cut off in its head"], text("ID3")]) {
    if (other) assert.equal(readFlacHead(other.length, readerOf(other)), undefined);
  }
});
