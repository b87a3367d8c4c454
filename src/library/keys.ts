/**
 * Keys of the library's tables; all numbers big-endian, so that they sort.
 *
 * A key is lent: the next call that makes one of its kind overwrites it. A range's keys are the
 * caller's own.
 */

import type { KeyRange } from "../store/index.ts";

const encoder = new TextEncoder();

/** A name has at most 255 bytes; what is longer is cut, and then names nothing. */
const NAME_BYTES_MAX = 256;

const one = new Uint8Array(4);
const oneView = new DataView(one.buffer);
const child = new Uint8Array(8);
const childView = new DataView(child.buffer);
const node = new Uint8Array(8);
const nodeView = new DataView(node.buffer);
const missing = new Uint8Array(6);
const missingView = new DataView(missing.buffer);
const probed = new Uint8Array(6);
const probedView = new DataView(probed.buffer);
const origin = new Uint8Array(2);
const originView = new DataView(origin.buffer);
const arrived = new Uint8Array(10);
const arrivedView = new DataView(arrived.buffer);
const named = new Uint8Array(4 + NAME_BYTES_MAX);
const namedView = new DataView(named.buffer);

/** Tables `entries` and `unproven`. */
export function entryKey(id: number): Uint8Array {
  oneView.setUint32(0, id);
  return one;
}

/** Table `children`. */
export function childKey(folder: number, id: number): Uint8Array {
  childView.setUint32(0, folder);
  childView.setUint32(4, id);
  return child;
}

/** The children of a folder whose ids are greater than `after`. */
export function childrenAfter(folder: number, after: number): KeyRange {
  return {
    start: childKey(folder, Math.min(after + 1, 0xffffffff)).slice(),
    end: childKey(folder + 1, 0).slice(),
  };
}

/** Table `names`. */
export function nameKey(folder: number, name: string | Uint8Array): Uint8Array {
  namedView.setUint32(0, folder);
  if (typeof name === "string") {
    return named.subarray(0, 4 + encoder.encodeInto(name, named.subarray(4)).written);
  }
  const bytes = name.length > NAME_BYTES_MAX ? name.subarray(0, NAME_BYTES_MAX) : name;
  named.set(bytes, 4);
  return named.subarray(0, 4 + bytes.length);
}

/** Table `superseded`. */
export function versionKey(nodeId: number): Uint8Array {
  nodeView.setBigUint64(0, BigInt(nodeId));
  return node;
}

/** Table `origins`. */
export function originKey(number: number): Uint8Array {
  originView.setUint16(0, number);
  return origin;
}

/** Table `gone`. */
export function goneKey(originNumber: number, entry: number): Uint8Array {
  missingView.setUint16(0, originNumber);
  missingView.setUint32(2, entry);
  return missing;
}

/** All that one origin misses. */
export function goneOf(originNumber: number): KeyRange {
  return {
    start: goneKey(originNumber, 0).slice(),
    end: goneKey(originNumber, 0xffffffff).slice(),
  };
}

/** Table `arrived`. */
export function arrivedKey(
  originNumber: number,
  { mark, id }: { mark: number; id: number },
): Uint8Array {
  arrivedView.setUint16(0, originNumber);
  arrivedView.setUint32(2, mark);
  arrivedView.setUint32(6, id);
  return arrived;
}

/** All that came to an origin, after the row at `after`. */
export function arrivedOf(
  originNumber: number,
  after: { mark: number; id: number } | undefined,
): KeyRange {
  const { mark, id } = after ?? { mark: 0, id: -1 };
  const start = arrivedKey(originNumber, { mark, id: Math.min(id + 1, 0xffffffff) }).slice();
  return { start, end: arrivedKey(originNumber, { mark: 0xffffffff, id: 0xffffffff }).slice() };
}

/** All that came to an origin with one mark. */
export function arrivedWith(originNumber: number, mark: number): KeyRange {
  return {
    start: arrivedKey(originNumber, { mark, id: 0 }).slice(),
    end: arrivedKey(originNumber, { mark, id: 0xffffffff }).slice(),
  };
}

/** Table `owed`. */
export function owedKey(folder: number, part: number): Uint8Array {
  return childKey(folder, part);
}

/** All that is owed for a folder. */
export function owedOf(folder: number): KeyRange {
  return { start: entryKey(folder).slice(), end: entryKey(folder + 1).slice() };
}

/** Table `probes`. */
export function probeKey(entry: number, originNumber: number): Uint8Array {
  probedView.setUint32(0, entry);
  probedView.setUint16(4, originNumber);
  return probed;
}

/** Table `unproven`: the entries whose ids are greater than `after`. */
export function entriesAfter(after: number): KeyRange {
  return {
    start: entryKey(Math.min(after + 1, 0xffffffff)).slice(),
    end: new Uint8Array(8).fill(255),
  };
}

/** Every record of a table; no key of ours begins with 255 eight times. */
export function everything(): KeyRange {
  return { start: new Uint8Array(), end: new Uint8Array(8).fill(255) };
}

/** The big-endian u32 at `at`. */
export function u32At(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at);
}
