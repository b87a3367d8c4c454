/**
 * An entry as the index keeps it: flat, little-endian, about 60 bytes and the name for a track.
 *
 *     u8 format · u8 kind and flags · u8 bytes of the name · u8 sources · u32 parent · u32 sequence
 *     name
 *     unless they are those of the first source: f64 size · i64 mtime_ns · u16 bytes · target
 *     for each source: u16 origin · u8 kind and flags · i64 mtime_ns, and then
 *         file     f64 size, and the version as u16 bytes · text unless it follows from them
 *         folder   u32 last scan; a flag tells that only a published index has listed it
 *         symlink  u16 bytes · target
 *
 * The entry's id is the record's key. A file's `lastScan` is not kept: scans mark folders.
 */

import { MusicfsError } from "../base/errors.ts";
import type { EntryKind } from "../origins/origin.ts";
import { sizeTimeVersion } from "../origins/size_time_version.ts";
import type { Entry, EntrySource } from "./entry.ts";

/** The only format that is written. */
export const ENTRY_FORMAT = 1;

/** Bytes that a version or a link's target may have. */
export const TEXT_BYTES_MAX = 4096;

/** Sources that one entry may have. */
export const SOURCES_MAX = 255;

const KINDS = ["file", "folder", "symlink"] as const satisfies readonly EntryKind[];
const KIND_BITS = 3;
const LISTED = 4;
/** Of an entry: size, time and target are those of its first source. */
const AS_FIRST_SOURCE = 8;
/** Of a file's source: the version is `sizeTimeVersion`. */
const DERIVED_VERSION = 8;
/** Of a file's source: proven to hold what the first source holds. */
const PROVEN = 16;
/** Of a folder's source: only a published index has listed it. */
const PUBLISHED = 32;

const HEAD_BYTES = 12;
const NAME_BYTES_MAX = 255;
const ATTRIBUTES_BYTES = 18;
const SOURCE_BYTES = 21;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

let scratch = new Uint8Array(16 * 1024);
let scratchView = new DataView(scratch.buffer);

/** The record of an entry, in memory that the next call overwrites. */
export function encodeEntry(entry: Entry): Uint8Array<ArrayBuffer> {
  const textBytes = TEXT_BYTES_MAX + ATTRIBUTES_BYTES + SOURCE_BYTES;
  makeRoom(HEAD_BYTES + NAME_BYTES_MAX + (entry.sources.length + 1) * textBytes);
  const [first] = entry.sources;
  const asFirst = first !== undefined && first.size === entry.size &&
    first.mtimeNs === entry.mtimeNs && first.target === entry.target;
  scratch[0] = ENTRY_FORMAT;
  scratch[1] = KINDS.indexOf(entry.kind) | (entry.listed ? LISTED : 0) |
    (asFirst ? AS_FIRST_SOURCE : 0);
  scratch[3] = entry.sources.length;
  scratchView.setUint32(4, entry.parent, true);
  scratchView.setUint32(8, entry.sequence, true);
  const nameBytes = encoder.encodeInto(entry.name, scratch.subarray(HEAD_BYTES)).written;
  if (nameBytes > NAME_BYTES_MAX || entry.sources.length > SOURCES_MAX) {
    throw new Error(`Entry ${entry.id} does not fit its record`);
  }
  scratch[2] = nameBytes;
  let at = HEAD_BYTES + nameBytes;
  if (!asFirst) {
    scratchView.setFloat64(at, entry.size, true);
    scratchView.setBigInt64(at + 8, entry.mtimeNs, true);
    at = putText(at + 16, entry.target);
  }
  for (const source of entry.sources) at = putSource(at, source);
  return scratch.subarray(0, at);
}

/**
 * The entry that a record holds. The record may be a view of shared memory: nothing of it is kept.
 *
 * Throws `corrupt` for a record of another format, or one that ends too early.
 */
export function decodeEntry(id: number, record: Uint8Array): Entry {
  try {
    return decode(id, record);
  } catch (cause) {
    if (cause instanceof MusicfsError) throw cause;
    throw damaged(id, "it ends too early", cause);
  }
}

/** The folder that an entry is in, and its name, without decoding the rest. */
export function decodeName(id: number, record: Uint8Array): { parent: number; name: string } {
  if (record[0] !== ENTRY_FORMAT) throw damaged(id, `its format is ${record[0]}`);
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  const name = textOf(record, HEAD_BYTES, HEAD_BYTES + (record[2] ?? 0));
  return { parent: view.getUint32(4, true), name };
}

/** The only source of an entry, its texts as bytes of the record. */
export interface SoleSource {
  name: Uint8Array;
  origin: number;
  kind: EntryKind;
  size: number;
  mtimeNs: bigint;
  /** undefined where it is `sizeTimeVersion`. */
  version: Uint8Array | undefined;
}

/**
 * What most records hold, a file or folder of one source, without making texts of it; undefined for
 * all others. Nothing but `decodeEntry` judges what is damaged.
 */
export function soleSource(record: Uint8Array): SoleSource | undefined {
  const flags = record[1] ?? 0;
  const start = HEAD_BYTES + (record[2] ?? 0);
  if (record[0] !== ENTRY_FORMAT || record[3] !== 1 || (flags & AS_FIRST_SOURCE) === 0) {
    return undefined;
  }
  if (record.length < start + 11 + 4) return undefined;
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  const sourceFlags = view.getUint8(start + 2);
  const sole: SoleSource = {
    name: record.subarray(HEAD_BYTES, start),
    origin: view.getUint16(start, true),
    kind: KINDS[sourceFlags & KIND_BITS] ?? "file",
    size: 0,
    mtimeNs: view.getBigInt64(start + 3, true),
    version: undefined,
  };
  if (sole.kind === "folder") return sole;
  if (sole.kind !== "file" || record.length < start + 19) return undefined;
  sole.size = view.getFloat64(start + 11, true);
  if ((sourceFlags & DERIVED_VERSION) === 0) sole.version = record.subarray(start + 21);
  return sole;
}

function decode(id: number, record: Uint8Array): Entry {
  if (record[0] !== ENTRY_FORMAT) throw damaged(id, `its format is ${record[0]}`);
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  const flags = view.getUint8(1);
  const sourceCount = view.getUint8(3);
  let at = HEAD_BYTES + view.getUint8(2);
  const entry: Entry = {
    id,
    parent: view.getUint32(4, true),
    name: textOf(record, HEAD_BYTES, at),
    kind: KINDS[flags & KIND_BITS] ?? "file",
    sequence: view.getUint32(8, true),
    size: 0,
    mtimeNs: 0n,
    target: "",
    listed: (flags & LISTED) !== 0,
    sources: [],
  };
  const asFirst = (flags & AS_FIRST_SOURCE) !== 0;
  if (!asFirst) {
    entry.size = view.getFloat64(at, true);
    entry.mtimeNs = view.getBigInt64(at + 8, true);
    const end = at + 18 + view.getUint16(at + 16, true);
    entry.target = textOf(record, at + 18, end);
    at = end;
  }
  for (let i = 0; i < sourceCount; i += 1) at = takeSource(entry.sources, at, { view, record });
  const [first] = entry.sources;
  if (asFirst && first) {
    entry.size = first.size;
    entry.mtimeNs = first.mtimeNs;
    entry.target = first.target;
  }
  return entry;
}

function putSource(start: number, source: EntrySource): number {
  const { kind, size, mtimeNs } = source;
  const derived = kind === "file" && source.version === sizeTimeVersion(size, mtimeNs);
  scratchView.setUint16(start, source.origin, true);
  scratch[start + 2] = KINDS.indexOf(kind) | (source.listed ? LISTED : 0) |
    (derived ? DERIVED_VERSION : 0) | (source.isProven ? PROVEN : 0) |
    (source.isPublished ? PUBLISHED : 0);
  scratchView.setBigInt64(start + 3, mtimeNs, true);
  const at = start + 11;
  if (kind === "symlink") return putText(at, source.target);
  if (kind === "folder") {
    scratchView.setUint32(at, source.lastScan, true);
    return at + 4;
  }
  scratchView.setFloat64(at, size, true);
  return derived ? at + 8 : putText(at + 8, source.version);
}

/** Adds the source that begins at `start`; where the next one begins. */
function takeSource(
  sources: EntrySource[],
  start: number,
  { view, record }: { view: DataView; record: Uint8Array },
): number {
  const flags = view.getUint8(start + 2);
  const source: EntrySource = {
    origin: view.getUint16(start, true),
    kind: KINDS[flags & KIND_BITS] ?? "file",
    size: 0,
    mtimeNs: view.getBigInt64(start + 3, true),
    version: "",
    target: "",
    listed: (flags & LISTED) !== 0,
    lastScan: 0,
  };
  if ((flags & PROVEN) !== 0) source.isProven = true;
  if ((flags & PUBLISHED) !== 0) source.isPublished = true;
  sources.push(source);
  let at = start + 11;
  if (source.kind === "folder") {
    source.lastScan = view.getUint32(at, true);
    return at + 4;
  }
  if (source.kind === "file") {
    source.size = view.getFloat64(at, true);
    at += 8;
    if ((flags & DERIVED_VERSION) !== 0) {
      source.version = sizeTimeVersion(source.size, source.mtimeNs);
      return at;
    }
  }
  const end = at + 2 + view.getUint16(at, true);
  const text = textOf(record, at + 2, end);
  if (source.kind === "file") source.version = text;
  else source.target = text;
  return end;
}

function putText(at: number, text: string): number {
  const { read, written } = encoder.encodeInto(text, scratch.subarray(at + 2));
  if (read < text.length || written > TEXT_BYTES_MAX) throw new Error("A text is too long");
  scratchView.setUint16(at, written, true);
  return at + 2 + written;
}

function textOf(record: Uint8Array, start: number, end: number): string {
  if (start === end) return "";
  if (end > record.length) throw new RangeError("A text ends behind its record");
  return decoder.decode(record.subarray(start, end));
}

function makeRoom(bytes: number): void {
  if (bytes <= scratch.length) return;
  scratch = new Uint8Array(bytes);
  scratchView = new DataView(scratch.buffer);
}

function damaged(id: number, what: string, cause?: unknown): MusicfsError {
  return new MusicfsError("corrupt", `Cannot use the record of entry ${id}: ${what}`, {
    op: "entry.decode",
    subject: String(id),
    cause,
  });
}
