/**
 * Ogg with one stream of Vorbis, Opus, Speex or FLAC: its header packets have pages to themselves.
 * Sources: RFC 3533 section 6, RFC 7845 section 3, Vorbis I section A.2, Ogg FLAC mapping 1.0,
 * Speex manual section 7.
 */

import { hasText, HEAD_BYTES_MAX, type LayoutDraft, type Parser, viewOf } from "./layout_draft.ts";

/** Header pages that are walked: with full ones, as many as `HEAD_BYTES_MAX` has. */
const PAGES_MAX = 1024;

const HEADER_BYTES = 27;
const SEGMENTS_MAX = 255;
const IS_FIRST = 0x02;

/** Enough of the first packet to know the codec, and how many headers follow. */
const FIRST_PACKET_BYTES = 80;

interface Page {
  /** First byte of its packets. */
  bodyAt: number;
  end: number;
  isFirst: boolean;
  serial: number;
  /** Whether samples are finished in it; never so in pages of headers. */
  hasSamples: boolean;
  /** Packets that end in it. */
  packets: number;
}

/**
 * Metadata up to the first page that has audio; false for what is odd, and for streams that are
 * interleaved. Of a chain of streams only the first has its headers told apart.
 */
export function* oggPages(file: LayoutDraft): Parser<boolean> {
  let at = 0;
  let headers = 0;
  let packets = 0;
  let serial: number | undefined;
  for (let pages = 0; pages < PAGES_MAX; pages += 1) {
    const length = Math.min(HEADER_BYTES + SEGMENTS_MAX, file.size - at);
    const bytes = yield* file.bytes(at, length);
    const page = bytes && pageAt(at, bytes);
    if (!page || page.end > file.size || page.end > HEAD_BYTES_MAX) return false;
    if (page.isFirst !== (pages === 0) || page.serial !== (serial ?? page.serial)) return false;
    if (pages === 0) headers = yield* headerPackets(file, page);
    serial = page.serial;
    packets += page.packets;
    if (!page.hasSamples) file.reach("metadata", page.end);
    at = page.end;
    if (page.hasSamples || packets >= headers || at === file.size) {
      file.reach("audio", file.size);
      return true;
    }
  }
  return false;
}

function pageAt(at: number, bytes: Uint8Array): Page | undefined {
  if (bytes.length < HEADER_BYTES || !hasText(bytes, "OggS") || bytes[4] !== 0) return undefined;
  const view = viewOf(bytes);
  const segments = view.getUint8(26);
  const lengths = bytes.subarray(HEADER_BYTES, HEADER_BYTES + segments);
  if (lengths.length < segments) return undefined;
  const bodyAt = at + HEADER_BYTES + segments;
  return {
    bodyAt,
    end: lengths.reduce((sum, length) => sum + length, bodyAt),
    isFirst: (view.getUint8(5) & IS_FIRST) !== 0,
    serial: view.getUint32(14, true),
    // -1: no packet ends in this page.
    hasSamples: view.getBigInt64(6, true) > 0n,
    packets: lengths.filter((length) => length < 255).length,
  };
}

/** How many header packets the stream has; infinite if only the pages can tell. */
function* headerPackets(file: LayoutDraft, page: Page): Parser<number> {
  const length = Math.min(FIRST_PACKET_BYTES, page.end - page.bodyAt);
  const packet = (yield* file.bytes(page.bodyAt, length)) ?? new Uint8Array(0);
  if (hasText(packet, "\x01vorbis")) return 3;
  if (hasText(packet, "OpusHead")) return 2;
  // Without the first packet; 0 is unknown.
  if (hasText(packet, "\x7fFLAC") && length >= 9) {
    return (viewOf(packet).getUint16(7) || Infinity) + 1;
  }
  if (hasText(packet, "Speex   ") && length >= 72) return 2 + viewOf(packet).getUint32(68, true);
  return Infinity;
}
