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
import { ByteReader, ByteWriter } from "./byte_columns.ts";
import { compareNames } from "./path_order.ts";

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

/** Longest path below the root, in UTF-16 units: Linux opens none that is longer. */
export const PATH_LENGTH_MAX = 4096;

/** Chunk parts of one index. */
export const PARTS_MAX = 4096;

const NAME_BYTES_MAX = 255;
const TARGET_LENGTH_MAX = 4096;
const COLUMNS = 10;
const PART_BYTES = 24;
const SECOND = 1_000_000_000n;
const KINDS: readonly EntryKind[] = ["file", "folder", "symlink"];
const FILE = 0;
const FOLDER = 1;
const SYMLINK = 2;

const encoder = new TextEncoder();

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

/** A folder's place among the names. */
export interface FolderPlace {
  path: string;
  /** Index of its own name; -1 for the root. */
  own: number;
  /** Indexes of its names: `[first, end)`. */
  first: number;
  end: number;
}

/** The columns, decoded. Names are counted from 0 as they were written, files likewise. */
export class NameColumns {
  readonly names: readonly string[];
  /** Of each name: 0 file, 1 folder, 2 symlink. */
  readonly #kinds: Uint8Array;
  /** Of each name: how many files come before it. */
  readonly #filesBefore: Uint32Array;
  readonly #targets: ReadonlyMap<number, string>;
  readonly #times: BigInt64Array;
  readonly #sizes: Float64Array;
  /** Bytes, part and offset for each file. */
  readonly #lists: Float64Array;
  readonly #etags: readonly string[];
  readonly #digests: Uint8Array;
  readonly folders: readonly FolderPlace[];
  readonly parts: readonly ChunkPart[];
  readonly files: number;

  /** Throws `corrupt` for anything but what `encodeNames` writes. */
  constructor(columns: Uint8Array, digests: Uint8Array) {
    const [counts, kinds, names, targets, seconds, nanos, sizes, lists, etags, parts] = split(
      columns,
    );
    this.#kinds = kinds.rest();
    if (this.#kinds.length > NAMES_MAX) throw bad("its names are too many");
    this.#filesBefore = new Uint32Array(this.#kinds.length + 1);
    let files = 0;
    let symlinks = 0;
    for (const [i, kind] of this.#kinds.entries()) {
      this.#filesBefore[i] = files;
      if (kind === FILE) files += 1;
      else if (kind === SYMLINK) symlinks += 1;
      else if (kind !== FOLDER) throw bad("a name is of no kind");
    }
    this.files = files;
    this.names = names.texts(this.#kinds.length);
    for (const name of this.names) checkName(name);
    this.folders = foldersOf(counts, { kinds: this.#kinds, names: this.names });
    this.#targets = this.#targetsOf(targets.texts(symlinks));
    this.#times = timesOf(seconds, nanos, this.#kinds.length + 1);
    this.#sizes = new Float64Array(files);
    for (let i = 0; i < files; i += 1) this.#sizes[i] = sizes.varint();
    sizes.end();
    this.parts = partsOf(parts);
    this.#lists = listsOf(lists, files, this.parts);
    this.#etags = etags.texts(files);
    if (this.#etags.some((etag) => !ETAG_TEXT.test(etag))) throw bad("an ETag is none");
    if (digests.length !== files * MD5_BYTES) throw bad("it has not one MD5 for each file");
    this.#digests = digests;
  }

  /** Everything of the name `i`. */
  entry(i: number): NamedEntry {
    const kind = KINDS[this.#kinds[i] ?? -1];
    const name = this.names[i];
    if (kind === undefined || name === undefined) throw new RangeError(`There is no name ${i}`);
    const mtimeNs = this.mtimeNs(i);
    const target = this.#targets.get(i) ?? "";
    if (kind !== "file") return { name, kind, size: 0, mtimeNs, target, etag: "" };
    const file = this.#filesBefore[i] ?? 0;
    const md5 = this.#digests.subarray(file * MD5_BYTES, (file + 1) * MD5_BYTES);
    const isKnown = md5.some((byte) => byte !== 0);
    const [bytes = 0, part = 0, offset = 0] = this.#lists.subarray(3 * file, 3 * file + 3);
    return {
      name,
      kind,
      size: this.#sizes[file] ?? 0,
      mtimeNs,
      target,
      md5: isKnown ? md5 : undefined,
      etag: this.#etags[file] || (isKnown ? md5.toHex() : ""),
      ...(bytes > 0 ? { list: { part, offset, bytes } } : {}),
    };
  }

  /** The time of the name `i`; -1 is the root. */
  mtimeNs(i: number): bigint {
    return this.#times[i + 1] ?? 0n;
  }

  /** Index of the name in a folder; undefined if it is not there. O(log n). */
  find({ first, end }: FolderPlace, name: string): number | undefined {
    let low = first;
    let high = end - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const order = compareNames(this.names[middle] ?? "", name);
      if (order === 0) return middle;
      if (order < 0) low = middle + 1;
      else high = middle - 1;
    }
    return undefined;
  }

  #targetsOf(texts: readonly string[]): Map<number, string> {
    const targets = new Map<number, string>();
    for (const [i, kind] of this.#kinds.entries()) {
      if (kind !== SYMLINK) continue;
      const target = texts[targets.size] ?? "";
      if (target === "" || target.length > TARGET_LENGTH_MAX) throw bad("a link leads nowhere");
      targets.set(i, target);
    }
    return targets;
  }
}

/** As s3_listing.ts takes them; none is fine. */
const ETAG_TEXT = /^[!#-~]{0,512}$/;

type Columns = [
  ByteReader,
  ByteReader,
  ByteReader,
  ByteReader,
  ByteReader,
  ByteReader,
  ByteReader,
  ByteReader,
  ByteReader,
  ByteReader,
];

function split(bytes: Uint8Array): Columns {
  const reader = new ByteReader(bytes);
  const lengths = Array.from({ length: COLUMNS }, () => reader.u32());
  const columns = lengths.map((length) => new ByteReader(reader.bytes(length)));
  reader.end();
  return columns as Columns;
}

/** Finds out each folder's path from the order in which they come. */
function foldersOf(
  counts: ByteReader,
  { kinds, names }: { kinds: Uint8Array; names: readonly string[] },
): FolderPlace[] {
  const folders: FolderPlace[] = [];
  const waiting: { path: string; own: number }[] = [{ path: "", own: -1 }];
  let first = 0;
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const end = first + counts.varint();
    if (end > kinds.length) throw bad("a folder has more names than there are");
    folders.push({ ...next, first, end });
    const prefix = next.path === "" ? "" : `${next.path}/`;
    for (let i = end - 1; i >= first; i -= 1) {
      const name = names[i] ?? "";
      if (i > first && compareNames(names[i - 1] ?? "", name) >= 0) {
        throw bad("the names of a folder are not in order");
      }
      if (prefix.length + name.length > PATH_LENGTH_MAX) throw bad("a path is too long");
      if (kinds[i] === FOLDER) waiting.push({ path: prefix + name, own: i });
    }
    first = end;
  }
  if (first !== kinds.length) throw bad("there are names without a folder");
  counts.end();
  return folders;
}

function timesOf(seconds: ByteReader, nanos: ByteReader, count: number): BigInt64Array {
  const times = new BigInt64Array(count);
  let second = 0;
  for (let i = 0; i < count; i += 1) {
    second += seconds.signed();
    const ns = nanos.u32();
    if (!Number.isSafeInteger(second) || ns >= Number(SECOND)) throw bad("a time is none");
    const time = BigInt(second) * SECOND + BigInt(ns);
    if (BigInt.asIntN(64, time) !== time) throw bad("a time is none");
    times[i] = time;
  }
  seconds.end();
  nanos.end();
  return times;
}

function partsOf(column: ByteReader): ChunkPart[] {
  const parts: ChunkPart[] = [];
  while (column.left > 0) {
    if (parts.length === PARTS_MAX || column.left < PART_BYTES) throw bad("its parts are none");
    parts.push({ id: column.bytes(16).toHex(), bytes: column.u64() });
  }
  return parts;
}

function listsOf(column: ByteReader, files: number, parts: readonly ChunkPart[]): Float64Array {
  const lists = new Float64Array(3 * files);
  const ends = parts.map(() => 0);
  for (let i = 0; i < files; i += 1) {
    const bytes = column.varint();
    if (bytes === 0) continue;
    const part = column.varint();
    const offset = (ends[part] ?? 0) + column.signed();
    const size = parts[part]?.bytes ?? 0;
    if (!(offset >= 0 && offset + bytes <= size)) throw bad("a list lies outside of its part");
    ends[part] = offset + bytes;
    lists.set([bytes, part, offset], 3 * i);
  }
  column.end();
  return lists;
}

/** A name leads nowhere else, and fits into a folder. */
function checkName(name: string): void {
  if (name === "" || name === "." || name === ".." || name.includes("/")) {
    throw bad("a name is none");
  }
  if (name.length * 3 > NAME_BYTES_MAX && encoder.encode(name).length > NAME_BYTES_MAX) {
    throw bad("a name is too long");
  }
}

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
