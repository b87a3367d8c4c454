/**
 * The names of a published index: every folder, file and link of an origin, column by column, which
 * is what deflates best. Decoding trusts nothing: what is not exactly as written here throws.
 *
 * Little-endian. `varint` is LEB128 of at most 53 bits, `signed` a varint of zigzag. First a u32 for
 * the bytes of each column, then the columns:
 *
 *     counts   a varint for each folder: how many names it has
 *     kinds    a u8 for each name: 0 file, 1 folder, 2 symlink
 *     names    each name in UTF-8 and a NUL
 *     targets  the same for each symlink
 *     seconds  the root's time, then each name's: signed, minus the one before
 *     nanos    the same: u32 ns within the second
 *     sizes    a varint for each file
 *     lists    for each file a varint, the bytes of its chunk list's record, 0 for none; then a
 *              varint, which part it is in, and signed, where, minus the end of the last in there
 *     etags    for each file its ETag and a NUL; empty if it has none, or it is the MD5 in hex
 *     parts    for each chunk part its 16 bytes of id and u64 bytes
 *
 * Folders come depth first, each before what is in it; the names of one in the order of their
 * UTF-8 bytes. That order says which folder is which: no path is written.
 */

import { MusicfsError } from "../base/errors.ts";
import type { EntryKind } from "../origins/origin.ts";
import { ByteWriter } from "./byte_columns.ts";

/** Where the record of a chunk list lies. */
export interface ListPlace {
  /** Index into the parts. */
  part: number;
  offset: number;
  /** Of the record, more than 0. */
  bytes: number;
}

/** A file that chunk lists lie in. */
export interface ChunkPart {
  /** xxh128 of its bytes, in hex. */
  id: string;
  bytes: number;
}

/** A name as the index has it. */
export interface NamedEntry {
  name: string;
  kind: EntryKind;
  /** 0 for what is not a file. */
  size: number;
  mtimeNs: bigint;
  /** "" for what is not a symlink. */
  target: string;
  /** MD5 of a file's content; undefined if it was not read. */
  md5?: Uint8Array | undefined;
  /** ETag of a file, where the index was made against a bucket; else "". */
  etag: string;
  list?: ListPlace | undefined;
}

/** A folder as the index has it; its names in order. */
export interface NamedFolder {
  path: string;
  mtimeNs: bigint;
  entries: readonly NamedEntry[];
}

/** The columns, and what stands beside them because it does not deflate. */
export interface EncodedNames {
  columns: Uint8Array<ArrayBuffer>;
  /** 16 bytes for each file: its MD5, or zeros. */
  digests: Uint8Array<ArrayBuffer>;
}

export const MD5_BYTES = 16;

/** Names of one index. */
export const NAMES_MAX = 2_000_000;

export const SECOND = 1_000_000_000n;

/** By their numbers in the column, and how many columns there are. */
export const KINDS: readonly EntryKind[] = ["file", "folder", "symlink"];
export const COLUMNS = 10;

/** Writes the columns. The folders must come in the order that is written above. */
export function encodeNames(
  folders: Iterable<NamedFolder>,
  parts: readonly ChunkPart[],
): EncodedNames {
  const columns = Array.from({ length: COLUMNS }, () => new ByteWriter());
  const [counts, kinds, names, targets, seconds, nanos, sizes, lists, etags, partsOut] =
    columns as [
      ByteWriter,
      ByteWriter,
      ByteWriter,
      ByteWriter,
      ByteWriter,
      ByteWriter,
      ByteWriter,
      ByteWriter,
      ByteWriter,
      ByteWriter,
    ];
  const digests = new ByteWriter();
  const ends = parts.map(() => 0);
  let lastSecond = 0;
  const time = (mtimeNs: bigint): void => {
    const second = Number((mtimeNs - mod(mtimeNs, SECOND)) / SECOND);
    seconds.signed(second - lastSecond);
    nanos.u32(Number(mod(mtimeNs, SECOND)));
    lastSecond = second;
  };
  for (const folder of folders) {
    if (folder.path === "") time(folder.mtimeNs);
    counts.varint(folder.entries.length);
    for (const entry of folder.entries) {
      kinds.u8(KINDS.indexOf(entry.kind));
      names.text(entry.name);
      time(entry.mtimeNs);
      if (entry.kind === "symlink") targets.text(entry.target);
      if (entry.kind !== "file") continue;
      sizes.varint(entry.size);
      lists.varint(entry.list?.bytes ?? 0);
      if (entry.list) {
        const { part, offset, bytes } = entry.list;
        lists.varint(part);
        lists.signed(offset - (ends[part] ?? 0));
        ends[part] = offset + bytes;
      }
      etags.text(entry.etag === entry.md5?.toHex() ? "" : entry.etag);
      digests.bytes(entry.md5 ?? NO_DIGEST);
    }
  }
  for (const { id, bytes } of parts) {
    partsOut.bytes(Uint8Array.fromHex(id));
    partsOut.u64(bytes);
  }
  const whole = new ByteWriter();
  for (const column of columns) whole.u32(column.length);
  for (const column of columns) whole.bytes(column.taken());
  return { columns: whole.taken(), digests: digests.taken() };
}

const NO_DIGEST = new Uint8Array(MD5_BYTES);

/** What remains of a time, also of one before 1970. */
function mod(value: bigint, by: bigint): bigint {
  return ((value % by) + by) % by;
}

/** The error for an index that is damaged or forged. */
export function bad(what: string): MusicfsError {
  return new MusicfsError("corrupt", `Cannot use the published index: ${what}`, {
    op: "published_index.decode",
    subject: ".musicfs",
  });
}
