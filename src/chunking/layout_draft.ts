import type { ByteRange } from "../base/bytes.ts";
import type { LayoutRegion } from "./audio_layout.ts";
import type { RegionKind } from "./chunk_manifest.ts";

/**
 * A parser that yields the ranges it must see, gets their bytes, and returns what it found. So the
 * same parser reads from memory, from parts of a file, and from an origin.
 */
export type Parser<T> = Generator<ByteRange, T, Uint8Array>;

/** A head of more bytes than these is taken for damage. The greatest real ones hold a few pictures. */
export const HEAD_BYTES_MAX = 64 * 1024 * 1024;

/**
 * A file of a known form in which something odd comes only behind this offset keeps the regions
 * found before it; with less it is "whole". So what was said of a head this long stays true.
 */
const ODD_HEAD_BYTES_MAX = 1024 * 1024;

/** The regions of one file as they are found, from its start on. */
export class LayoutDraft {
  /** Bytes of the file. */
  readonly size: number;
  #regions: readonly LayoutRegion[] = [];
  #isFormSure = false;

  constructor(size: number) {
    this.size = size;
  }

  /** End of the last region. */
  get end(): number {
    return this.#regions.at(-1)?.end ?? 0;
  }

  /**
   * Regions that will be in the layout whatever comes; the last one reaches as far as it says, and
   * perhaps farther.
   */
  get sure(): readonly LayoutRegion[] {
    return this.#isFormSure || this.end > ODD_HEAD_BYTES_MAX ? this.#regions : [];
  }

  get regions(): readonly LayoutRegion[] {
    return this.#regions;
  }

  /** From the last region's end up to `end` lies `kind`. Nothing for an `end` that is passed. */
  reach(kind: RegionKind, end: number): void {
    const to = Math.min(end, this.size);
    if (!(to > this.end)) return;
    const last = this.#regions.at(-1);
    const before = last?.kind === kind ? this.#regions.slice(0, -1) : this.#regions;
    this.#regions = [...before, { kind, end: to }];
  }

  /** Nothing that comes can be odd any more. */
  formIsSure(): void {
    this.#isFormSure = true;
  }

  /** The file is not what it seemed to be. */
  giveUp(): void {
    if (this.sure.length > 0) return this.reach("audio", this.size);
    this.#regions = [];
    this.reach("whole", this.size);
  }

  /** The bytes of a range; undefined if the file ends before it does. */
  *bytes(offset: number, length: number): Parser<Uint8Array | undefined> {
    if (!(offset >= 0 && offset + length <= this.size)) return undefined;
    return length > 0 ? yield { offset, length } : new Uint8Array(0);
  }
}

/** Whether `bytes` hold the ASCII `text` at `at`. */
export function hasText(bytes: Uint8Array, text: string, at = 0): boolean {
  if (at < 0 || at + text.length > bytes.length) return false;
  for (let i = 0; i < text.length; i += 1) {
    if (bytes[at + i] !== text.charCodeAt(i)) return false;
  }
  return true;
}

/** A view for numbers of more than one byte. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
