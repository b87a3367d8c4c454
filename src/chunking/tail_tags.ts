/**
 * Tags at the end of a file: ID3v1 and its enhanced form, APEv1 and 2, Lyrics3v2, ID3v2.4 with a
 * footer. Sources: id3.org (ID3v1, id3v2.4.0-structure, Lyrics3v2), wiki.hydrogenaudio.org (APEv2,
 * ID3v1 "TAG+").
 */

import { ID3V2_HEADER_BYTES, id3v2Bytes } from "./id3.ts";
import { hasText, type LayoutDraft, type Parser, viewOf } from "./layout_draft.ts";

/**
 * Tags at the end are looked for in this many bytes; what is longer counts as audio, which costs a
 * chunk when such a tag is edited. Until the end of a file is here, these bytes are not cut.
 */
export const TAIL_BYTES_MAX = 256 * 1024;

/** Tags that are looked for in a row; no program writes more than four. */
const TAGS_MAX = 8;

const ID3V1_BYTES = 128;
const ENHANCED_BYTES = 227;
const APE_FOOTER_BYTES = 32;
const APE_HAS_HEADER = 0x8000_0000;

/** 6 digits and "LYRICS200". */
const LYRICS_END_BYTES = 15;

/** Where the tags at the end begin, not before `audioStart`; the file's size if there are none. */
export function* tailStart(file: LayoutDraft, audioStart: number): Parser<number> {
  const floor = Math.max(audioStart, file.size - TAIL_BYTES_MAX);
  let end = file.size;
  for (let tags = 0; tags < TAGS_MAX; tags += 1) {
    const length = Math.min(ID3V1_BYTES, end - floor);
    const bytes = yield* file.bytes(end - length, length);
    let tagBytes = bytes ? tagBytesBefore(bytes) : 0;
    if (bytes && hasText(bytes, "TAG") && tagBytes === ID3V1_BYTES) {
      tagBytes += yield* enhancedBytes(file, end - tagBytes, floor);
    }
    if (tagBytes === 0 || end - tagBytes < floor) return end;
    end -= tagBytes;
  }
  return end;
}

/** Bytes of the tag that `bytes` end with; 0 if there is none. */
function tagBytesBefore(bytes: Uint8Array): number {
  if (bytes.length === ID3V1_BYTES && hasText(bytes, "TAG")) return ID3V1_BYTES;
  return apeBytes(bytes) || lyricsBytes(bytes) ||
    id3v2Bytes(bytes, bytes.length - ID3V2_HEADER_BYTES, "3DI");
}

function* enhancedBytes(file: LayoutDraft, end: number, floor: number): Parser<number> {
  if (end - ENHANCED_BYTES < floor) return 0;
  const mark = yield* file.bytes(end - ENHANCED_BYTES, 4);
  return mark && hasText(mark, "TAG+") ? ENHANCED_BYTES : 0;
}

function apeBytes(bytes: Uint8Array): number {
  const at = bytes.length - APE_FOOTER_BYTES;
  if (!hasText(bytes, "APETAGEX", at)) return 0;
  const footer = viewOf(bytes.subarray(at));
  const size = footer.getUint32(12, true);
  if (size < APE_FOOTER_BYTES) return 0;
  return size + (footer.getUint32(20, true) >= APE_HAS_HEADER ? APE_FOOTER_BYTES : 0);
}

function lyricsBytes(bytes: Uint8Array): number {
  const at = bytes.length - LYRICS_END_BYTES;
  if (!hasText(bytes, "LYRICS200", at + 6)) return 0;
  const digits = String.fromCharCode(...bytes.subarray(at, at + 6));
  return /^\d{6}$/.test(digits) ? Number(digits) + LYRICS_END_BYTES : 0;
}
