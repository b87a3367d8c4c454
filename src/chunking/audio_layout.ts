/**
 * Where metadata ends and audio begins, so that audio chunks stay the same when tags change.
 *
 * Nothing depends on this for being right: a file that is taken for something else is cut in other
 * places, and that is all. What a layout says of a file follows from the file's bytes alone, not
 * from which of them are here: so cuts are the same in whatever order a file was read.
 */

import type { ByteRange } from "../base/bytes.ts";
import type { RegionKind } from "./chunk_manifest.ts";
import { flacHead } from "./flac_head.ts";
import { skipId3v2 } from "./id3.ts";
import { hasText, LayoutDraft, parse, type Parser } from "./layout_draft.ts";
import { TAIL_BYTES_MAX, tailStart } from "./tail_tags.ts";

/** Exactly those bytes of the file, or undefined: they are not here. The range lies in the file. */
export type ReadHere = (offset: number, length: number) => Uint8Array | undefined;

/** Starts where the one before ends. */
export interface LayoutRegion {
  readonly kind: RegionKind;
  /** Beyond the start. */
  readonly end: number;
}

/**
 * The regions of a file, which tile it, two of a kind never side by side; or what must be had to
 * tell them.
 *
 * `sure`: regions from the start that are known all the same; the last of them reaches as far as it
 * says, and perhaps farther.
 */
export type Layout =
  | { readonly regions: readonly LayoutRegion[] }
  | { readonly needs: ByteRange; readonly sure: readonly LayoutRegion[] };

/** Bytes that tell of what form a file is. */
const MARK_BYTES = 16;

/**
 * The layout of a file of `size` bytes, by what can be read of it. Never throws, and reads a few
 * hundred bytes of most files; what is unknown or odd is one region "whole".
 */
export function layoutOf(size: number, read: ReadHere): Layout {
  const file = new LayoutDraft(size);
  const parsed = parse(layoutParser(file), read);
  if ("needs" in parsed) return { needs: parsed.needs, sure: file.sure };
  return { regions: file.regions };
}

/** Finds the regions of a file, for who reads it in ways of their own; they are in `file` at the end. */
export function* layoutParser(file: LayoutDraft): Parser<void> {
  const mark = yield* file.bytes(0, Math.min(MARK_BYTES, file.size));
  const isKnown = mark !== undefined && (yield* regionsOf(file, mark));
  if (!isKnown) file.giveUp();
}

/** Whether the file is of a form that is known, and as it should be. */
function* regionsOf(file: LayoutDraft, mark: Uint8Array): Parser<boolean> {
  if (hasText(mark, "ID3")) return yield* tagged(file);
  if (hasText(mark, "fLaC")) return yield* flac(file, 0);
  return false;
}

/** A file that begins with ID3v2, whatever follows. */
function* tagged(file: LayoutDraft): Parser<boolean> {
  const start = yield* skipId3v2(file);
  if (start === undefined || start === 0) return false;
  const mark = yield* file.bytes(start, 4);
  if (mark && hasText(mark, "fLaC")) return yield* flac(file, start);
  return yield* untilTail(file, start);
}

function* flac(file: LayoutDraft, start: number): Parser<boolean> {
  const head = yield* flacHead(file, start);
  return head !== undefined && (yield* untilTail(file, head.audioStart));
}

/** Audio from `start` on, and then perhaps tags. */
function* untilTail(file: LayoutDraft, start: number): Parser<boolean> {
  file.formIsSure();
  file.reach("audio", Math.max(start, file.size - TAIL_BYTES_MAX));
  file.reach("audio", yield* tailStart(file, start));
  file.reach("metadata", file.size);
  return true;
}
