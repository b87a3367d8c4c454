/** Where a FLAC file's audio begins, and what it says of its audio. Source: RFC 9639, section 8. */

import type { ByteRange } from "../base/bytes.ts";
import type { ReadHere } from "./audio_layout.ts";
import { skipId3v2 } from "./id3.ts";
import { hasText, HEAD_BYTES_MAX, LayoutDraft, type Parser, viewOf } from "./layout_draft.ts";

/** Metadata blocks of one file that are walked; a few is what files have. */
const BLOCKS_MAX = 1024;

const MARK = "fLaC";
const BLOCK_HEADER_BYTES = 4;
const STREAMINFO_BYTES = 34;
const STREAMINFO = 0;
const FORBIDDEN = 127;
const IS_LAST = 0x80;

/** What stands before the audio of a FLAC file. */
export interface FlacHead {
  /** Where `fLaC` stands: 0, or the end of the ID3v2 tags before it. */
  metadataStart: number;
  /** First byte of the first frame; the file's size if there is none. */
  audioStart: number;
  /** MD5 of the decoded samples, 16 bytes, a copy; all zero if the encoder did not know it. */
  md5: Uint8Array<ArrayBuffer>;
  /** Samples of one channel; 0 if the encoder did not know. */
  totalSamples: bigint;
  /** Hz. */
  sampleRate: number;
  channels: number;
  bitsPerSample: number;
}

/**
 * The head of a FLAC file of `size` bytes, also behind ID3v2 tags, or the next bytes that must be
 * had to tell. Never throws.
 *
 * @returns undefined for what is not FLAC, or has an odd head
 */
export function readFlacHead(
  size: number,
  read: ReadHere,
): FlacHead | { needs: ByteRange } | undefined {
  const parser = flacFile(new LayoutDraft(size));
  let step = parser.next();
  while (!step.done) {
    const needs = step.value;
    const bytes = read(needs.offset, needs.length);
    if (bytes?.length !== needs.length) return { needs };
    step = parser.next(bytes);
  }
  return step.value;
}

function* flacFile(file: LayoutDraft): Parser<FlacHead | undefined> {
  const start = yield* skipId3v2(file);
  return start === undefined ? undefined : yield* flacHead(file, start);
}

/** Walks the metadata blocks from `start`, where `fLaC` should stand; undefined for odd ones. */
export function* flacHead(file: LayoutDraft, start: number): Parser<FlacHead | undefined> {
  const infoAt = start + MARK.length + BLOCK_HEADER_BYTES;
  const first = yield* file.bytes(start, MARK.length + BLOCK_HEADER_BYTES + STREAMINFO_BYTES);
  if (!first || !hasText(first, MARK)) return undefined;
  let header = first.subarray(MARK.length, MARK.length + BLOCK_HEADER_BYTES);
  if ((header[0] ?? 0) % IS_LAST !== STREAMINFO || lengthOf(header) !== STREAMINFO_BYTES) {
    return undefined;
  }
  const info = first.slice(infoAt - start);
  let at = infoAt + STREAMINFO_BYTES;
  for (let blocks = 1; (header[0] ?? 0) < IS_LAST; blocks += 1) {
    file.reach("metadata", at);
    const next = yield* file.bytes(at, BLOCK_HEADER_BYTES);
    if (!next || blocks === BLOCKS_MAX) return undefined;
    header = next;
    at += BLOCK_HEADER_BYTES + lengthOf(header);
    if ((header[0] ?? 0) % IS_LAST === FORBIDDEN) return undefined;
    if (at > file.size || at > HEAD_BYTES_MAX) return undefined;
  }
  file.reach("metadata", at);
  return { metadataStart: start, audioStart: at, ...streamInfo(info) };
}

/** The u24 behind a block's type. */
function lengthOf(header: Uint8Array): number {
  return viewOf(header).getUint32(0) % 2 ** 24;
}

function streamInfo(
  info: Uint8Array<ArrayBufferLike>,
): Omit<FlacHead, "metadataStart" | "audioStart"> {
  // 20 bits of rate, 3 of channels - 1, 5 of bits per sample - 1, 36 of samples.
  const packed = viewOf(info).getBigUint64(10);
  return {
    md5: new Uint8Array(info.subarray(18, 34)),
    totalSamples: packed & 0xf_ffff_ffffn,
    sampleRate: Number(packed >> 44n),
    channels: Number((packed >> 41n) & 7n) + 1,
    bitsPerSample: Number((packed >> 36n) & 31n) + 1,
  };
}
