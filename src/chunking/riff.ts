/**
 * WAV, RF64, BW64, AIFF and AIFC: chunks after a header of 12 bytes, one of them with the samples.
 * Sources: Microsoft's "Multimedia Programming Interface" of 1991, EBU Tech 3306, Apple's AIFF-C.
 */

import { hasText, HEAD_BYTES_MAX, type LayoutDraft, type Parser, viewOf } from "./layout_draft.ts";

/** Chunks before the samples that are walked. */
const CHUNKS_MAX = 256;

const FILE_HEADER_BYTES = 12;
const CHUNK_HEADER_BYTES = 8;

/** A size that stands elsewhere, or was not known when it was written. */
const SIZE_UNKNOWN = 0xffff_ffff;

/** `ds64` up to the size of the samples: its header, u64 size of the file, u64 size of the samples. */
const DS64_BYTES = CHUNK_HEADER_BYTES + 16;

interface Form {
  /** Name of the chunk with the samples. */
  readonly audio: string;
  readonly isLittleEndian: boolean;
}

/** The form that a file which begins with `mark`, 12 bytes, has; undefined for other files. */
export function riffForm(mark: Uint8Array): Form | undefined {
  const isWav = ["RIFF", "RF64", "BW64"].some((name) => hasText(mark, name));
  if (isWav && hasText(mark, "WAVE", 8)) return { audio: "data", isLittleEndian: true };
  const isAiff = ["AIFF", "AIFC"].some((name) => hasText(mark, name, 8));
  return hasText(mark, "FORM") && isAiff ? { audio: "SSND", isLittleEndian: false } : undefined;
}

/** The content of the chunk with the samples is audio, all else metadata; false without one. */
export function* riffChunks(file: LayoutDraft, form: Form): Parser<boolean> {
  let at = FILE_HEADER_BYTES;
  let longSize = Infinity;
  for (let chunks = 0; chunks < CHUNKS_MAX; chunks += 1) {
    const header = yield* file.bytes(at, CHUNK_HEADER_BYTES);
    if (!header) return false;
    const stated = viewOf(header).getUint32(4, form.isLittleEndian);
    const content = at + CHUNK_HEADER_BYTES;
    if (hasText(header, form.audio)) {
      file.reach("metadata", content);
      file.reach("audio", content + (stated === SIZE_UNKNOWN ? longSize : stated));
      file.reach("metadata", file.size);
      return true;
    }
    if (hasText(header, "ds64")) {
      const ds64 = yield* file.bytes(at, DS64_BYTES);
      if (ds64) longSize = Number(viewOf(ds64).getBigUint64(16, true));
    }
    at = content + stated + stated % 2;
    if (at > file.size || at > HEAD_BYTES_MAX) return false;
    file.reach("metadata", at);
  }
  return false;
}
