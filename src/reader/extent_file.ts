/**
 * The file that holds the parts read so far of a track that is not whole: its bytes at their own
 * offsets, then a header, then one checksum a block. See docs/architecture.md, "On disk".
 *
 * Header, 4096 bytes, little-endian:
 *
 *      0  8 bytes  magic "musicfsx"        16  u64  size of the track
 *      8  u32      format, 1               24  16 bytes  version key
 *     12  u32      bytes of a block        40  origin NUL path NUL version, cut off at the end
 *
 * The key hashes origin, path and version in full, so what is cut off is compared too. Everything
 * here is synchronous and holds no state, for both threads to use; nothing read is trusted.
 */

import { EXTENT_BLOCK_BYTES } from "../base/limits.ts";
import { libc, preadFully } from "../base/posix.ts";
import type { Xxh64 } from "../chunking/xxh64.ts";
import type { FileVersion, VersionKey } from "../store/file_version.ts";

const BLOCK = EXTENT_BLOCK_BYTES;

export const EXTENT_HEADER_BYTES = 4096;

const MAGIC = new TextEncoder().encode("musicfsx");
const FORMAT = 1;
const TEXT_AT = 40;

/** Bytes of one entry of the map. */
export const MAP_ENTRY_BYTES = 8;

/** Blocks that one step of a read looks at: 1 MiB. */
const STEP_BLOCKS = 64;

/** Where things lie in the extent file of a track of `size` bytes. */
export interface ExtentLayout {
  readonly size: number;
  readonly headerAt: number;
  readonly mapAt: number;
  /** Number of blocks; the last one is short unless `size` is a multiple. */
  readonly blocks: number;
  readonly fileBytes: number;
}

export function extentLayout(size: number): ExtentLayout {
  const headerAt = Math.ceil(size / 4096) * 4096;
  const mapAt = headerAt + EXTENT_HEADER_BYTES;
  const blocks = Math.ceil(size / BLOCK);
  return { size, headerAt, mapAt, blocks, fileBytes: mapAt + blocks * MAP_ENTRY_BYTES };
}

/**
 * The layout of an open extent file of `fileBytes`, from its own header; undefined if it is none.
 */
export function readExtentLayout(descriptor: number, fileBytes: number): ExtentLayout | undefined {
  // fileBytes = headerAt + header + blocks * entry, and headerAt is up to 4095 more than the size.
  const least = (fileBytes - EXTENT_HEADER_BYTES - 4096) / (1 + MAP_ENTRY_BYTES / BLOCK);
  const header = new Uint8Array(EXTENT_HEADER_BYTES);
  const view = new DataView(header.buffer);
  for (let at = Math.max(0, Math.floor(least / 4096) - 1) * 4096; at < fileBytes; at += 4096) {
    if (at > least + 4 * 4096) return undefined;
    if (preadFully(descriptor, header, at) !== header.length) return undefined;
    if (!MAGIC.every((byte, i) => header[i] === byte)) continue;
    if (view.getUint32(8, true) !== FORMAT || view.getUint32(12, true) !== BLOCK) continue;
    const layout = extentLayout(Number(view.getBigUint64(16, true)));
    if (layout.headerAt === at && layout.fileBytes === fileBytes) return layout;
  }
  return undefined;
}

/** The only header that the extent file of this version can have. */
export function encodeExtentHeader(version: FileVersion, key: VersionKey): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(EXTENT_HEADER_BYTES);
  const view = new DataView(header.buffer);
  header.set(MAGIC);
  view.setUint32(8, FORMAT, true);
  view.setUint32(12, BLOCK, true);
  view.setBigUint64(16, BigInt(version.size), true);
  header.set(Uint8Array.fromHex(key), 24);
  const source = version.sources[0];
  const text = `${source.origin}\0${source.path}\0${source.version}`;
  new TextEncoder().encodeInto(text, header.subarray(TEXT_AT));
  return header;
}

/** The map entry of a block: its xxh64, but never 0, which says that the block is absent. */
export function blockMark(hash: bigint): bigint {
  return hash === 0n ? 1n : hash;
}

/** Reads and checks extent files. One for each thread: it reuses its buffers. */
export class ExtentReader {
  readonly #xxh64: Xxh64;
  readonly #header = new Uint8Array(EXTENT_HEADER_BYTES);
  readonly #marks = new BigUint64Array(STEP_BLOCKS);
  readonly #markBytes = new Uint8Array(this.#marks.buffer);
  readonly #block = new Uint8Array(BLOCK);

  constructor(xxh64: Xxh64) {
    this.#xxh64 = xxh64;
  }

  /** Whether the open file has the header that it must have. */
  isOwn(descriptor: number, header: Uint8Array<ArrayBuffer>, layout: ExtentLayout): boolean {
    const found = this.#header;
    if (preadFully(descriptor, found, layout.headerAt) !== found.length) return false;
    return libc.memcmp(found, header, BigInt(found.length)) === 0;
  }

  /**
   * Fills `into` with the track's bytes from `offset` on; they must lie within the track.
   *
   * False if a block is absent, cut off or not what its checksum says; `into` then holds anything.
   */
  read(
    descriptor: number,
    { layout, offset, into }: {
      layout: ExtentLayout;
      offset: number;
      into: Uint8Array<ArrayBuffer>;
    },
  ): boolean {
    const end = offset + into.length;
    let block = Math.floor(offset / BLOCK);
    const blockEnd = Math.ceil(end / BLOCK);
    while (block < blockEnd) {
      const stepEnd = Math.min(block + STEP_BLOCKS, blockEnd);
      if (!this.#readMarks(descriptor, layout, [block, stepEnd])) return false;
      const start = Math.max(offset, block * BLOCK);
      const bytes = into.subarray(start - offset, Math.min(end, stepEnd * BLOCK) - offset);
      if (!this.#readStep(descriptor, { layout, block, start, bytes })) return false;
      block = stepEnd;
    }
    return true;
  }

  /** The marks of blocks `[first, end)`, at most `STEP_BLOCKS`, into `#marks`. */
  #readMarks(descriptor: number, layout: ExtentLayout, blocks: [number, number]): boolean {
    const [first, end] = blocks;
    const marks = this.#markBytes.subarray(0, (end - first) * MAP_ENTRY_BYTES);
    return preadFully(descriptor, marks, layout.mapAt + first * MAP_ENTRY_BYTES) === marks.length;
  }

  /** One read for all whole blocks, and one for each block that is wanted in part. */
  #readStep(
    descriptor: number,
    step: { layout: ExtentLayout; block: number; start: number; bytes: Uint8Array<ArrayBuffer> },
  ): boolean {
    const { layout, block: first, start, bytes } = step;
    const end = start + bytes.length;
    let at = start;
    if (at % BLOCK !== 0) {
      const part = bytes.subarray(0, Math.min(end, (first + 1) * BLOCK) - start);
      if (!this.#readPart(descriptor, { layout, first, start: at, part })) return false;
      at += part.length;
    }
    const wholeEnd = end === layout.size ? end : Math.floor(end / BLOCK) * BLOCK;
    if (at < wholeEnd) {
      const whole = bytes.subarray(at - start, wholeEnd - start);
      if (preadFully(descriptor, whole, at) !== whole.length) return false;
      for (let i = 0; i < whole.length; i += BLOCK) {
        const mark = this.#marks[(at + i) / BLOCK - first] ?? 0n;
        if (!this.#matches(whole.subarray(i, i + BLOCK), mark)) return false;
      }
      at = wholeEnd;
    }
    if (at >= end) return true;
    return this.#readPart(descriptor, {
      layout,
      first,
      start: at,
      part: bytes.subarray(at - start),
    });
  }

  /** A piece of one block: the block is read and checked as a whole. */
  #readPart(
    descriptor: number,
    wanted: { layout: ExtentLayout; first: number; start: number; part: Uint8Array<ArrayBuffer> },
  ): boolean {
    const { layout, first, start, part } = wanted;
    const block = Math.floor(start / BLOCK);
    const whole = this.#block.subarray(0, Math.min(BLOCK, layout.size - block * BLOCK));
    if (preadFully(descriptor, whole, block * BLOCK) !== whole.length) return false;
    if (!this.#matches(whole, this.#marks[block - first] ?? 0n)) return false;
    const from = start - block * BLOCK;
    part.set(whole.subarray(from, from + part.length));
    return true;
  }

  #matches(block: Uint8Array<ArrayBuffer>, mark: bigint): boolean {
    return mark !== 0n && blockMark(this.#xxh64(block)) === mark;
  }
}
