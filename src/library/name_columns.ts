/** The decoding half of published_columns.ts, which says how the columns are laid out. */

import { ByteReader } from "./byte_columns.ts";
import { compareNames } from "./path_order.ts";
import {
  bad,
  type ChunkPart,
  COLUMNS,
  KINDS,
  MD5_BYTES,
  type NamedEntry,
  NAMES_MAX,
  SECOND,
} from "./published_columns.ts";

/** Longest path below the root, in UTF-16 units: Linux opens none that is longer. */
const PATH_LENGTH_MAX = 4096;

/** Chunk parts of one index; `musicfs index` keeps to 256. */
const PARTS_MAX = 4096;

const NAME_BYTES_MAX = 255;
const TARGET_LENGTH_MAX = 4096;
const PART_BYTES = 24;
const FILE = 0;
const FOLDER = 1;
const SYMLINK = 2;

const encoder = new TextEncoder();

/** A folder's place among the names. */
export interface FolderPlace {
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
  readonly #folders: Folders;
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
    this.#folders = foldersOf(counts, { kinds: this.#kinds, names: this.names });
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

  /** Folders, the root included. They are counted from 0 as they were written. */
  get folders(): number {
    return this.#folders.owns.length;
  }

  /** The folder of a number, which must be one. */
  place(folder: number): FolderPlace {
    const { owns, firsts } = this.#folders;
    return {
      own: owns[folder] ?? -1,
      first: firsts[folder] ?? 0,
      end: firsts[folder + 1] ?? this.names.length,
    };
  }

  /** The path of the folder of a number. It is made each time: all of them could be very long. */
  path(folder: number): string {
    const { owns, within } = this.#folders;
    const names: string[] = [];
    for (let own = owns[folder] ?? -1; own >= 0; own = owns[within[own] ?? 0] ?? -1) {
      names.push(this.names[own] ?? "");
    }
    return names.reverse().join("/");
  }

  /** Index of what lies at a path other than the root's; undefined if nothing does. */
  find(path: string): number | undefined {
    const names = path.split("/");
    let folder: number | undefined = 0;
    for (const [i, name] of names.entries()) {
      if (folder === undefined) return undefined;
      const at = this.#findIn(this.place(folder), name);
      if (at === undefined || i === names.length - 1) return at;
      folder = this.#folders.numbers.get(at);
    }
    return undefined;
  }

  /** Index of the name in a folder; undefined if it is not there. O(log n). */
  #findIn({ first, end }: FolderPlace, name: string): number | undefined {
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

/** Which names are whose. */
interface Folders {
  /** Of each folder, the index of its own name; -1 for the root, which is the first. */
  owns: Int32Array;
  /** Of each folder, the index of the first name in it; they end where the next one's begin. */
  firsts: Uint32Array;
  /** Of each name, the number of the folder that it is in. */
  within: Int32Array;
  /** By the index of its own name, the number of a folder. */
  numbers: ReadonlyMap<number, number>;
}

/** Finds out which folder is which from the order in which they come. */
function foldersOf(
  counts: ByteReader,
  { kinds, names }: { kinds: Uint8Array; names: readonly string[] },
): Folders {
  const owns: number[] = [];
  const firsts: number[] = [];
  const within = new Int32Array(kinds.length);
  const numbers = new Map<number, number>();
  const pathLengths: number[] = [];
  const waiting = [-1];
  let first = 0;
  for (let own = waiting.pop(); own !== undefined; own = waiting.pop()) {
    const number = owns.push(own) - 1;
    firsts.push(first);
    if (own >= 0) numbers.set(own, number);
    const end = first + counts.varint();
    if (end > kinds.length) throw bad("a folder has more names than there are");
    const pathLength = own < 0
      ? 0
      : (pathLengths[within[own] ?? 0] ?? 0) + 1 + (names[own]?.length ?? 0);
    pathLengths.push(pathLength);
    for (let i = end - 1; i >= first; i -= 1) {
      const name = names[i] ?? "";
      if (i > first && compareNames(names[i - 1] ?? "", name) >= 0) {
        throw bad("the names of a folder are not in order");
      }
      if (pathLength + 1 + name.length > PATH_LENGTH_MAX) throw bad("a path is too long");
      within[i] = number;
      if (kinds[i] === FOLDER) waiting.push(i);
    }
    first = end;
  }
  if (first !== kinds.length) throw bad("there are names without a folder");
  counts.end();
  return { owns: Int32Array.from(owns), firsts: Uint32Array.from(firsts), within, numbers };
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
