/**
 * Writes true FLAC files without a program: verbatim subframes, 16 bits, so that every sample takes
 * two bytes and nothing need be packed. Source: RFC 9639, sections 8 and 9.
 */

import { createHash } from "node:crypto";

const SAMPLE_RATE = 44_100;
const CHANNELS = 2;
const BLOCK_SAMPLES = 4096;
const VENDOR = "musicfs tests";

export interface FlacOptions {
  /** Length in samples of each channel; a second has 44,100. */
  samples: number;
  /** Decides every sample: the same seed is the same sound. */
  seed: number;
  /** Vorbis comments: `{TITLE: "…", ARTIST: "…"}`. */
  tags: Readonly<Record<string, string>>;
}

/** A whole FLAC file of 16-bit stereo noise; 4 bytes a sample, and about 60 to each 4,096. */
export function flacFile({ samples, seed, tags }: FlacOptions): Uint8Array<ArrayBuffer> {
  const random = noise(seed);
  const frames: Uint8Array[] = [];
  const md5 = createHash("md5");
  for (let at = 0; at < samples; at += BLOCK_SAMPLES) {
    const count = Math.min(BLOCK_SAMPLES, samples - at);
    const pcm = Int16Array.from({ length: count * CHANNELS }, () => random() >> 18);
    md5.update(new Uint8Array(pcm.buffer));
    frames.push(frame(pcm, at / BLOCK_SAMPLES));
  }
  return joined([
    new TextEncoder().encode("fLaC"),
    metadataBlock(0, streamInfo(samples, md5.digest()), false),
    metadataBlock(4, vorbisComment(tags), true),
    ...frames,
  ]);
}

/** STREAMINFO, 34 bytes: RFC 9639, 8.2. */
function streamInfo(samples: number, md5: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(34);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, BLOCK_SAMPLES);
  view.setUint16(2, BLOCK_SAMPLES);
  const bitsPerSample = 16n;
  view.setBigUint64(
    10,
    (BigInt(SAMPLE_RATE) << 44n) | (BigInt(CHANNELS - 1) << 41n) | ((bitsPerSample - 1n) << 36n) |
      BigInt(samples),
  );
  bytes.set(md5, 18);
  return bytes;
}

/** Vorbis comment: lengths are little-endian, unlike all else. RFC 9639, 8.6. */
function vorbisComment(tags: Readonly<Record<string, string>>): Uint8Array {
  const texts = Object.entries(tags).map(([key, value]) => `${key}=${value}`);
  return joined([lengthAndText(VENDOR), u32(texts.length), ...texts.map(lengthAndText)]);
}

function lengthAndText(text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  return joined([u32(bytes.length), bytes]);
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

function metadataBlock(type: number, body: Uint8Array, isLast: boolean): Uint8Array {
  const header = new Uint8Array(4);
  new DataView(header.buffer).setUint32(0, body.length);
  header[0] = type | (isLast ? 0x80 : 0);
  return joined([header, body]);
}

/** One frame of interleaved samples: RFC 9639, 9.1 to 9.3. */
function frame(pcm: Int16Array, number: number): Uint8Array {
  const count = pcm.length / CHANNELS;
  const header = [
    0xff,
    0xf8, // sync, fixed block size
    0x79, // block size in 16 bits at the header's end, 44.1 kHz
    0x18, // two channels, 16 bits
    ...codedNumber(number),
    (count - 1) >> 8,
    (count - 1) & 0xff,
  ];
  const bytes = new Uint8Array(header.length + 1 + CHANNELS * (1 + 2 * count) + 2);
  bytes.set(header);
  bytes[header.length] = crc8(header);
  const view = new DataView(bytes.buffer);
  let at = header.length + 1;
  for (let channel = 0; channel < CHANNELS; channel += 1) {
    bytes[at++] = 0x02; // verbatim
    for (let i = channel; i < pcm.length; i += CHANNELS, at += 2) view.setInt16(at, pcm[i] ?? 0);
  }
  view.setUint16(at, crc16(bytes.subarray(0, at)));
  return bytes;
}

/** A frame number in the form of UTF-8; here below 2^16, 47 minutes. RFC 9639, 9.1.5. */
function codedNumber(number: number): number[] {
  if (number < 0x80) return [number];
  if (number < 0x800) return [0xc0 | (number >> 6), 0x80 | (number & 0x3f)];
  return [0xe0 | (number >> 12), 0x80 | ((number >> 6) & 0x3f), 0x80 | (number & 0x3f)];
}

/** Polynomial x^8 + x^2 + x + 1. RFC 9639, 9.1.8. */
function crc8(bytes: readonly number[]): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc & 0x80) ? ((crc << 1) ^ 0x07) & 0xff : crc << 1;
  }
  return crc;
}

/** Polynomial x^16 + x^15 + x^2 + 1. RFC 9639, 9.3. */
const CRC16_TABLE = Uint16Array.from({ length: 256 }, (_none, index) => {
  let crc = index << 8;
  for (let bit = 0; bit < 8; bit += 1) {
    crc = (crc & 0x8000) ? ((crc << 1) ^ 0x8005) & 0xffff : crc << 1;
  }
  return crc;
});

function crc16(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc = ((crc << 8) & 0xffff) ^ (CRC16_TABLE[(crc >> 8) ^ byte] ?? 0);
  }
  return crc;
}

/** Unsigned 32-bit numbers by xorshift32; a seed of 0 would stay 0. */
export function noise(seed: number): () => number {
  let state = (seed ^ 0x9e3779b9) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state | 0;
  };
}

export function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
