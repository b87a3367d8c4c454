/** Where ID3v2 tags end. Source: id3v2.4.0-structure, sections 3.1 and 3.4. */

import { hasText, HEAD_BYTES_MAX, type LayoutDraft, type Parser } from "./layout_draft.ts";

/** Bytes of an ID3v2 header, and of its footer. */
export const ID3V2_HEADER_BYTES = 10;

/** ID3v2 tags in a row that are skipped; some programs put theirs before one that is there. */
const TAGS_MAX = 16;

const HAS_FOOTER = 0x10;

/**
 * Bytes of the tag whose header (`mark` "ID3") or footer ("3DI") lies in `bytes` at `at`, with header,
 * padding and footer; 0 if there is none. Its size is that after unsynchronisation.
 */
export function id3v2Bytes(bytes: Uint8Array, at = 0, mark: "ID3" | "3DI" = "ID3"): number {
  if (!hasText(bytes, mark, at) || at + ID3V2_HEADER_BYTES > bytes.length) return 0;
  const [major = 0, revision = 0, flags = 0, ...size] = bytes.subarray(
    at + mark.length,
    at + ID3V2_HEADER_BYTES,
  );
  if (major === 0xff || revision === 0xff || size.some((part) => part >= 0x80)) return 0;
  const content = size.reduce((sum, part) => sum * 128 + part, 0);
  const ends = mark === "3DI" || (flags & HAS_FOOTER) !== 0 ? 2 : 1;
  return content + ends * ID3V2_HEADER_BYTES;
}

/** The end of the ID3v2 tags that the file starts with; undefined if that is an odd place. */
export function* skipId3v2(file: LayoutDraft): Parser<number | undefined> {
  let at = 0;
  for (let tags = 0; tags < TAGS_MAX; tags += 1) {
    const header = yield* file.bytes(at, ID3V2_HEADER_BYTES);
    const length = header ? id3v2Bytes(header) : 0;
    if (length === 0) return at;
    at += length;
    if (at > file.size || at > HEAD_BYTES_MAX) return undefined;
    file.reach("metadata", at);
  }
  return at;
}
