/** `Index` on LMDB. How it is used, and with which options, stands in `lmdb_native.ts`. */
import { MusicfsError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { statPath } from "../base/posix.ts";
import type { Xxh64 } from "../chunking/xxh64.ts";
import type { Index, TableName } from "./index.ts";
import { TABLES } from "./index.ts";
import { adoptMeta, requireKnownFormat } from "./index_meta.ts";
import { refused, translated } from "./lmdb_errors.ts";
import {
  ABORT,
  beginReading,
  type NativeRoot,
  openNativeTable,
  openRoot,
  type ReadOptions,
  resetReading,
} from "./lmdb_native.ts";
import { LmdbTable } from "./lmdb_table.ts";
import { RecordSeal } from "./record_seal.ts";
import { type TableChange, WriteRoom } from "./write_room.ts";

/** Commits from one upkeep to the next: some 20 us, beside 64 times a millisecond or more. */
const COMMITS_PER_UPKEEP = 64;

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
  /** Called after a commit now and then. */
  onUpkeep?: () => void;
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
    root = openRoot(options.dir, TABLES.length);
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

  table(name: TableName): LmdbTable {
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
        if (!this.#dirty) return ABORT;
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
    const reading = this.#reading;
    if (!this.#held || reading === undefined) return;
    this.#held = false;
    if (reading.transaction.refCount <= 1) return resetReading(reading);
    // Ranges are under way: they keep their snapshot, and the last one ends it.
    this.#reading = undefined;
    reading.transaction.done();
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
      const native = openNativeTable(this.#root, { name, create });
      if (native === undefined) continue;
      const parts = { native, environment: this, seal: this.#seal };
      this.#tables.set(name, new LmdbTable(name, parts));
    }
  }

  #takeSnapshot(): ReadOptions {
    if (this.#closed) throw new Error("The index is closed");
    return beginReading(this.#root);
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
    if (this.#commits % COMMITS_PER_UPKEEP !== 0) return;
    // A probe that died behind the mount left a snapshot, which would keep pages for good.
    this.#root.readerCheck();
    this.#options.onUpkeep?.();
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
