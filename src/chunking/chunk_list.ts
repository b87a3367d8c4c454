/**
 * The chunks of a file from its start to its frontier, flat: what the index keeps of a version and
 * the FUSE worker looks reads up in. See docs/architecture.md, "A file's bytes".
 *
 * Encoded, little-endian:
 *
 *     0  u8   format, 1                   24           regions: u32 first chunk, u32 kind
 *     1  u8   bytes of a hash, 8 or 16    24 + 8 r     u32 length of each chunk
 *     2  u16  r, number of regions        … + 4 n      hashes
 *     4  u32  n, number of chunks
 *     8  u64  size of the file            A region ends where the next one starts, or with the
 *    16  u64  frontier                    list. The index checks records, so there is no checksum.
 */

import type { ByteRange } from "../base/bytes.ts";
import { MusicfsError } from "../base/errors.ts";
import {
  type Chunk,
  type ChunkRegion,
  isChunkLength,
  REGION_KINDS,
  type RegionKind,
  REGIONS_MAX,
} from "./chunk_manifest.ts";

const FORMAT = 1;
const HEADER_BYTES = 24;
const REGION_BYTES = 8;
const LENGTH_BYTES = 4;

/** Where a region starts; it ends where the next one does, or with the list. */
interface RegionStart {
  readonly kind: RegionKind;
  /** Index of its first chunk. */
  readonly first: number;
}

interface Parts {
  size: number;
  hashBytes: 16 | 8;
  starts: Float64Array<ArrayBuffer>;
  hashes: Uint8Array<ArrayBuffer>;
  regions: readonly RegionStart[];
}

/** Immutable. Partial lists are normal: `frontier < size` is a track read up to there. */
export class ChunkList {
  /** Bytes of the file. */
  readonly size: number;
  /** Bytes of a hash. */
  readonly hashBytes: 16 | 8;
  /** First byte of each chunk, and the frontier as one element more: `count + 1` numbers. */
  readonly starts: Float64Array<ArrayBuffer>;
  /** All hashes, one after another, for who writes one into a buffer of their own. */
  readonly hashes: Uint8Array<ArrayBuffer>;
  readonly #regions: readonly RegionStart[];

  private constructor(parts: Parts) {
    this.size = parts.size;
    this.hashBytes = parts.hashBytes;
    this.starts = parts.starts;
    this.hashes = parts.hashes;
    this.#regions = parts.regions;
  }

  /** The list of a file of `size` bytes of which no chunk is known. */
  static empty(size: number, hashBytes: 16 | 8): ChunkList {
    if (!Number.isSafeInteger(size) || size < 0) throw invalid(`the file has ${size} bytes`);
    const starts = new Float64Array(1);
    return new ChunkList({ size, hashBytes, starts, hashes: new Uint8Array(0), regions: [] });
  }

  /** The list of a whole file (or of its first bytes), from a manifest's regions. */
  static fromRegions(
    regions: readonly ChunkRegion[],
    { size, hashBytes }: { size: number; hashBytes: 16 | 8 },
  ): ChunkList {
    const starts: RegionStart[] = [];
    let first = 0;
    for (const { kind, chunks } of regions) {
      if (chunks.length === 0) throw invalid("a region has no chunk");
      starts.push({ kind, first });
      first += chunks.length;
    }
    const list = ChunkList.empty(size, hashBytes);
    return list.#extended(regions.flatMap((region) => region.chunks), starts);
  }

  /** Reads what `encode` wrote, copying it. Throws `corrupt`, or `invalid` for a newer format. */
  static decode(bytes: Uint8Array): ChunkList {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < HEADER_BYTES) throw corrupt(`it has ${bytes.length} bytes`);
    if (bytes[0] !== FORMAT) throw unknownFormat(bytes[0] ?? 0);
    const hashBytes = bytes[1];
    if (hashBytes !== 16 && hashBytes !== 8) throw corrupt(`its hashes have ${hashBytes} bytes`);
    const regionCount = view.getUint16(2, true);
    const count = view.getUint32(4, true);
    const size = Number(view.getBigUint64(8, true));
    const frontier = Number(view.getBigUint64(16, true));
    const lengthsAt = HEADER_BYTES + regionCount * REGION_BYTES;
    const hashesAt = lengthsAt + count * LENGTH_BYTES;
    if (bytes.length !== hashesAt + count * hashBytes) throw corrupt("it is cut off or too long");
    const starts = new Float64Array(count + 1);
    let start = 0;
    for (let i = 0; i < count; i += 1) {
      const length = view.getUint32(lengthsAt + i * LENGTH_BYTES, true);
      if (!isChunkLength(length)) throw corrupt(`chunk ${i} has ${length} bytes`);
      start += length;
      starts[i + 1] = start;
    }
    if (!Number.isSafeInteger(size) || start !== frontier || frontier > size) {
      throw corrupt(`its chunks have ${start} bytes, the frontier is ${frontier} of ${size}`);
    }
    const regions = decodeRegions(view, regionCount, count);
    const hashes = new Uint8Array(bytes.subarray(hashesAt));
    return new ChunkList({ size, hashBytes, starts, hashes, regions });
  }

  /** Number of chunks. */
  get count(): number {
    return this.starts.length - 1;
  }

  /** Bytes that the chunks hold: the file's bytes from 0 to here. */
  get frontier(): number {
    return this.starts[this.count] ?? 0;
  }

  /** Whether the chunks hold the whole file. */
  get whole(): boolean {
    return this.frontier === this.size;
  }

  /** What the last chunks hold; undefined for an empty list. */
  get lastKind(): RegionKind | undefined {
    return this.#regions.at(-1)?.kind;
  }

  /** Index of the chunk that holds the byte at `offset` >= 0; `count` from the frontier on. O(log n). */
  indexAt(offset: number): number {
    const { starts, count } = this;
    if (offset >= this.frontier) return count;
    let low = 0;
    let high = count - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** First byte of chunk `i`, which must exist. */
  start(i: number): number {
    return this.starts[this.#checked(i)] ?? 0;
  }

  /** Bytes of chunk `i`, which must exist. */
  length(i: number): number {
    return (this.starts[i + 1] ?? 0) - this.start(i);
  }

  /** Hash of chunk `i`, which must exist: a view, good for as long as the list. */
  hash(i: number): Uint8Array<ArrayBuffer> {
    const at = this.#checked(i) * this.hashBytes;
    return this.hashes.subarray(at, at + this.hashBytes);
  }

  /**
   * The chunks that hold bytes of the range: half-open indexes `[first, end)`, as far as the
   * frontier; `first === end` from there on. O(log n).
   */
  covering({ offset, length }: ByteRange): readonly [first: number, end: number] {
    const first = this.indexAt(offset);
    if (first === this.count || length <= 0) return [first, first];
    return [first, Math.min(this.indexAt(offset + length - 1) + 1, this.count)];
  }

  /**
   * This list and `chunks` after it. They continue the last region if it is of the same kind
   * (`kind` is the last region's own, or "whole" for an empty list), else they start one.
   *
   * Throws `invalid` for chunks that reach past the file's end or have impossible lengths.
   */
  append(chunks: readonly Chunk[], options: { kind?: RegionKind } = {}): ChunkList {
    if (chunks.length === 0) return this;
    const last = this.#regions.at(-1);
    const kind = options.kind ?? last?.kind ?? "whole";
    if (last?.kind === kind) return this.#extended(chunks, this.#regions);
    return this.#extended(chunks, [...this.#regions, { kind, first: this.count }]);
  }

  /** The chunks as a manifest holds them. Hashes are views of this list. */
  toRegions(): ChunkRegion[] {
    return this.#regions.map(({ kind, first }, r) => {
      const end = this.#regions[r + 1]?.first ?? this.count;
      const chunks: Chunk[] = [];
      for (let i = first; i < end; i += 1) {
        chunks.push({ hash: this.hash(i), length: this.length(i) });
      }
      return { kind, chunks };
    });
  }

  /** The bytes that `decode` reads. */
  encode(): Uint8Array<ArrayBuffer> {
    const { count, starts } = this;
    const lengthsAt = HEADER_BYTES + this.#regions.length * REGION_BYTES;
    const hashesAt = lengthsAt + count * LENGTH_BYTES;
    const bytes = new Uint8Array(hashesAt + this.hashes.length);
    const view = new DataView(bytes.buffer);
    bytes[0] = FORMAT;
    bytes[1] = this.hashBytes;
    view.setUint16(2, this.#regions.length, true);
    view.setUint32(4, count, true);
    view.setBigUint64(8, BigInt(this.size), true);
    view.setBigUint64(16, BigInt(this.frontier), true);
    for (const [r, { kind, first }] of this.#regions.entries()) {
      view.setUint32(HEADER_BYTES + r * REGION_BYTES, first, true);
      view.setUint32(HEADER_BYTES + r * REGION_BYTES + 4, REGION_KINDS.indexOf(kind), true);
    }
    for (let i = 0; i < count; i += 1) {
      const length = (starts[i + 1] ?? 0) - (starts[i] ?? 0);
      view.setUint32(lengthsAt + i * LENGTH_BYTES, length, true);
    }
    bytes.set(this.hashes, hashesAt);
    return bytes;
  }

  #checked(i: number): number {
    if (i >= 0 && i < this.count) return i;
    throw new RangeError(`Chunk ${i} is not in a list of ${this.count}`);
  }

  #extended(chunks: readonly Chunk[], regions: readonly RegionStart[]): ChunkList {
    const { size, hashBytes, count } = this;
    const starts = new Float64Array(count + chunks.length + 1);
    const hashes = new Uint8Array((count + chunks.length) * hashBytes);
    starts.set(this.starts);
    hashes.set(this.hashes);
    let at = count;
    let frontier = this.frontier;
    for (const { hash, length } of chunks) {
      if (hash.length !== hashBytes) throw invalid(`a hash has ${hash.length} bytes`);
      if (!isChunkLength(length)) throw invalid(`a chunk has ${length} bytes`);
      hashes.set(hash, at * hashBytes);
      at += 1;
      frontier += length;
      starts[at] = frontier;
    }
    if (frontier > size) throw invalid(`chunks reach to ${frontier} of ${size} bytes`);
    if (regions.length > REGIONS_MAX) throw invalid(`there are ${regions.length} regions`);
    return new ChunkList({ size, hashBytes, starts, hashes, regions });
  }
}

/** The first region starts with the first chunk, and each holds at least one. */
function decodeRegions(view: DataView, regionCount: number, count: number): RegionStart[] {
  const regions: RegionStart[] = [];
  for (let r = 0; r < regionCount; r += 1) {
    const first = view.getUint32(HEADER_BYTES + r * REGION_BYTES, true);
    const kind = REGION_KINDS[view.getUint32(HEADER_BYTES + r * REGION_BYTES + 4, true)];
    if (kind === undefined) throw corrupt(`region ${r} has an unknown kind`);
    const previous = regions.at(-1);
    const inOrder = previous === undefined ? first === 0 : first > previous.first;
    if (!inOrder || first >= count) throw corrupt(`region ${r} starts at chunk ${first}`);
    regions.push({ kind, first });
  }
  if (count > 0 && regionCount === 0) throw corrupt("its chunks are in no region");
  return regions;
}

function corrupt(what: string): MusicfsError {
  const context = { op: "chunk_list.decode", subject: "chunk list" };
  return new MusicfsError("corrupt", `Cannot read a chunk list: ${what}`, context);
}

function invalid(what: string): MusicfsError {
  const context = { op: "chunk_list.append", subject: "chunk list" };
  return new MusicfsError("invalid", `Cannot make a chunk list: ${what}`, context);
}

function unknownFormat(format: number): MusicfsError {
  if (format < FORMAT) return corrupt(`format ${format} was never used`);
  return new MusicfsError(
    "invalid",
    `Cannot read a chunk list: format ${format} is newer than this musicfs; install a newer one`,
    { op: "chunk_list.decode", subject: "chunk list" },
  );
}
