import type { ByteRange } from "../base/bytes.ts";
import { FETCH_BYTES_MAX } from "../base/limits.ts";
import type { ContentFetcher } from "../fetch/content_fetcher.ts";
import type { FileVersion } from "../store/file_version.ts";
import { between, copyInto, type Target } from "./byte_ranges.ts";
import { pieces } from "./read_ahead.ts";

/** What `FetchedBytes` works with. */
export interface FetchedBytesOptions {
  fetcher: ContentFetcher;
  signal: AbortSignal;
  /** Whether no reader waits for it. */
  isBackground: boolean;
}

/** Parts of one version that its origin was asked for, held in memory until it is known what of them is kept. */
export class FetchedBytes {
  readonly #version: FileVersion;
  readonly #options: FetchedBytesOptions;
  /** In order, none over another. */
  readonly #parts: Target[] = [];
  readonly #given = new Set<Target>();
  readonly #underWay = new Set<ByteRange>();

  constructor(version: FileVersion, options: FetchedBytesOptions) {
    this.#version = version;
    this.#options = { ...options };
  }

  /** How many were fetched. */
  get bytes(): number {
    return this.#fetched().reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  /** Exactly those bytes; undefined if they were not all fetched. */
  readonly read = (offset: number, length: number): Uint8Array<ArrayBuffer> | undefined => {
    for (const part of this.#parts) {
      const end = part.offset + part.bytes.length;
      if (part.offset > offset || end < offset + length) continue;
      return part.bytes.subarray(offset - part.offset, offset - part.offset + length);
    }
    if (this.#gaps({ offset, length }).length > 0) return undefined;
    const target = { offset, bytes: new Uint8Array(length) };
    for (const part of this.#parts) copyInto(target, part);
    return target.bytes;
  };

  /** Takes bytes for fetched that are kept already. */
  give(part: Target): void {
    this.#parts.push(part);
    this.#given.add(part);
  }

  /** Fetches what is missing of ranges, side by side. One call at a time. */
  async need(ranges: readonly ByteRange[]): Promise<void> {
    const wanted = ranges.flatMap((range) => this.#gaps(clipped(range, this.#version.size)))
      .flatMap(({ offset, length }) => pieces(offset, offset + length, FETCH_BYTES_MAX));
    const found = await Promise.all(wanted.map((range) => this.#fetch(range)));
    for (const [i, bytes] of found.entries()) {
      const at = wanted[i]?.offset ?? 0;
      const isKnown = this.#gaps({ offset: at, length: bytes.length }).length === 0;
      if (!isKnown) this.#parts.push({ offset: at, bytes });
    }
    this.#parts.sort((a, b) => a.offset - b.offset);
  }

  /** A reader waits for it by now: what is under way is brought forward. */
  hurry(): void {
    if (!this.#options.isBackground) return;
    this.#options.isBackground = false;
    for (const range of this.#underWay) this.#fetch(range).catch(() => undefined);
  }

  /** All that was fetched, in order, neighbours joined; not what was given. */
  *joined(): Iterable<Target> {
    const parts = this.#fetched();
    for (let i = 0; i < parts.length;) {
      const first = parts[i];
      let end = i;
      let bytes = 0;
      while (first && parts[end]?.offset === first.offset + bytes) {
        bytes += parts[end]?.bytes.length ?? 0;
        end += 1;
      }
      if (!first) return;
      const target = { offset: first.offset, bytes: new Uint8Array(bytes) };
      for (const part of parts.slice(i, end)) copyInto(target, part);
      yield target;
      i = end;
    }
  }

  /** The parts that were not given. */
  #fetched(): Target[] {
    return this.#parts.filter((part) => !this.#given.has(part));
  }

  async #fetch(range: ByteRange): Promise<Uint8Array<ArrayBuffer>> {
    const { fetcher, signal, isBackground } = this.#options;
    this.#underWay.add(range);
    try {
      return await fetcher.fetch(this.#version, range, { signal, isBackground });
    } finally {
      this.#underWay.delete(range);
    }
  }

  #gaps(range: ByteRange): ByteRange[] {
    if (range.length <= 0) return [];
    const known = this.#parts.map(({ offset, bytes }) => ({ offset, length: bytes.length }))
      .filter(({ offset, length }) =>
        offset < range.offset + range.length && offset + length > range.offset
      );
    return between(known, range).filter(({ length }) => length > 0);
  }
}

function clipped({ offset, length }: ByteRange, size: number): ByteRange {
  const from = Math.max(0, offset);
  return { offset: from, length: Math.max(0, Math.min(offset + length, size) - from) };
}
