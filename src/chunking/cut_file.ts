import type { ByteRange } from "../base/bytes.ts";
import { MusicfsError } from "../base/errors.ts";
import { layoutParser } from "./audio_layout.ts";
import type { CdcChunker } from "./cdc_chunker.ts";
import type { ChunkHash } from "./chunk_hash.ts";
import type { ChunkRegion } from "./chunk_manifest.ts";
import { type CutPlan, cuttable } from "./cut_plan.ts";
import { LayoutDraft } from "./layout_draft.ts";

/** What `cutFile` works with. */
export interface CutFileOptions {
  /** Exactly those bytes, which lie in the file. What it throws ends the work. */
  readRange: (offset: number, length: number) => Promise<Uint8Array>;
  /** May be shared with other calls of `cutFile`, and not with an `Ingest`. */
  chunker: CdcChunker;
  hash: ChunkHash;
}

/** Longest range that is read at once, in bytes. */
const READ_BYTES_MAX = 1024 * 1024;

/** Bytes read at once to find the layout: the headers that it goes by often lie close together. */
const HEAD_READ_BYTES = 32 * 1024;

/**
 * The chunks of a file of which every byte can be read: the same cuts as those of `Ingest`.
 *
 * Reads a few short ranges, then the file once from its start, 1 MiB at a time, and holds no more
 * than 1.3 MiB of it. Throws what `readRange` throws, and `changed` if that gives another length.
 */
export async function cutFile(size: number, options: CutFileOptions): Promise<ChunkRegion[]> {
  const { chunker, hash } = options;
  const { max } = chunker.sizes;
  const plan = await planOf(size, options);
  const regions: ChunkRegion[] = [];
  const buffer = new Uint8Array(Math.min(size, READ_BYTES_MAX + max));
  let start = 0;
  for (let end = 0; start < size;) {
    const length = Math.min(READ_BYTES_MAX, buffer.length - (end - start), size - end);
    buffer.set(await readExactly({ offset: end, length }, options), end - start);
    end += length;
    // From here to the next read nothing else runs: the window is ours.
    chunker.window.set(buffer.subarray(0, end - start));
    let at = 0;
    for (;;) {
      const piece = cuttable(plan, { offset: start + at, end, max });
      if (!piece) break;
      const cut = chunker.cut(at, piece.length);
      const chunk = { hash: hash.digest(buffer.subarray(at, at + cut)), length: cut };
      const last = regions.at(-1);
      if (last?.kind === piece.kind) last.chunks.push(chunk);
      else regions.push({ kind: piece.kind, chunks: [chunk] });
      at += cut;
    }
    buffer.copyWithin(0, at, end - start);
    start += at;
  }
  return regions;
}

async function planOf(size: number, options: CutFileOptions): Promise<CutPlan> {
  const file = new LayoutDraft(size);
  const parser = layoutParser(file);
  let here = { offset: 0, bytes: new Uint8Array(0) as Uint8Array };
  let step = parser.next();
  while (!step.done) {
    const { offset, length } = step.value;
    if (offset < here.offset || offset + length > here.offset + here.bytes.length) {
      const range = { offset, length: Math.min(Math.max(length, HEAD_READ_BYTES), size - offset) };
      here = { offset, bytes: await readExactly(range, options) };
    }
    const from = offset - here.offset;
    step = parser.next(here.bytes.subarray(from, from + length));
  }
  return { regions: file.regions, isFinal: true };
}

async function readExactly(
  { offset, length }: ByteRange,
  { readRange }: CutFileOptions,
): Promise<Uint8Array> {
  const bytes = await readRange(offset, length);
  if (bytes.length === length) return bytes;
  const message =
    `Cannot cut a file into chunks: ${bytes.length} of ${length} bytes at ${offset} ` +
    "were read. It was changed meanwhile";
  throw new MusicfsError("changed", message, { op: "chunks.cut_file", subject: `${offset}` });
}
