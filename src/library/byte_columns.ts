/** Numbers and texts one after another in bytes, little-endian. */

import { MusicfsError } from "../base/errors.ts";

const FIRST_BYTES = 1024;

/** Bytes of a varint: 53 bits. */
const VARINT_BYTES_MAX = 8;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Bytes that grow as they are written. */
export class ByteWriter {
  #bytes = new Uint8Array(FIRST_BYTES);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  u8(value: number): void {
    this.#room(1);
    this.#bytes[this.#length++] = value;
  }

  u32(value: number): void {
    this.#room(4);
    this.#view.setUint32(this.#length, value, true);
    this.#length += 4;
  }

  u64(value: number): void {
    this.#room(8);
    this.#view.setBigUint64(this.#length, BigInt(value), true);
    this.#length += 8;
  }

  /** LEB128 of a whole number from 0 to 2^53 - 1. */
  varint(value: number): void {
    this.#room(VARINT_BYTES_MAX);
    let rest = value;
    while (rest >= 128) {
      this.#bytes[this.#length++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    this.#bytes[this.#length++] = rest;
  }

  /** A varint of either sign: 0, -1, 1, -2, … as 0, 1, 2, 3, … */
  signed(value: number): void {
    this.varint(value < 0 ? -2 * value - 1 : 2 * value);
  }

  /** UTF-8 and a NUL. */
  text(text: string): void {
    this.#room(3 * text.length + 1);
    this.#length += encoder.encodeInto(text, this.#bytes.subarray(this.#length)).written;
    this.#bytes[this.#length++] = 0;
  }

  bytes(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** What was written: a view, good until more is. */
  taken(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  #room(bytes: number): void {
    if (this.#length + bytes <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(2 * this.#bytes.length, this.#length + bytes));
    larger.set(this.taken());
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}

/** Reads what {@linkcode ByteWriter} wrote. Every method throws `corrupt` where it is not that. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): number {
    const value = Number(this.#view.getBigUint64(this.#take(8), true));
    if (Number.isSafeInteger(value)) return value;
    throw cutOff("a number is too large");
  }

  varint(): number {
    let value = 0;
    let unit = 1;
    for (let i = 0; i < VARINT_BYTES_MAX; i += 1) {
      const byte = this.#bytes[this.#take(1)] ?? 0;
      value += (byte & 127) * unit;
      if (byte < 128) {
        if (Number.isSafeInteger(value)) return value;
        break;
      }
      unit *= 128;
    }
    throw cutOff("a number is too large");
  }

  signed(): number {
    const value = this.varint();
    return value % 2 === 1 ? -(value + 1) / 2 : value / 2;
  }

  /** All that is left: `count` texts, each with its NUL. */
  texts(count: number): string[] {
    const bytes = this.rest();
    if (count === 0 && bytes.length === 0) return [];
    let whole: string;
    try {
      whole = decoder.decode(bytes);
    } catch (cause) {
      throw cutOff("a text is not UTF-8", cause);
    }
    const texts = whole.split("\0");
    if (texts.pop() === "" && texts.length === count) return texts;
    throw cutOff("it has another number of texts");
  }

  bytes(length: number): Uint8Array {
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }

  rest(): Uint8Array {
    return this.bytes(this.left);
  }

  /** Throws unless all was read. */
  end(): void {
    if (this.left > 0) throw cutOff("it is longer than it should be");
  }

  #take(bytes: number): number {
    if (bytes > this.left) throw cutOff("it is cut off");
    const at = this.#at;
    this.#at += bytes;
    return at;
  }
}

function cutOff(what: string, cause?: unknown): MusicfsError {
  return new MusicfsError("corrupt", `Cannot read the columns of names: ${what}`, {
    op: "columns.read",
    subject: ".musicfs",
    cause,
  });
}
