/**
 * Whether each page of a data.mdb that is in use says that it is the page that it is.
 *
 * LMDB reads a page without looking at its number, and puts that number on its list of free pages
 * when it writes: a wrong one ends the process with SIGSEGV at the commit or long after (seen with
 * random bytes in the header of a root, which a probe that undoes its writes never touches).
 *
 * Source of the layout: `MDB_page`, `MDB_node`, `MDB_db` and `MDB_meta` in lmdb-js 3.5.6, mdb.c.
 */
import { libc, O_RDONLY, openFile, preadFully, statDescriptor } from "../base/posix.ts";

const HEADER_BYTES = 24;
const FLAGS_AT = 0x12;
const LOWER_AT = 0x14;
const P_BRANCH = 1;
const P_LEAF = 2;
const P_OVERFLOW = 4;

/** Of a meta page. */
const PAGE_BYTES_AT = 0x30;
const FREE_ROOT_AT = 0x58;
const MAIN_ROOT_AT = 0x88;
const LAST_PAGE_AT = 0x90;
const TRANSACTION_AT = 0x98;

/** Of a node: its data's length or its child's number, flags, the length of its key. */
const NODE_FLAGS_AT = 4;
const NODE_KEY_BYTES_AT = 6;
const NODE_BYTES = 8;
const F_BIGDATA = 1;
const F_SUBDATA = 2;

/** Of the description of a table, in the tree of tables. */
const TABLE_BYTES = 48;
const TABLE_ROOT_AT = 40;

const NO_PAGE = 0xffff_ffff_ffff_ffffn;

/** Walks that a daemon may spoil by its commits before nothing is said of the pages. */
const WALKS_MAX = 5;

/**
 * What is wrong with the pages; undefined if nothing is, or if somebody commits all the time: what
 * was found is then of two states. The header must be sound (`headerFault`).
 */
export function pagesFault(path: string): string | undefined {
  const descriptor = openFile(path, O_RDONLY);
  if (descriptor < 0) return undefined; // LMDB says it better.
  try {
    for (let walks = 0; walks < WALKS_MAX; walks += 1) {
      const walk = new PageWalk(descriptor);
      const fault = walk.fault();
      if (fault === undefined || walk.isCurrent()) return fault;
    }
    return undefined;
  } finally {
    libc.close(descriptor);
  }
}

/** A page that is to be looked at, and what it must be. */
interface Due {
  page: bigint;
  kind: "tree" | "overflow";
}

class PageWalk {
  readonly #descriptor: number;
  #pageBytes = 4096;
  #lastPage = 0n;
  #seen = new Uint8Array(0);
  readonly #due: Due[] = [];
  #transaction: bigint | undefined;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  fault(): string | undefined {
    const status = statDescriptor(this.#descriptor);
    if (typeof status === "number" || status.size === 0) return undefined;
    const meta = this.#newestMeta();
    if (typeof meta === "string") return meta;
    this.#transaction = meta.getBigUint64(TRANSACTION_AT, true);
    this.#lastPage = meta.getBigUint64(LAST_PAGE_AT, true);
    this.#seen = new Uint8Array(Math.ceil(status.size / this.#pageBytes) + 1);
    for (const rootAt of [FREE_ROOT_AT, MAIN_ROOT_AT]) this.#owe(meta.getBigUint64(rootAt, true));
    for (let due = this.#due.pop(); due !== undefined; due = this.#due.pop()) {
      const fault = this.#faultOf(due);
      if (fault !== undefined) return `page ${due.page} ${fault}`;
    }
    return undefined;
  }

  /** Whether nobody has committed anything since the walk began. */
  isCurrent(): boolean {
    const meta = this.#newestMeta();
    return typeof meta === "string" ||
      meta.getBigUint64(TRANSACTION_AT, true) === this.#transaction;
  }

  #newestMeta(): DataView | string {
    const first = this.#read(0n);
    if (!first) return "its meta pages cannot be read";
    this.#pageBytes = first.getUint32(PAGE_BYTES_AT, true);
    const second = this.#read(1n);
    if (!second) return "its meta pages cannot be read";
    const transaction = (meta: DataView): bigint => meta.getBigUint64(TRANSACTION_AT, true);
    return transaction(second) > transaction(first) ? second : first;
  }

  #owe(page: bigint, kind: Due["kind"] = "tree"): void {
    if (page !== NO_PAGE) this.#due.push({ page, kind });
  }

  #faultOf({ page, kind }: Due): string | undefined {
    if (page < 2n || page > this.#lastPage) {
      return `is named and cannot be: the last is ${this.#lastPage}`;
    }
    if (this.#seen[Number(page)] === 1) return "is used twice";
    this.#seen[Number(page)] = 1;
    const view = this.#read(page);
    if (!view) return "cannot be read";
    const number = view.getBigUint64(0, true);
    if (number !== page) return `says that it is page ${number}`;
    const flags = view.getUint16(FLAGS_AT, true) & (P_BRANCH | P_LEAF | P_OVERFLOW);
    if (kind === "overflow") return flags === P_OVERFLOW ? undefined : `is of kind ${flags}`;
    if (flags !== P_BRANCH && flags !== P_LEAF) return `is of kind ${flags}`;
    const nodes = view.getUint16(LOWER_AT, true) >> 1;
    for (let i = 0; i < nodes; i += 1) {
      const at = HEADER_BYTES + 2 * i;
      if (at + 2 > view.byteLength) return "has more nodes than room";
      const nodeAt = HEADER_BYTES + view.getUint16(at, true);
      if (nodeAt + NODE_BYTES > view.byteLength) return "has a node outside";
      if (!this.#follow(view, nodeAt, flags)) return "has a node that leads outside";
    }
    return undefined;
  }

  /** Notes the pages that a node names; false if it reaches beyond its page. */
  #follow(view: DataView, at: number, flags: number): boolean {
    const low = view.getUint32(at, true);
    const high = view.getUint16(at + NODE_FLAGS_AT, true);
    if (flags === P_BRANCH) {
      this.#owe(BigInt(low) + (BigInt(high) << 32n));
      return true;
    }
    const dataAt = at + NODE_BYTES + view.getUint16(at + NODE_KEY_BYTES_AT, true);
    const isLong = (high & F_BIGDATA) !== 0;
    const bytes = isLong ? 8 : low;
    if (dataAt + bytes > view.byteLength) return false;
    if (isLong) this.#owe(view.getBigUint64(dataAt, true), "overflow");
    else if ((high & F_SUBDATA) !== 0 && bytes >= TABLE_BYTES) {
      this.#owe(view.getBigUint64(dataAt + TABLE_ROOT_AT, true));
    }
    return true;
  }

  #read(page: bigint): DataView | undefined {
    const bytes = new Uint8Array(this.#pageBytes);
    const read = preadFully(this.#descriptor, bytes, Number(page) * this.#pageBytes);
    return read === bytes.length ? new DataView(bytes.buffer) : undefined;
  }
}
