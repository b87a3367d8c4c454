/**
 * `Index` on LMDB; the only file that imports `lmdb`.
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
import type { Xxh64 } from "../chunking/xxh64.ts";
import { MusicfsError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { statFilesystem, statPath } from "../base/posix.ts";
import type { Index, KeyRange, Record, Table, TableName } from "./index.ts";
import { TABLES } from "./index.ts";
import { adoptMeta, requireKnownFormat } from "./index_meta.ts";
import { RecordSeal, SEAL_BYTES } from "./record_seal.ts";
import { overflowPagesOf, type TableChange, WriteRoom } from "./write_room.ts";

/** Address space kept for the file, in bytes; lmdb-js maps more by itself should that not do. */
const MAP_BYTES = 4 * 1024 ** 3;

/** How often the snapshots of processes that died are looked for; about 2 us each time. */
const COMMITS_PER_READER_CHECK = 64;

/** Free bytes below which a failed write is put down to a full disk. */
const FULL_BYTES_MAX = 1024 * 1024;

const MDB_RDONLY = 0x20000;

const EIO = 5;
const ENOSPC = 28;
const EDQUOT = 122;

/** LMDB's own codes that mean damage: PAGE_NOTFOUND, CORRUPTED, PANIC, VERSION_MISMATCH, INVALID. */
const DAMAGE = new Set([-30797, -30796, -30795, -30794, -30793]);

/** What is used of lmdb-js beyond its declared types; all of it is checked by the tests. */
interface ReadTransaction {
  readonly address: number;
  /** Its holder and the cursors open on it. */
  readonly refCount: number;
  /** Whether `done()` by the last of them ends it. */
  notCurrent: boolean;
  use(): void;
  done(): void;
}
interface ReadOptions {
  transaction: ReadTransaction;
}
interface NativeRecord {
  key: Uint8Array;
  /** Without its seal, which lies before it; undefined if it is too short to have one. */
  value: Uint8Array | undefined;
}
interface NativeTable {
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
interface NativeRange {
  start: Uint8Array | undefined;
  end: Uint8Array | undefined;
  reverse?: boolean;
  exclusiveStart?: boolean;
  inclusiveEnd?: boolean;
  transaction?: ReadTransaction;
}
interface NativeRoot {
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

/** How an environment is opened. */
export interface EnvironmentOptions {
  /** The folder of data.mdb and lock.mdb; both must already have been found to be sound. */
  dir: string;
  /** Int32 0 counts the commits of this process. */
  shared: SharedArrayBuffer;
  /** From `openXxh64()`. */
  hash: Xxh64;
  /** Whether this is the one thread that writes. */
  writable: boolean;
  /** 32 hex digits: what is missing is created with this epoch. Without it that is `corrupt`. */
  newEpoch?: string;
  /** Called when a write failed because the disk is full, before that is thrown. */
  onFull?: () => void;
  /** Called once, when damage is met with for the first time. */
  onCorrupt?: () => void;
  /** Called once the files are closed for good. */
  onClosed?: () => Promise<void>;
}

/**
 * Opens the index in this thread.
 *
 * Throws `invalid` for an index of a newer musicfs, and leaves it as it is; `corrupt` for what is
 * damaged or no index at all. Some damage ends the process: see `openIndex`.
 */
export function openEnvironment(options: EnvironmentOptions): LmdbIndex {
  let root: NativeRoot | undefined;
  try {
    root = lmdb.open({
      path: options.dir,
      noSubdir: false,
      maxDbs: TABLES.length + 1,
      mapSize: MAP_BYTES,
      overlappingSync: false,
      noMetaSync: true,
    }) as unknown as NativeRoot;
    return new LmdbIndex(options, root);
  } catch (error) {
    void root?.close();
    throw translated(error, "index.open", options.dir);
  }
}

/** One thread's environment: the tables, its snapshot and, on the main thread, its transaction. */
export class LmdbIndex implements Index {
  /** Random at creation, 32 hex digits. */
  readonly epoch: string;
  /** Whether it was made just now, and is empty. */
  readonly created: boolean;
  readonly #options: EnvironmentOptions;
  readonly #root: NativeRoot;
  readonly #tables = new Map<TableName, LmdbTable>();
  readonly #seal: RecordSeal;
  readonly #generation: Int32Array;
  readonly #addon: Addon = (lmdb as unknown as { nativeAddon: Addon }).nativeAddon;
  #room: WriteRoom | undefined;
  #commits = 0;
  #reading: ReadOptions | undefined;
  #held = false;
  #writing = false;
  #dirty = false;
  #closed = false;
  /** Damage found while opening is the opener's business. */
  #damageTold = true;
  /** What a nested call threw: all of the transaction is lost, whoever caught it. */
  #spoiled: { cause: unknown } | undefined;
  /** Counts the transactions, so that a range cannot outlive the one it was made in. */
  #serial = 0;

  constructor(options: EnvironmentOptions, root: NativeRoot) {
    this.#options = options;
    this.#root = root;
    this.#generation = new Int32Array(options.shared);
    this.#seal = new RecordSeal(options.hash);
    this.#openTables(false);
    if (this.#tables.has("meta")) requireKnownFormat(this, options.dir);
    if (options.newEpoch !== undefined) this.#openTables(true);
    this.releaseSnapshot();
    const { epoch, created } = adoptMeta(this, options.newEpoch);
    this.epoch = epoch;
    this.created = created;
    this.#damageTold = false;
  }

  get writing(): boolean {
    return this.#writing;
  }

  get serial(): number {
    return this.#serial;
  }

  table(name: TableName): Table {
    const table = this.#tables.get(name);
    if (table !== undefined) return table;
    throw new MusicfsError("corrupt", `The index in ${this.#options.dir} has no table ${name}`, {
      op: "index.table",
      subject: name,
    });
  }

  /** What reads are made with: the thread's snapshot, or nothing within a transaction. */
  reading(): ReadOptions | undefined {
    if (this.#writing) return undefined;
    this.#held = true;
    return this.#reading ??= this.#takeSnapshot();
  }

  /** Called by the tables before they change anything. */
  beginChange(): void {
    if (!this.#writing) throw new Error("The index is written to outside of a transaction");
    this.#dirty = true;
  }

  transaction<T>(change: () => T): T {
    if (!this.#options.writable) throw new Error("Only the main thread writes to the index");
    if (this.#writing) return this.#join(change);
    this.releaseSnapshot();
    this.#dirty = false;
    this.#spoiled = undefined;
    const outcome: { value?: T; failed?: true } = {};
    try {
      this.#root.transactionSync(() => {
        this.#beginTransaction();
        try {
          outcome.value = settled(change());
        } catch (error) {
          outcome.failed = true;
          throw error;
        } finally {
          this.#writing = false;
        }
        this.#requireUnspoiled();
        failpoint("index.commit.before");
        if (!this.#dirty) return lmdb.ABORT;
        this.#requireRoom();
      });
    } catch (error) {
      if (outcome.failed) throw error;
      if (error instanceof MusicfsError) throw this.noticed(error);
      throw this.translated(error, "index.commit");
    }
    if (this.#dirty) this.#countCommit();
    failpoint("index.commit.after");
    return outcome.value as T;
  }

  releaseSnapshot(): void {
    const transaction = this.#reading?.transaction;
    if (!this.#held || transaction === undefined) return;
    this.#held = false;
    if (transaction.refCount <= 1) return this.#addon.resetTxn(transaction.address);
    // Ranges are under way: they keep their snapshot, and the last one ends it.
    this.#reading = undefined;
    transaction.done();
  }

  generation(): number {
    return Atomics.load(this.#generation, 0);
  }

  diskBytes(): number {
    let bytes = 0;
    for (const name of ["data.mdb", "lock.mdb", "ballast"]) {
      const status = statPath(`${this.#options.dir}/${name}`);
      if (typeof status !== "number") bytes += status.diskBytes;
    }
    return bytes;
  }

  /** Ends reading and writing in this thread. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const reading = this.#reading;
    this.#reading = undefined;
    reading?.transaction.done();
    await this.#root.close();
    this.#room?.close();
    await this.#options.onClosed?.();
  }

  /** An error of lmdb-js as a `MusicfsError`. */
  translated(error: unknown, op: string): unknown {
    return this.noticed(translated(error, op, this.#options.dir));
  }

  /** Tells the owner of a full disk or of damage. */
  noticed(error: unknown): unknown {
    if (!(error instanceof MusicfsError) || !error.op.startsWith("index.")) return error;
    if (error.code === "full") this.#options.onFull?.();
    if (error.code === "corrupt" && !this.#damageTold) {
      this.#damageTold = true;
      this.#options.onCorrupt?.();
    }
    return error;
  }

  #openTables(create: boolean): void {
    for (const name of TABLES) {
      if (this.#tables.has(name)) continue;
      const native = this.#root.openDB({
        name,
        create,
        keyEncoder: KEY_ENCODER,
        encoder: VALUE_ENCODER,
        encoding: "binary",
      });
      if (native === undefined) continue;
      const parts = { native, environment: this, seal: this.#seal };
      this.#tables.set(name, new LmdbTable(name, parts));
    }
  }

  #takeSnapshot(): ReadOptions {
    if (this.#closed) throw new Error("The index is closed");
    const transaction = new this.#addon.Txn(this.#root.env, MDB_RDONLY);
    transaction.use();
    transaction.notCurrent = true;
    return { transaction };
  }

  #beginTransaction(): void {
    // lmdb-js overlooks a transaction that could not begin, and LMDB would follow a null pointer.
    if (this.#root.getWriteTxnId() === 0) {
      throw new MusicfsError(
        "unavailable",
        `Cannot write to the index in ${this.#options.dir}: LMDB refused to begin a transaction ` +
          "after an earlier error. Restart musicfs.",
        { op: "index.begin", subject: this.#options.dir },
      );
    }
    this.#serial += 1;
    this.#writing = true;
    for (const table of this.#tables.values()) table.takeChange();
  }

  #join<T>(change: () => T): T {
    try {
      return settled(change());
    } catch (error) {
      this.#spoiled ??= { cause: error };
      throw error;
    }
  }

  #countCommit(): void {
    Atomics.add(this.#generation, 0, 1);
    this.#commits += 1;
    // A probe that died behind the mount left a snapshot, which would keep pages for good.
    if (this.#commits % COMMITS_PER_READER_CHECK === 0) this.#root.readerCheck();
  }

  /** LMDB must not find out for itself that the disk is full: see `WriteRoom`. */
  #requireRoom(): void {
    const changes: TableChange[] = [];
    for (const table of this.#tables.values()) {
      const change = table.takeChange();
      if (change !== undefined) changes.push(change);
    }
    this.#room ??= new WriteRoom(this.#options.dir);
    const result = this.#room.reserve(changes);
    if (result < 0) throw refused(-result, this.#options.dir);
  }

  #requireUnspoiled(): void {
    if (this.#spoiled !== undefined) throw this.#spoiled.cause;
  }
}

/** Refuses a promise: what it does after its first await would not be in the transaction. */
function settled<T>(value: T): T {
  if (value instanceof Promise) throw new Error("A change to the index must not be asynchronous");
  return value;
}

/** One named database of the environment; every record behind its checksum. */
class LmdbTable implements Table {
  readonly #name: TableName;
  readonly #native: NativeTable;
  readonly #environment: LmdbIndex;
  readonly #seal: RecordSeal;
  /** Since the transaction began. */
  #operations = 0;
  #overflowPages = 0;

  constructor(
    name: TableName,
    parts: { native: NativeTable; environment: LmdbIndex; seal: RecordSeal },
  ) {
    this.#name = name;
    this.#native = parts.native;
    this.#environment = parts.environment;
    this.#seal = parts.seal;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const native = this.#native;
    const options = this.#environment.reading();
    let bytes: Uint8Array<ArrayBuffer> | undefined;
    try {
      bytes = native.getBinaryFast(key, options);
    } catch (error) {
      throw this.#environment.translated(error, "index.get");
    }
    if (bytes === undefined) return undefined;
    const size = native.lastSize - SEAL_BYTES;
    const at = bytes.byteOffset + SEAL_BYTES;
    const value = new Uint8Array(bytes.buffer, at, size > 0 ? size : 0);
    if (size < 0 || !this.#seal.isIntact(key, value)) {
      throw this.#environment.noticed(this.#damaged(key));
    }
    return value;
  }

  range(range: KeyRange): Iterable<Record> {
    return { [Symbol.iterator]: () => this.#iterate(range) };
  }

  put(key: Uint8Array, value: Uint8Array): void {
    this.#environment.beginChange();
    this.#operations += 1;
    this.#overflowPages += overflowPagesOf(value.length);
    try {
      this.#native.put(key, this.#seal.close(key, value));
    } catch (error) {
      throw this.#environment.translated(error, "index.put");
    }
  }

  remove(key: Uint8Array): boolean {
    this.#environment.beginChange();
    this.#operations += 1;
    try {
      return this.#native.removeSync(key);
    } catch (error) {
      throw this.#environment.translated(error, "index.remove");
    }
  }

  count(): number {
    this.#environment.reading();
    return this.#native.db.stat().entryCount;
  }

  /** What this transaction did to the table so far, which is forgotten; undefined for nothing. */
  takeChange(): TableChange | undefined {
    if (this.#operations === 0) return undefined;
    const { treeDepth, treeBranchPageCount, treeLeafPageCount } = this.#native.db.stat();
    const change = {
      operations: this.#operations,
      overflowPages: this.#overflowPages,
      branchPages: treeBranchPageCount,
      leafPages: treeLeafPageCount,
      treeDepth,
    };
    this.#operations = 0;
    this.#overflowPages = 0;
    return change;
  }

  *#iterate({ start, end, reverse }: KeyRange): IterableIterator<Record> {
    if (end.length === 0) return;
    const environment = this.#environment;
    const inside = environment.writing;
    const serial = environment.serial;
    const bounds: NativeRange = reverse
      ? { start: end, end: start, reverse, exclusiveStart: true, inclusiveEnd: true }
      : { start, end };
    // An empty bound means to lmdb-js what undefined does: no bound.
    if (bounds.end?.length === 0) bounds.end = undefined;
    const records = this.#native.getRange({ ...bounds, ...environment.reading() });
    try {
      for (const { key, value } of records) {
        if (value === undefined || !this.#seal.isIntact(key, value)) throw this.#damaged(key);
        yield { key, value: value.slice() };
        if (inside && (!environment.writing || environment.serial !== serial)) {
          throw new Error("A range of the index outlived the transaction it was made in");
        }
      }
    } catch (error) {
      throw environment.translated(error, "index.range");
    }
  }

  #damaged(key: Uint8Array): MusicfsError {
    const hex = Array.from(key, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return new MusicfsError(
      "corrupt",
      `Cannot read record ${hex} of the index table ${this.#name}: its checksum is wrong. ` +
        "Restart musicfs, which then checks the index and rebuilds it.",
      { op: "index.get", subject: this.#name },
    );
  }
}

/** Gives lmdb-js's errors, which carry LMDB's code or an errno, one of ours; others are bugs. */
function translated(error: unknown, op: string, dir: string): unknown {
  const code = numericCode(error);
  if (code === undefined) return error;
  const context = { op, subject: dir, cause: error };
  const reason = error instanceof Error ? error.message : String(error);
  if (DAMAGE.has(code)) {
    return new MusicfsError(
      "corrupt",
      `The index in ${dir} is damaged: ${reason}. Restart musicfs, which then rebuilds it.`,
      context,
    );
  }
  if (code === ENOSPC || code === EDQUOT || (code === EIO && isFull(dir))) {
    return new MusicfsError(
      "full",
      `Cannot write to the index in ${dir}: the disk is full. Make room, or lower --max-size.`,
      context,
    );
  }
  return new MusicfsError(
    "unavailable",
    `Cannot use the index in ${dir}: ${reason} (${code}). Look at the cache disk.`,
    context,
  );
}

function numericCode(error: unknown): number | undefined {
  if (!(error instanceof Error) || error instanceof MusicfsError) return undefined;
  const code: unknown = Reflect.get(error, "code");
  return typeof code === "number" ? code : undefined;
}

/** What the disk said to a request for room, as an error. */
function refused(code: number, dir: string): unknown {
  const reason = new Error("the disk gives no room");
  return translated(Object.assign(reason, { code }), "index.commit", dir);
}

/** LMDB reports a short write as EIO, and only the filesystem knows whether it was full. */
function isFull(dir: string): boolean {
  const status = statFilesystem(dir);
  return typeof status !== "number" && status.freeBytes < FULL_BYTES_MAX;
}
