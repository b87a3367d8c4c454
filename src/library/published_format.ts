/**
 * The files of a published index, in `.musicfs/` of an origin. Little-endian.
 *
 * `index` holds the names of everything:
 *
 *       0  8 bytes  magic, "musicfsi"        48  u64  bytes of the columns, deflated
 *       8  u32      format, 1                56  u64  bytes of the columns
 *      12  u8       bytes of a hash, 8 or 16  64  u64  bytes of the digests
 *      13  u8       what times and versions   72  16 bytes  xxh128 of all that follows the header
 *                   are: 0 ns, 1 s, 2 bucket  88  16 bytes  xxh128 of the header up to here
 *      14  u16      0                        104  the columns, deflated without a header
 *      16  u32      folders                   …   the digests: 16 bytes for each file, its MD5
 *      20  u32      names                          or zeros
 *      24  u32      files
 *      28  20 bytes of 0
 *
 * `chunks-ID` holds chunk lists, and its ID is the xxh128 of its bytes: it never changes. 8 bytes
 * magic, "musicfsc", u32 format, 1, u32 0; then records. A record is the xxh128 of what follows in
 * it, the MD5 of the file's content (16 bytes), and the list as `ChunkList` encodes it, which says
 * the file's size.
 */

import { MusicfsError } from "../base/errors.ts";
import type { ChunkHash, HashName } from "../chunking/chunk_hash.ts";
import { sameHash } from "../chunking/chunk_hash.ts";
import { ChunkList } from "../chunking/chunk_list.ts";
import type { ChunkRegion } from "../chunking/chunk_manifest.ts";
import { bad, MD5_BYTES, NAMES_MAX } from "./published_columns.ts";

/** The only format that is written. */
export const PUBLISHED_FORMAT = 1;

/** Where an index lies, below the origin's root; never shown in the tree. */
export const PUBLISHED_FOLDER = ".musicfs";
export const NAMES_PATH = `${PUBLISHED_FOLDER}/index`;

/** Bytes of an index's names, as they lie there and inflated: what a forged one may cost. */
export const NAMES_BYTES_MAX = 96 * 1024 * 1024;
export const COLUMNS_BYTES_MAX = 128 * 1024 * 1024;

/** Bytes of one list's record: that of a file of 30 GB. */
export const LIST_BYTES_MAX = 8 * 1024 * 1024;

export const NAMES_HEADER_BYTES = 104;
export const PART_HEADER_BYTES = 16;
const RECORD_HEADER_BYTES = 16 + MD5_BYTES;
const MAGIC = "musicfsi";
const PART_MAGIC = "musicfsc";

/** What the times and versions of an index are, by their number on disk. */
export const MADE_OF = ["ns", "s", "bucket"] as const;
export type MadeOf = typeof MADE_OF[number];

/** What stands in the header of `index`. */
export interface NamesHeader {
  hash: HashName;
  /** Made of a folder whose times have ns or whole seconds, or of a bucket, which has ETags. */
  madeOf: MadeOf;
  folders: number;
  /** Names, without the root. */
  names: number;
  files: number;
  deflatedBytes: number;
  columnsBytes: number;
  digestsBytes: number;
}

/** The path of a chunk part, below the origin's root. */
export function partPath(id: string): string {
  return `${PUBLISHED_FOLDER}/chunks-${id}`;
}

/** The whole file `index`. `body` is the deflated columns and the digests. */
export function encodeNamesFile(
  header: NamesHeader,
  body: { deflated: Uint8Array; digests: Uint8Array },
  xxh128: ChunkHash,
): Uint8Array<ArrayBuffer> {
  const { deflated, digests } = body;
  const bytes = new Uint8Array(NAMES_HEADER_BYTES + deflated.length + digests.length);
  const view = new DataView(bytes.buffer);
  bytes.set(deflated, NAMES_HEADER_BYTES);
  bytes.set(digests, NAMES_HEADER_BYTES + deflated.length);
  bytes.set(new TextEncoder().encode(MAGIC));
  view.setUint32(8, PUBLISHED_FORMAT, true);
  bytes[12] = header.hash === "xxh128" ? 16 : 8;
  bytes[13] = MADE_OF.indexOf(header.madeOf);
  view.setUint32(16, header.folders, true);
  view.setUint32(20, header.names, true);
  view.setUint32(24, header.files, true);
  view.setBigUint64(48, BigInt(deflated.length), true);
  view.setBigUint64(56, BigInt(header.columnsBytes), true);
  view.setBigUint64(64, BigInt(digests.length), true);
  bytes.set(xxh128.digest(bytes.subarray(NAMES_HEADER_BYTES)), 72);
  bytes.set(xxh128.digest(bytes.subarray(0, 88)), 88);
  return bytes;
}

/**
 * Reads the header of `index`, which `bytes` holds as a whole, and checks all its checksums.
 *
 * Throws `invalid` for a format that is newer than this program, else `corrupt`.
 */
export function decodeNamesFile(bytes: Uint8Array, xxh128: ChunkHash): NamesHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < NAMES_HEADER_BYTES) throw bad("it is cut off");
  if (!startsWith(bytes, MAGIC)) throw bad("it is no index");
  checkFormat(view.getUint32(8, true));
  if (!sameHash(xxh128.digest(bytes.subarray(0, 88)), bytes.subarray(88, 104))) {
    throw bad("its header is damaged");
  }
  const madeOf = MADE_OF[bytes[13] ?? -1];
  const hashBytes = bytes[12];
  if (madeOf === undefined || (hashBytes !== 16 && hashBytes !== 8)) {
    throw bad("its header makes no sense");
  }
  const header: NamesHeader = {
    hash: hashBytes === 16 ? "xxh128" : "xxh64",
    madeOf,
    folders: view.getUint32(16, true),
    names: view.getUint32(20, true),
    files: view.getUint32(24, true),
    deflatedBytes: Number(view.getBigUint64(48, true)),
    columnsBytes: Number(view.getBigUint64(56, true)),
    digestsBytes: Number(view.getBigUint64(64, true)),
  };
  const { deflatedBytes, digestsBytes, columnsBytes } = header;
  if (NAMES_HEADER_BYTES + deflatedBytes + digestsBytes !== bytes.length) {
    throw bad("it is cut off or too long");
  }
  if (columnsBytes > COLUMNS_BYTES_MAX || header.names > NAMES_MAX) {
    throw bad("its names are too many");
  }
  if (!sameHash(xxh128.digest(bytes.subarray(NAMES_HEADER_BYTES)), bytes.subarray(72, 88))) {
    throw bad("its names are damaged");
  }
  return header;
}

/** What a chunk part begins with. */
export function encodePartHeader(): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(PART_HEADER_BYTES);
  bytes.set(new TextEncoder().encode(PART_MAGIC));
  new DataView(bytes.buffer).setUint32(8, PUBLISHED_FORMAT, true);
  return bytes;
}

/** The record of one file's list. */
export function encodeList(
  regions: readonly ChunkRegion[],
  { size, md5, hashBytes, xxh128 }: {
    size: number;
    md5: Uint8Array;
    hashBytes: 16 | 8;
    xxh128: ChunkHash;
  },
): Uint8Array<ArrayBuffer> {
  const list = ChunkList.fromRegions(regions, { size, hashBytes }).encode();
  const bytes = new Uint8Array(RECORD_HEADER_BYTES + list.length);
  bytes.set(md5, 16);
  bytes.set(list, RECORD_HEADER_BYTES);
  bytes.set(xxh128.digest(bytes.subarray(16)));
  return bytes;
}

/** Reads a record. Throws `corrupt` for one that is not of this file, and `invalid` if it is newer. */
export function decodeList(
  bytes: Uint8Array,
  { size, md5, hashBytes, xxh128 }: {
    size: number;
    md5: Uint8Array | undefined;
    hashBytes: 16 | 8;
    xxh128: ChunkHash;
  },
): ChunkRegion[] {
  if (bytes.length < RECORD_HEADER_BYTES) throw bad("a list is cut off");
  if (!sameHash(xxh128.digest(bytes.subarray(16)), bytes.subarray(0, 16))) {
    throw bad("a list is damaged");
  }
  if (md5 === undefined || !sameHash(md5, bytes.subarray(16, RECORD_HEADER_BYTES))) {
    throw bad("a list is of other content");
  }
  const list = ChunkList.decode(bytes.subarray(RECORD_HEADER_BYTES));
  if (list.size !== size || !list.whole || list.hashBytes !== hashBytes) {
    throw bad("a list is of another file");
  }
  return list.toRegions();
}

function startsWith(bytes: Uint8Array, magic: string): boolean {
  return [...magic].every((character, i) => bytes[i] === character.charCodeAt(0));
}

function checkFormat(format: number): void {
  if (format === PUBLISHED_FORMAT) return;
  if (format < PUBLISHED_FORMAT) throw bad(`format ${format} was never used`);
  throw new MusicfsError(
    "invalid",
    `Cannot use the published index: format ${format} is newer than this musicfs; install a ` +
      "newer one",
    { op: "published_index.decode", subject: PUBLISHED_FOLDER },
  );
}
