/**
 * Whether LMDB can be let near a data.mdb, from its first bytes and its size alone.
 *
 * lmdb-js maps the file and follows what it finds: a text file, zeros or a file cut short end the
 * process with SIGSEGV or SIGBUS. This check finds all whole-file damage; what is damaged inside
 * is for the probe (`index_probe.ts`).
 *
 * Source of the offsets: `MDB_page` and `MDB_meta` in lmdb-js 3.5.6, mdb.c (data format 2).
 */

/** Bytes that the check wants, or the whole file if it is shorter. */
export const HEADER_BYTES = 65536 + 4096;

const PAGE_BYTES_MIN = 4096;
const PAGE_BYTES_MAX = 65536;

const FLAGS_AT = 0x12;
const MAGIC_AT = 0x18;
const VERSION_AT = 0x1c;
const PAGE_BYTES_AT = 0x30;
const FREE_ROOT_AT = 0x58;
const MAIN_ROOT_AT = 0x88;
const LAST_PAGE_AT = 0x90;
const TRANSACTION_AT = 0x98;
const META_BYTES = 0xa0;

const P_META = 8;
const MAGIC = 0xbeefc0de;
const VERSION = 2;
const NO_PAGE = 0xffff_ffff_ffff_ffffn;

interface Meta {
  transaction: bigint;
  lastPage: bigint;
}

/**
 * What is wrong with a data.mdb of `size` bytes that begins with `header`; undefined if nothing is.
 *
 * An empty file is sound: LMDB makes a new index of it.
 */
export function headerFault(header: Uint8Array, size: number): string | undefined {
  if (size === 0) return undefined;
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  if (size < 2 * PAGE_BYTES_MIN || header.length < META_BYTES) {
    return `it has ${size} bytes, less than its two meta pages`;
  }
  const pageBytes = view.getUint32(PAGE_BYTES_AT, true);
  if (!isPageSize(pageBytes)) return `meta page 0 gives a page size of ${pageBytes}`;
  if (size < 2 * pageBytes || header.length < pageBytes + META_BYTES) {
    return `it has ${size} bytes, less than its two meta pages`;
  }
  let newest: Meta | undefined;
  for (const page of [0, 1]) {
    const meta = readMeta(view, page * pageBytes, pageBytes);
    if (typeof meta === "string") return `meta page ${page} ${meta}`;
    if (newest === undefined || meta.transaction > newest.transaction) newest = meta;
  }
  const used = ((newest?.lastPage ?? 0n) + 1n) * BigInt(pageBytes);
  return used > BigInt(size) ? `it is cut short: ${size} of ${used} bytes` : undefined;
}

/** Number of the last commit that a sound header tells of; undefined for an empty file. */
export function lastTransaction(header: Uint8Array): bigint | undefined {
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  if (header.length < META_BYTES) return undefined;
  const pageBytes = view.getUint32(PAGE_BYTES_AT, true);
  if (!isPageSize(pageBytes) || header.length < pageBytes + META_BYTES) return undefined;
  const [first, second] = [0, pageBytes].map((at) => view.getBigUint64(at + TRANSACTION_AT, true));
  if (first === undefined || second === undefined) return undefined;
  return first > second ? first : second;
}

function readMeta(view: DataView, at: number, pageBytes: number): Meta | string {
  if (view.getUint32(at + MAGIC_AT, true) !== MAGIC) return "has the wrong magic number";
  const version = view.getUint32(at + VERSION_AT, true);
  if (version !== VERSION) return `has data format ${version}, not ${VERSION}`;
  if ((view.getUint16(at + FLAGS_AT, true) & P_META) === 0) return "is not flagged as one";
  const ownPageBytes = view.getUint32(at + PAGE_BYTES_AT, true);
  if (ownPageBytes !== pageBytes) return `gives a page size of ${ownPageBytes}`;
  const lastPage = view.getBigUint64(at + LAST_PAGE_AT, true);
  for (const rootAt of [FREE_ROOT_AT, MAIN_ROOT_AT]) {
    const root = view.getBigUint64(at + rootAt, true);
    if (root !== NO_PAGE && (root < 2n || root > lastPage)) return `has its root at page ${root}`;
  }
  return { lastPage, transaction: view.getBigUint64(at + TRANSACTION_AT, true) };
}

function isPageSize(bytes: number): boolean {
  return bytes >= PAGE_BYTES_MIN && bytes <= PAGE_BYTES_MAX && (bytes & (bytes - 1)) === 0;
}
