/**
 * Where metadata ends and audio begins, so that audio chunks stay the same when tags change.
 *
 * Nothing depends on this for being right: a file that is taken for something else is cut in other
 * places, and that is all. What a layout says of a file follows from the file's bytes alone, not
 * from which of them are here: so cuts are the same in whatever order a file was read.
 */

import type { ByteRange } from "../base/bytes.ts";
import type { RegionKind } from "./chunk_manifest.ts";
import type { CutPlan } from "./cut_plan.ts";
import { dsfChunks } from "./dsf.ts";
import { flacHead } from "./flac_head.ts";
import { skipId3v2 } from "./id3.ts";
import { hasText, LayoutDraft, type Parser } from "./layout_draft.ts";
import { mp4Boxes } from "./mp4_boxes.ts";
import { oggPages } from "./ogg_pages.ts";
import { riffChunks, riffForm } from "./riff.ts";
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
 * What begins with audio and may end with tags: Monkey's Audio, WavPack, Musepack 8 and 7, True
 * Audio, TAK, OptimFROG.
 */
const TAGGED_AT_END = ["MAC ", "wvpk", "MPCK", "MP+", "TTA1", "tBaK", "OFR "];

/**
 * The layout of a file of `size` bytes, by what can be read of it. Never throws, and reads a few
 * hundred bytes of most files; what is unknown or odd is one region "whole".
 */
export function layoutOf(size: number, read: ReadHere): Layout {
  const search = new LayoutSearch(size);
  const needs = search.advance(read);
  return needs ? { needs, sure: search.plan.regions } : { regions: search.plan.regions };
}

/** Finds a file's layout as its bytes come, looking at none of them twice. */
export class LayoutSearch {
  readonly #file: LayoutDraft;
  readonly #parser: Parser<void>;
  #needs: ByteRange | undefined;

  constructor(size: number) {
    this.#file = new LayoutDraft(size);
    this.#parser = layoutParser(this.#file);
    this.#needs = this.#parser.next().value ?? undefined;
  }

  /** What is known by now. */
  get plan(): CutPlan {
    const isFinal = this.#needs === undefined;
    return { regions: isFinal ? this.#file.regions : this.#file.sure, isFinal };
  }

  /** Goes on with what is here; the bytes that it lacks then, or undefined at the end. */
  advance(read: ReadHere): ByteRange | undefined {
    while (this.#needs) {
      const { offset, length } = this.#needs;
      const bytes = read(offset, length);
      if (bytes?.length !== length) return this.#needs;
      this.#needs = this.#parser.next(bytes).value ?? undefined;
    }
    return undefined;
  }
}

/** The regions that it finds are in `file` at its end. */
function* layoutParser(file: LayoutDraft): Parser<void> {
  const mark = yield* file.bytes(0, Math.min(MARK_BYTES, file.size));
  const isKnown = mark !== undefined && (yield* regionsOf(file, mark));
  if (!isKnown) file.giveUp();
}

/** Whether the file is of a form that is known, and as it should be. */
function* regionsOf(file: LayoutDraft, mark: Uint8Array): Parser<boolean> {
  if (hasText(mark, "ID3")) return yield* tagged(file);
  if (hasText(mark, "fLaC")) return yield* flac(file, 0);
  if (hasText(mark, "ftyp", 4)) return yield* mp4Boxes(file);
  if (hasText(mark, "OggS")) return yield* oggPages(file);
  const riff = riffForm(mark);
  if (riff) return yield* riffChunks(file, riff);
  if (hasText(mark, "DSD ")) return yield* dsfChunks(file);
  if (isMpegFrame(mark) || TAGGED_AT_END.some((name) => hasText(mark, name))) {
    return yield* untilTail(file, 0);
  }
  return false;
}

/** Whether a frame of MPEG audio, layer 2 or 3, or of AAC in ADTS starts here; not a text's BOM. */
function isMpegFrame([first = 0, second = 0]: Uint8Array): boolean {
  return first === 0xff && second >= 0xe0 && (second & 0x06) !== 0x06;
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
