import type { ByteRange } from "../base/bytes.ts";
import { EXTENT_BLOCK_BYTES } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { FileVersion } from "../store/file_version.ts";
import type { Manifests } from "../store/manifests.ts";
import { between, type Target, wholeBlocks, within } from "./byte_ranges.ts";
import type { Extents } from "./extents.ts";
import type { Ingest } from "./ingest.ts";
import { RecentRanges } from "./recent_ranges.ts";

/** What `Parts` is made of. */
export interface PartsOptions {
  manifests: Manifests;
  extents: Extents;
  ingest: Ingest;
  /** Whether anything is written to this disk. */
  keeps: boolean;
  log: Log;
}

/**
 * The parts of files that are here and not in chunks: in extents, and in memory where the disk does
 * not take them.
 */
export class Parts {
  readonly #options: PartsOptions;
  readonly #recent = new RecentRanges();
  #inMemory: boolean;

  constructor(options: PartsOptions) {
    this.#options = options;
    this.#inMemory = !options.keeps;
  }

  /** Whether what comes is kept in memory, going by the latest: there is room for little then. */
  get inMemory(): boolean {
    return this.#inMemory;
  }

  /** Bytes held in memory. */
  get memoryBytes(): number {
    return this.#recent.bytes;
  }

  /** What of `range` is neither in chunks nor here: whole blocks, clipped to the file, in order. */
  missing(version: FileVersion, range: ByteRange): ByteRange[] {
    const { manifests, extents } = this.#options;
    const from = Math.max(range.offset, manifests.listOf(version).frontier);
    const end = Math.min(range.offset + range.length, version.size);
    if (from >= end) return [];
    const gaps = extents.missing(version, { offset: from, length: end - from });
    if (this.#recent.bytes === 0) return gaps;
    return gaps.flatMap((gap) => this.#recent.missing(version.id, gap));
  }

  /** Copies what is here of `range`, which lies in the target; the rest, in whole blocks. */
  fill(version: FileVersion, range: ByteRange, target: Target): ByteRange[] {
    const { extents } = this.#options;
    const gaps = extents.missing(version, range);
    const damaged: ByteRange[] = [];
    let present = false;
    for (const piece of between(gaps, range)) {
      // A damaged block: all of the piece comes from the origin, and replaces it.
      if (extents.read(version, piece.offset, within(target, piece))) present = true;
      else damaged.push(wholeBlocks(piece, version.size));
    }
    if (present) extents.use(version);
    if (this.#recent.bytes === 0) return [...gaps, ...damaged];
    return [...gaps, ...damaged].flatMap((gap) => this.#fillFromMemory(version, gap, target));
  }

  /**
   * Keeps fetched bytes that lie beyond the frontier, and sets the ingest going. Whoever waits for
   * the bytes gets them all the same.
   */
  keep(version: FileVersion, offset: number, bytes: Uint8Array<ArrayBuffer>): void {
    const { manifests, extents, ingest, keeps, log } = this.#options;
    try {
      const { frontier } = manifests.listOf(version);
      const from = Math.max(offset, Math.floor(frontier / EXTENT_BLOCK_BYTES) * EXTENT_BLOCK_BYTES);
      if (from >= offset + bytes.length) return;
      const rest = bytes.subarray(from - offset);
      const kept = keeps && extents.write(version, from, rest);
      this.#inMemory = !kept;
      if (kept) ingest.kick(version);
      else this.#recent.put(version.id, from, rest);
    } catch (error) {
      log.error("Fetched bytes were not kept", { path: version.sources[0].path, error });
    }
  }

  /** Keeps bytes of chunks that the disk did not take. */
  keepInMemory(version: FileVersion, offset: number, bytes: Uint8Array<ArrayBuffer>): void {
    this.#inMemory = true;
    this.#recent.put(version.id, offset, bytes);
  }

  /** Copies what memory holds of `range` and the target; true if that was all of it. */
  copyFromMemory(version: FileVersion, range: ByteRange, target: Target): boolean {
    if (this.#recent.bytes === 0) return false;
    return this.#fillFromMemory(version, range, target).length === 0;
  }

  /** Whether memory holds all of a range. */
  isInMemory(version: FileVersion, range: ByteRange): boolean {
    return this.#recent.bytes > 0 && this.#recent.missing(version.id, range).length === 0;
  }

  #fillFromMemory(version: FileVersion, gap: ByteRange, target: Target): ByteRange[] {
    const offset = Math.max(gap.offset, target.offset);
    const end = Math.min(gap.offset + gap.length, target.offset + target.bytes.length);
    if (offset >= end) return [];
    const wanted = { offset, bytes: within(target, { offset, length: end - offset }) };
    const rest = this.#recent.fill(version.id, wanted);
    return rest.map((range) => wholeBlocks(range, version.size));
  }
}
