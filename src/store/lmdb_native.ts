/**
 * The little of lmdb-js that the index uses; the only file that imports `lmdb`.
 *
 * Options, and why (ext4 on this machine, a commit of 50 records, ms at p50 and p99):
 *
 * | options                                      | p50  | p99  | after power loss                    |
 * | -------------------------------------------- | ---- | ---- | ----------------------------------- |
 * | lmdb-js's own (`overlappingSync`)            | 2.98 | 3.89 | nothing lost                        |
 * | `overlappingSync: false`                     | 2.89 | 3.49 | nothing lost                        |
 * | `overlappingSync: false, noMetaSync: true`   | 2.24 | 3.18 | at most the last commit lost: taken |
 * | `noSync: true`                               | 0.59 | 1.23 | may be damaged                      |
 *
 * Pages reach the disk before the meta page that names them is written, so the order on the disk is
 * that of the commits, and a process killed at any point loses nothing that was committed. Without
 * `overlappingSync` nothing is flushed behind a commit's back either, so that a full disk is always
 * a plain exception. `useWritemap` is never used: with it, a full disk is a SIGBUS.
 *
 * Reads go through a read transaction of our own instead of lmdb-js's: its own is let go by a
 * `setTimeout` at each renewal, and in a thread that never returns to its event loop those pile up.
 */
import * as lmdb from "lmdb";
import { SEAL_BYTES } from "./record_seal.ts";

/** Address space kept for the file, in bytes; lmdb-js maps more by itself should that not do. */
const MAP_BYTES = 4 * 1024 ** 3;

const MDB_RDONLY = 0x20000;

/** What is used of lmdb-js beyond its declared types; all of it is checked by the tests. */
export interface ReadTransaction {
  readonly address: number;
  /** Its holder and the cursors open on it. */
  readonly refCount: number;
  /** Whether `done()` by the last of them ends it. */
  notCurrent: boolean;
  use(): void;
  done(): void;
}

export interface ReadOptions {
  transaction: ReadTransaction;
}

interface NativeRecord {
  key: Uint8Array;
  /** Without its seal, which lies before it; undefined if it is too short to have one. */
  value: Uint8Array | undefined;
}

export interface NativeTable {
  readonly db: { stat(): TableStat };
  /** Bytes of the value that `getBinaryFast` has just put into the shared buffer. */
  readonly lastSize: number;
  getBinaryFast(key: Uint8Array, options?: ReadOptions): Uint8Array<ArrayBuffer> | undefined;
  getRange(options: NativeRange): Iterable<NativeRecord>;
  put(key: Uint8Array, value: Uint8Array): unknown;
  removeSync(key: Uint8Array): boolean;
}

interface TableStat {
  entryCount: number;
  treeDepth: number;
  treeBranchPageCount: number;
  treeLeafPageCount: number;
}

export interface NativeRange {
  start: Uint8Array | undefined;
  end: Uint8Array | undefined;
  reverse?: boolean;
  exclusiveStart?: boolean;
  inclusiveEnd?: boolean;
  transaction?: ReadTransaction;
}

export interface NativeRoot {
  openDB(options: unknown): NativeTable | undefined;
  transactionSync(change: () => unknown): unknown;
  getWriteTxnId(): number;
  readonly env: unknown;
  readerCheck(): number;
  close(): Promise<void>;
}

interface Addon {
  Txn: new (env: unknown, flags: number) => ReadTransaction;
  resetTxn(address: number): void;
}

/** lmdb-js's buffer for keys without what it has hung on it, which makes each access slow. */
let keyBytes = new Uint8Array(0);

/** Keys as they are; one that is read is a copy. */
const KEY_ENCODER = {
  writeKey(key: Uint8Array, target: Uint8Array, start: number): number {
    target.set(key, start);
    return start + key.length;
  },
  readKey(source: Uint8Array<ArrayBuffer>, start: number, end: number): Uint8Array {
    if (keyBytes.buffer !== source.buffer) keyBytes = new Uint8Array(source.buffer);
    const bytes = keyBytes;
    const from = source.byteOffset + start;
    const key = new Uint8Array(end - start);
    for (let i = 0; i < key.length; i += 1) key[i] = bytes[from + i] ?? 0;
    return key;
  },
};

/** Values with their seals; one that is read is a view of the shared buffer, past the seal. */
const VALUE_ENCODER = {
  encode: (sealed: Uint8Array): Uint8Array => sealed,
  decode: (sealed: Uint8Array, size: number): Uint8Array | undefined =>
    size < SEAL_BYTES
      ? undefined
      : new Uint8Array(sealed.buffer, sealed.byteOffset + SEAL_BYTES, size - SEAL_BYTES),
};

const addon = (lmdb as unknown as { nativeAddon: Addon }).nativeAddon;

/** What a change returns to have its transaction undone. */
export const ABORT: unknown = lmdb.ABORT;

/** Opens the environment; damage to it may end the process. */
export function openRoot(dir: string, tables: number): NativeRoot {
  return lmdb.open({
    path: dir,
    noSubdir: false,
    maxDbs: tables + 1,
    mapSize: MAP_BYTES,
    overlappingSync: false,
    noMetaSync: true,
  }) as unknown as NativeRoot;
}

/** Opens one table, and makes it if need be; undefined if it is missing and may not be made. */
export function openNativeTable(
  root: NativeRoot,
  { name, create }: { name: string; create: boolean },
): NativeTable | undefined {
  return root.openDB({
    name,
    create,
    keyEncoder: KEY_ENCODER,
    encoder: VALUE_ENCODER,
    encoding: "binary",
  });
}

/** Begins a read transaction that only its holder and the ranges read from it keep alive. */
export function beginReading(root: NativeRoot): ReadOptions {
  const transaction = new addon.Txn(root.env, MDB_RDONLY);
  transaction.use();
  transaction.notCurrent = true;
  return { transaction };
}

/** Lets the snapshot go; the next read takes a new one. */
export function resetReading({ transaction }: ReadOptions): void {
  addon.resetTxn(transaction.address);
}
