/** MP4, M4A and M4B, as their top-level boxes tell. Source: ISO/IEC 14496-12, section 4.2. */

import { HEAD_BYTES_MAX, type LayoutDraft, type Parser, viewOf } from "./layout_draft.ts";

/** Top-level boxes that are walked; files that are not fragmented have a handful. */
const BOXES_MAX = 256;

const HEADER_BYTES = 8;
const LONG_HEADER_BYTES = 16;

/** Values of a box's u32 size that are none. */
const SIZE_TO_END = 0;
const SIZE_IS_LONG = 1;

interface Box {
  type: string;
  /** First byte of what is in it. */
  contentAt: number;
  /** Perhaps beyond the file. */
  end: number;
}

/**
 * The content of `mdat` is audio, all else metadata; false for boxes that cannot be. A fragmented
 * file is audio from its first fragment on: its boxes are many, and no tagger moves them.
 */
export function* mp4Boxes(file: LayoutDraft): Parser<boolean> {
  let at = 0;
  for (let boxes = 0; boxes < BOXES_MAX && at < file.size; boxes += 1) {
    const header = yield* file.bytes(at, Math.min(LONG_HEADER_BYTES, file.size - at));
    const box = header && boxAt(at, header, file.size);
    if (!box) return false;
    if (box.type === "moof") break;
    if (box.type === "mdat") {
      file.reach("metadata", box.contentAt);
      file.reach("audio", box.end);
    } else {
      if (box.end > file.size || box.end - at > HEAD_BYTES_MAX) return false;
      file.reach("metadata", box.end);
    }
    at = box.end;
  }
  file.reach("audio", file.size);
  return true;
}

function boxAt(at: number, header: Uint8Array, fileBytes: number): Box | undefined {
  if (header.length < HEADER_BYTES) return undefined;
  const view = viewOf(header);
  const size = view.getUint32(0);
  const type = String.fromCharCode(...header.subarray(4, HEADER_BYTES));
  // 0xa9 is the copyright sign in names of Apple's.
  if (!/^[\x20-\x7e\xa9]{4}$/.test(type)) return undefined;
  if (size === SIZE_TO_END) return { type, contentAt: at + HEADER_BYTES, end: fileBytes };
  if (size !== SIZE_IS_LONG) {
    if (size < HEADER_BYTES) return undefined;
    return { type, contentAt: at + HEADER_BYTES, end: at + size };
  }
  if (header.length < LONG_HEADER_BYTES) return undefined;
  const long = Number(view.getBigUint64(HEADER_BYTES));
  if (long < LONG_HEADER_BYTES) return undefined;
  return { type, contentAt: at + LONG_HEADER_BYTES, end: at + long };
}
