import type { ByteRange } from "../base/bytes.ts";
import { MusicfsError } from "../base/errors.ts";
import { LayoutSearch } from "./audio_layout.ts";
import type { CdcChunker } from "./cdc_chunker.ts";
import type { ChunkHash } from "./chunk_hash.ts";
import type { ChunkRegion } from "./chunk_manifest.ts";
import { addChunk, type CutPlan, cuttable } from "./cut_plan.ts";

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
      addChunk(regions, piece.kind, chunk);
      at += cut;
    }
    buffer.copyWithin(0, at, end - start);
    start += at;
  }
  return regions;
}

async function planOf(size: number, options: CutFileOptions): Promise<CutPlan> {
  const search = new LayoutSearch(size);
  let here = { offset: 0, bytes: new Uint8Array(0) as Uint8Array };
  const read = (offset: number, length: number): Uint8Array | undefined => {
    const from = offset - here.offset;
    return from < 0 ? undefined : here.bytes.subarray(from, from + length);
  };
  for (;;) {
    const needs = search.advance(read);
    if (!needs) return search.plan;
    const { offset, length } = needs;
    const range = { offset, length: Math.min(Math.max(length, HEAD_READ_BYTES), size - offset) };
    here = { offset, bytes: await readExactly(range, options) };
  }
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
