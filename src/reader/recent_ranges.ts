import type { ByteRange } from "../base/bytes.ts";
import { between, copyInto, type Target } from "./byte_ranges.ts";

/** Bytes of fetched ranges that are kept in memory at most. */
export const RECENT_BYTES_MAX = 24 * 1024 * 1024;

/** One range as it was fetched. */
interface Recent {
  readonly id: number;
  readonly offset: number;
  readonly end: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/**
 * Fetched ranges, in memory, for when none can be kept on disk: what was read ahead waits here for
 * its reader.
 *
 * Full, it forgets what came first: a reader has passed that, where what was used last would be what
 * it has just read and will not read again. Bytes given to it must not be written to any more.
 */
export class RecentRanges {
  /** By version id, in order of offset; ranges of one version do not overlap. */
  readonly #versions = new Map<number, Recent[]>();
  readonly #oldestFirst = new Set<Recent>();
  #bytes = 0;

  constructor(readonly bytesMax = RECENT_BYTES_MAX) {}

  get bytes(): number {
    return this.#bytes;
  }

  /** Keeps what of these bytes is not here yet. */
  put(id: number, offset: number, bytes: Uint8Array<ArrayBuffer>): void {
    if (bytes.length === 0 || bytes.length > this.bytesMax) return;
    const fresh = this.missing(id, { offset, length: bytes.length });
    for (const range of fresh) {
      const from = range.offset - offset;
      // A view of a larger buffer would keep all of that.
      const isWhole = range.length === bytes.buffer.byteLength;
      const part = isWhole ? bytes : bytes.slice(from, from + range.length);
      this.#add({ id, offset: range.offset, end: range.offset + range.length, bytes: part });
    }
    for (const oldest of this.#oldestFirst) {
      if (this.#bytes <= this.bytesMax) return;
      this.#remove(oldest);
    }
  }

  /** What of `range` is not here, in order. */
  missing(id: number, range: ByteRange): ByteRange[] {
    const ranges = this.#versions.get(id);
    if (!ranges) return [range];
    const here = ranges.filter(({ offset, end }) =>
      offset < range.offset + range.length && end > range.offset
    );
    if (here.length === 0) return [range];
    return between(here.map(({ offset, end }) => ({ offset, length: end - offset })), range);
  }

  /** Copies what is here of the target; the rest, in order. */
  fill(id: number, target: Target): ByteRange[] {
    const wanted = { offset: target.offset, length: target.bytes.length };
    for (const recent of this.#versions.get(id) ?? []) copyInto(target, recent);
    return this.missing(id, wanted);
  }

  #add(recent: Recent): void {
    const ranges = this.#versions.get(recent.id) ?? [];
    const at = ranges.findIndex(({ offset }) => offset > recent.offset);
    ranges.splice(at < 0 ? ranges.length : at, 0, recent);
    this.#versions.set(recent.id, ranges);
    this.#oldestFirst.add(recent);
    this.#bytes += recent.bytes.length;
  }

  #remove(recent: Recent): void {
    const ranges = this.#versions.get(recent.id) ?? [];
    const at = ranges.indexOf(recent);
    if (at >= 0) ranges.splice(at, 1);
    if (ranges.length === 0) this.#versions.delete(recent.id);
    this.#oldestFirst.delete(recent);
    this.#bytes -= recent.bytes.length;
  }
}
