/**
 * Audio files of every form that `layoutOf` knows, put together from parts of which it is known what
 * they are. Nothing can play them: what stands for audio is noise.
 */

import assert from "node:assert/strict";
import type { LayoutRegion } from "../../src/chunking/audio_layout.ts";
import type { RegionKind } from "../../src/chunking/chunk_manifest.ts";
import { joined } from "../support/flac_file.ts";
import { randomBytes } from "./golden_inputs.ts";

/** A part of a file, and what `layoutOf` should take it for. */
export type Part = readonly [kind: RegionKind, bytes: Uint8Array];

/** More than what is looked through for tags at the end, and a few chunks. */
const AUDIO = randomBytes(77, 700_001);

export function text(ascii: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(ascii, (char) => char.charCodeAt(0));
}

/** A number in `bytes` bytes, big-endian unless it says otherwise. */
export function number(
  value: number | bigint,
  bytes: number,
  end: "be" | "le" = "be",
): Uint8Array<ArrayBuffer> {
  const digits = Array.from(
    { length: bytes },
    (_, i) => Number((BigInt(value) >> BigInt(8 * i)) & 0xffn),
  );
  return Uint8Array.from(end === "le" ? digits : digits.reverse());
}

export function fileOf(parts: readonly Part[]): Uint8Array<ArrayBuffer> {
  return joined(parts.map(([, bytes]) => bytes));
}

/** The regions of a file of these parts. */
export function regionsOf(parts: readonly Part[]): LayoutRegion[] {
  const regions: LayoutRegion[] = [];
  let end = 0;
  for (const [kind, bytes] of parts) {
    if (bytes.length === 0) continue;
    end += bytes.length;
    if (regions.at(-1)?.kind === kind) regions.pop();
    regions.push({ kind, end });
  }
  return regions;
}

/** Fails unless the regions tile a file of `size` bytes, no two of a kind side by side. */
export function assertTiled(regions: readonly LayoutRegion[], size: number): void {
  let [end, kind] = [0, ""];
  for (const region of regions) {
    assert(region.end > end && region.kind !== kind, JSON.stringify(regions));
    ({ end, kind } = region);
  }
  assert.equal(end, size);
}

export function id3v2(
  contentBytes: number,
  { mark = "ID3", flags = 0 } = {},
): Uint8Array<ArrayBuffer> {
  const size = [21, 14, 7, 0].map((bits) => (contentBytes >> bits) & 0x7f);
  const header = joined([text(mark), Uint8Array.of(4, 0, flags, ...size)]);
  return mark === "3DI" ? header : joined([header, randomBytes(contentBytes, contentBytes)]);
}

/** With a footer, as ID3v2.4 can have it anywhere. */
export function id3v2WithFooter(contentBytes: number): Uint8Array<ArrayBuffer> {
  const flags = 0x10;
  return joined([id3v2(contentBytes, { flags }), id3v2(contentBytes, { mark: "3DI", flags })]);
}

export function id3v1(title = "Salt"): Uint8Array<ArrayBuffer> {
  return joined([text("TAG"), text(title), new Uint8Array(125 - title.length)]);
}

export function enhancedId3v1(): Uint8Array<ArrayBuffer> {
  return joined([text("TAG+"), new Uint8Array(223), id3v1()]);
}

export function apeTag(itemBytes: number, { header = true } = {}): Uint8Array<ArrayBuffer> {
  const end = (flags: number): Uint8Array =>
    joined([
      text("APETAGEX"),
      ...[2000, itemBytes + 32, 1, flags].map((value) => number(value, 4, "le")),
      new Uint8Array(8),
    ]);
  const items = randomBytes(itemBytes, itemBytes);
  return header ? joined([end(0xa000_0000), items, end(0x8000_0000)]) : joined([items, end(0)]);
}

export function lyrics3v2(lyrics = "LYR00011la la la la"): Uint8Array<ArrayBuffer> {
  const content = `LYRICSBEGIN${lyrics}`;
  return text(`${content}${`${content.length}`.padStart(6, "0")}LYRICS200`);
}

export function flacBlock(
  type: number,
  content: Uint8Array,
  isLast = false,
): Uint8Array<ArrayBuffer> {
  return joined([
    Uint8Array.of(type + (isLast ? 128 : 0)),
    number(content.length, 3),
    content,
  ]);
}

/** `fLaC`, STREAMINFO of 44,100 Hz, stereo, 16 bits, and blocks of the given lengths. */
export function flacHeadOf(...blockBytes: number[]): Uint8Array<ArrayBuffer> {
  const packed = (44_100n << 44n) | (1n << 41n) | (15n << 36n) | 0x8_1234_5678n;
  const info = joined([new Uint8Array(10), number(packed, 8), randomBytes(5, 16)]);
  const blocks = blockBytes.map((length, i) =>
    flacBlock(i + 1, randomBytes(length, length), i === blockBytes.length - 1)
  );
  return joined([text("fLaC"), flacBlock(0, info, blockBytes.length === 0), ...blocks]);
}

export function box(
  type: string,
  content: Uint8Array,
  size: "u32" | "u64" | "end" = "u32",
): Uint8Array<ArrayBuffer> {
  return joined([boxHead(type, content.length, size), content]);
}

function boxHead(type: string, length: number, size: "u32" | "u64" | "end" = "u32"): Uint8Array {
  if (size === "u64") return joined([number(1, 4), text(type), number(length + 16, 8)]);
  return joined([number(size === "end" ? 0 : length + 8, 4), text(type)]);
}

const FTYP = box("ftyp", text("M4A \0\0\x02\0isomiso2"));

/** An Ogg page of packets; the last of them goes on in the next page unless it says otherwise. */
export function oggPage(
  packets: readonly Uint8Array[],
  { flags = 0, granule = 0n, serial = 7, goesOn = false } = {},
): Uint8Array<ArrayBuffer> {
  const lengths = packets.flatMap((packet, i) => {
    const full = new Array<number>(Math.floor(packet.length / 255)).fill(255);
    return goesOn && i === packets.length - 1 ? full : [...full, packet.length % 255];
  });
  return joined([
    text("OggS\0"),
    Uint8Array.of(flags),
    number(granule, 8, "le"),
    number(serial, 4, "le"),
    new Uint8Array(8),
    Uint8Array.of(lengths.length, ...lengths),
    ...packets,
  ]);
}

/** Pages of one packet each, with samples. */
function oggAudio(pages: number, serial = 7): Uint8Array {
  return joined(
    Array.from(
      { length: pages },
      (_, i) => oggPage([randomBytes(i, 40_000)], { granule: BigInt(i + 1) * 960n, serial }),
    ),
  );
}

const FIRST = { flags: 2 };
const OPUS_HEAD = oggPage([joined([text("OpusHead"), new Uint8Array(11)])], FIRST);
const CONTINUED = { granule: -1n, goesOn: true };

function chunk(name: string, content: Uint8Array, end: "be" | "le"): Uint8Array {
  const pad = new Uint8Array(content.length % 2);
  return joined([text(name), number(content.length, 4, end), content, pad]);
}

const WAVE = joined([
  text("RIFF"),
  number(1, 4),
  text("WAVE"),
  chunk("fmt ", AUDIO.subarray(0, 16), "le"),
]);
const DATA = joined([text("data"), number(AUDIO.length, 4, "le")]);
const LIST = joined([new Uint8Array(1), chunk("LIST", text("INFOINAM"), "le")]);
const DS64 = chunk("ds64", joined([8, AUDIO.length, 9].map((n) => number(n, 8, "le"))), "le");
const DSF_HEAD = joined([text("DSD "), number(28, 8, "le"), randomBytes(1, 68), text("data")]);

/** Sound files, by what they show. */
export const AUDIO_FILES: Readonly<Record<string, readonly Part[]>> = {
  "FLAC": [["metadata", flacHeadOf(40, 8192)], ["audio", AUDIO]],
  "FLAC of STREAMINFO alone": [["metadata", flacHeadOf()], ["audio", AUDIO]],
  "FLAC without audio": [["metadata", flacHeadOf(12)]],
  "FLAC with a picture of 3 MB": [["metadata", flacHeadOf(40, 3_000_000, 99)], ["audio", AUDIO]],
  "FLAC between tags": [
    ["metadata", id3v2(300)],
    ["metadata", flacHeadOf(40)],
    ["audio", AUDIO],
    ["metadata", apeTag(200)],
    ["metadata", id3v1()],
  ],
  "MPEG": [["audio", Uint8Array.of(0xff, 0xfb, 0x90)], ["audio", AUDIO]],
  "AAC in ADTS": [["audio", Uint8Array.of(0xff, 0xf1, 0x50)], ["audio", AUDIO]],
  "MPEG with ID3v1": [["audio", Uint8Array.of(0xff, 0xfb)], ["audio", AUDIO], [
    "metadata",
    id3v1(),
  ]],
  "MPEG with ID3v2": [["metadata", id3v2(5000)], ["audio", AUDIO]],
  "MPEG with ID3v2 three times": [
    ["metadata", id3v2(5000)],
    ["metadata", id3v2WithFooter(20)],
    ["metadata", id3v2(0)],
    ["audio", AUDIO],
  ],
  "MPEG with all tags at its end": [
    ["metadata", id3v2(40)],
    ["audio", AUDIO],
    ["metadata", id3v2WithFooter(500)],
    ["metadata", lyrics3v2()],
    ["metadata", apeTag(4000, { header: false })],
    ["metadata", enhancedId3v1()],
  ],
  "MPEG with ID3v1 before APE": [
    ["audio", Uint8Array.of(0xff, 0xfb)],
    ["audio", AUDIO],
    ["metadata", id3v1()],
    ["metadata", apeTag(1000)],
  ],
  "MPEG with Lyrics3 between APE and ID3v1": [
    ["audio", Uint8Array.of(0xff, 0xfb)],
    ["audio", AUDIO],
    ["metadata", apeTag(100_000)],
    ["metadata", lyrics3v2()],
    ["metadata", id3v1()],
  ],
  // What is longer than 256 KiB in all is not looked for.
  "MPEG with a picture of 300 KB in APE": [
    ["audio", Uint8Array.of(0xff, 0xfb)],
    ["audio", AUDIO],
    ["audio", apeTag(300_000)],
    ["metadata", id3v1()],
  ],
  "ID3v2 and nothing else": [["metadata", id3v2(600_000)]],
  "M4A, moov first": [
    [
      "metadata",
      joined([FTYP, box("moov", AUDIO.subarray(0, 9000)), boxHead("mdat", AUDIO.length)]),
    ],
    ["audio", AUDIO],
  ],
  "M4A, moov last": [
    ["metadata", joined([FTYP, box("free", new Uint8Array(0)), boxHead("mdat", AUDIO.length)])],
    ["audio", AUDIO],
    ["metadata", box("moov", AUDIO.subarray(0, 9000))],
  ],
  "M4A of two mdat and sizes of 64 bits": [
    ["metadata", joined([FTYP, boxHead("mdat", AUDIO.length, "u64")])],
    ["audio", AUDIO],
    ["metadata", joined([box("moov", AUDIO.subarray(0, 900), "u64"), boxHead("mdat", 50_000)])],
    ["audio", AUDIO.subarray(0, 50_000)],
  ],
  "M4A whose mdat goes to the end": [
    ["metadata", joined([FTYP, box("moov", new Uint8Array(80)), boxHead("mdat", 0, "end")])],
    ["audio", AUDIO],
  ],
  "M4A cut off in mdat": [
    ["metadata", joined([FTYP, boxHead("mdat", 9_000_000)])],
    ["audio", AUDIO],
  ],
  "M4A in fragments": [
    ["metadata", joined([FTYP, box("moov", new Uint8Array(80))])],
    [
      "audio",
      joined([1, 2, 3].map((n) => joined([box("moof", text(`${n}`)), box("mdat", AUDIO)]))),
    ],
  ],
  "Opus": [["metadata", OPUS_HEAD], ["metadata", oggPage([text("OpusTags")])], [
    "audio",
    oggAudio(8),
  ]],
  "Opus with a picture": [
    ["metadata", OPUS_HEAD],
    ["metadata", oggPage([randomBytes(1, 255 * 255)], CONTINUED)],
    ["metadata", oggPage([randomBytes(2, 255 * 255)], { ...CONTINUED, flags: 1 })],
    ["metadata", oggPage([randomBytes(3, 1000)], { flags: 1 })],
    ["audio", oggAudio(8)],
  ],
  "Vorbis": [
    ["metadata", oggPage([joined([text("\x01vorbis"), new Uint8Array(23)])], FIRST)],
    ["metadata", oggPage([randomBytes(1, 3000), randomBytes(2, 4000)])],
    ["audio", oggAudio(8)],
  ],
  "Vorbis, chained": [
    ["metadata", oggPage([joined([text("\x01vorbis"), new Uint8Array(23)])], FIRST)],
    ["metadata", oggPage([randomBytes(1, 3000), randomBytes(2, 4000)])],
    ["audio", oggAudio(8)],
    ["audio", oggPage([text("OpusHead")], { flags: 2, serial: 8 })],
    ["audio", oggAudio(8, 8)],
  ],
  "Speex with an extra header": [
    [
      "metadata",
      oggPage([joined([text("Speex   "), new Uint8Array(60), number(1, 4, "le")])], FIRST),
    ],
    ["metadata", oggPage([text("comment")])],
    ["metadata", oggPage([text("extra")])],
    ["audio", oggAudio(8)],
  ],
  "FLAC in Ogg": [
    ["metadata", oggPage([joined([text("\x7fFLAC\x01\x00\x00\x02"), flacHeadOf()])], FIRST)],
    ["metadata", oggPage([flacBlock(4, text("comment"))])],
    ["metadata", oggPage([flacBlock(1, new Uint8Array(99), true)])],
    ["audio", oggAudio(8)],
  ],
  "FLAC in Ogg that does not count its headers": [
    ["metadata", oggPage([joined([text("\x7fFLAC\x01\x00\x00\x00"), flacHeadOf()])], FIRST)],
    ["metadata", oggPage([flacBlock(4, text("comment"), true)])],
    ["audio", oggAudio(8)],
  ],
  "WAV": [["metadata", joined([WAVE, DATA])], ["audio", AUDIO], ["metadata", LIST]],
  "WAV of unknown length": [
    ["metadata", joined([WAVE, text("data"), number(0xffff_ffff, 4)])],
    ["audio", AUDIO],
  ],
  "RF64": [
    ["metadata", joined([text("RF64"), number(0xffff_ffff, 4), text("WAVE"), DS64])],
    ["metadata", joined([text("data"), number(0xffff_ffff, 4)])],
    ["audio", AUDIO],
    ["metadata", LIST],
  ],
  "AIFF": [
    [
      "metadata",
      joined([text("FORM"), number(1, 4), text("AIFF"), chunk("NAME", text("a"), "be")]),
    ],
    ["metadata", joined([text("SSND"), number(AUDIO.length, 4)])],
    ["audio", AUDIO],
    ["metadata", joined([new Uint8Array(1), chunk("ID3 ", id3v2(100), "be")])],
  ],
  "DSF": [
    ["metadata", joined([DSF_HEAD, number(AUDIO.length + 12, 8, "le")])],
    ["audio", AUDIO],
    ["metadata", id3v2(900)],
  ],
  "Monkey's Audio": [["audio", text("MAC ")], ["audio", AUDIO], ["metadata", apeTag(300)]],
  "WavPack": [["audio", text("wvpk")], ["audio", AUDIO], ["metadata", apeTag(300)]],
  "Musepack": [["audio", text("MPCK")], ["audio", AUDIO], ["metadata", apeTag(300)]],
};

/** What is not, or not quite, what it seems to be. */
export const ODD_FILES: Readonly<Record<string, Uint8Array<ArrayBuffer>>> = {
  "a text": joined([text("FLAC is a format. "), AUDIO]),
  "a text with a BOM": joined([Uint8Array.of(0xff, 0xfe, 0x41, 0), AUDIO]),
  "one byte": text("f"),
  "the mark of FLAC": text("fLaC"),
  "FLAC that begins with padding": joined([
    text("fLaC"),
    flacBlock(1, AUDIO.subarray(0, 34), true),
    AUDIO,
  ]),
  "FLAC cut off in its head": flacHeadOf(40, 8192).slice(0, 5000),
  "FLAC with a block beyond its end": joined([
    flacHeadOf(10).slice(0, -14),
    flacBlock(1, AUDIO).slice(0, 90),
  ]),
  "FLAC with a forbidden block": joined([
    flacHeadOf().fill(0, 4, 5),
    flacBlock(127, text("a"), true),
    AUDIO,
  ]),
  "FLAC with too many blocks": flacHeadOf(...new Array<number>(2000).fill(1)),
  "ID3v2 beyond the end": id3v2(900_000).slice(0, 800_000),
  "ID3v2 with a size of 8 bits": joined([text("ID3\x04\0\0"), number(0x80, 4), AUDIO]),
  "M4A with a box of 2^63 bytes": joined([
    FTYP,
    number(1, 4),
    text("moov"),
    number(1n << 63n, 8),
    AUDIO,
  ]),
  "M4A with a box of 15 bytes": joined([FTYP, number(1, 4), text("moov"), number(15, 8), AUDIO]),
  "M4A with a box of 7 bytes": joined([FTYP, number(7, 4), text("moov"), AUDIO]),
  "M4A with an empty box": joined([FTYP, number(2, 4), text("moov"), AUDIO]),
  "M4A with a nameless box": joined([FTYP, number(20, 4), new Uint8Array(16), AUDIO]),
  "M4A with five bytes too many": joined([FTYP, text("moov!")]),
  "Ogg of two streams": joined([
    OPUS_HEAD,
    oggPage([text("OpusTags")], { serial: 9 }),
    oggAudio(8),
  ]),
  "Ogg cut off in its head": joined([OPUS_HEAD, oggPage([AUDIO.subarray(0, 9000)]).slice(0, 5000)]),
  "Ogg that loses its pages": joined([OPUS_HEAD, AUDIO]),
  "Ogg with endless headers": joined([
    OPUS_HEAD,
    ...new Array<Uint8Array>(3000).fill(oggPage([], { granule: -1n })),
  ]),
  "WAV without samples": joined([WAVE, chunk("LIST", AUDIO, "le")]),
  "WAV with a chunk beyond its end": joined([
    WAVE,
    text("LIST"),
    number(0xffff_fff0, 4, "le"),
    AUDIO,
  ]),
  "WAV with endless chunks": joined([
    WAVE,
    ...new Array<Uint8Array>(300).fill(chunk("a", text(""), "le")),
  ]),
  "DSF of something else": joined([text("DSD "), AUDIO]),
};
