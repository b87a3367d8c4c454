import { MusicfsError } from "../base/errors.ts";
import type { KeyRange, Record, Table, TableName } from "./index.ts";
import type { NativeRange, NativeTable, ReadOptions } from "./lmdb_native.ts";
import { type RecordSeal, SEAL_BYTES } from "./record_seal.ts";
import { overflowPagesOf, type TableChange } from "./write_room.ts";

/** What a table needs of the environment it belongs to. */
export interface TableEnvironment {
  /** Whether a transaction is under way. */
  readonly writing: boolean;
  /** Counts the transactions, so that a range cannot outlive the one it was made in. */
  readonly serial: number;
  /** What reads are made with: the thread's snapshot, or nothing within a transaction. */
  reading(): ReadOptions | undefined;
  /** Called before a change; throws outside of a transaction. */
  beginChange(): void;
  /** An error of lmdb-js as a `MusicfsError`, which the environment then knows of. */
  translated(error: unknown, op: string): unknown;
  noticed(error: unknown): unknown;
}

/** One named database of the environment; every record behind its checksum. */
export class LmdbTable implements Table {
  readonly #name: TableName;
  readonly #native: NativeTable;
  readonly #environment: TableEnvironment;
  readonly #seal: RecordSeal;
  /** Since the transaction began. */
  #operations = 0;
  #overflowPages = 0;

  constructor(
    name: TableName,
    parts: { native: NativeTable; environment: TableEnvironment; seal: RecordSeal },
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

  /** Whether there is a record, its checksum unseen. */
  has(key: Uint8Array): boolean {
    try {
      return this.#native.getBinaryFast(key, this.#environment.reading()) !== undefined;
    } catch (error) {
      throw this.#environment.translated(error, "index.get");
    }
  }

  /** Reads and checks every record, in order: twice as fast as `range`, for the probe. */
  scan(visit: (key: Uint8Array) => void): void {
    const bounds: NativeRange = { start: undefined, end: undefined };
    try {
      const records = this.#native.getRange({ ...bounds, ...this.#environment.reading() });
      for (const { key, value } of records) {
        if (value === undefined || !this.#seal.isIntact(key, value)) throw this.#damaged(key);
        visit(key);
      }
    } catch (error) {
      throw this.#environment.translated(error, "index.range");
    }
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
