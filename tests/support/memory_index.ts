import {
  type Index,
  type KeyRange,
  type Record,
  type Table,
  type TableName,
  TABLES,
} from "../../src/store/index.ts";

/** How a memory index differs from the plain one. */
export interface MemoryIndexOptions {
  /** 32 hex digits; default all zeros. */
  epoch?: string;
}

/** What a lent view is overwritten with once it is no longer good. */
const POISON = 0xdd;

/**
 * An `Index` in memory, as strict as the real one may be.
 *
 * A view that is kept past the next call on any table is overwritten, so that code which forgets to
 * copy fails here and not in production. What a failed transaction did is undone, and so is what it
 * did through nested calls. Keys and values that are passed in are copied.
 */
export class MemoryIndex implements Index {
  readonly epoch: string;
  /** Added to `diskBytes()`, for tests of the size limit. */
  extraDiskBytes = 0;
  /** Called before a commit; what it throws makes the transaction fail, as a full disk does. */
  beforeCommit: () => void = () => {};

  readonly #tables = new Map<TableName, MemoryTable>();
  readonly #lent: Uint8Array[] = [];
  #undo: (() => void)[] | undefined;
  #spoiled: { cause: unknown } | undefined;
  #generation = 0;

  constructor({ epoch = "0".repeat(32) }: MemoryIndexOptions = {}) {
    this.epoch = epoch;
    const shared: Shared = {
      lend: (bytes) => {
        const view = bytes.slice();
        this.#lent.push(view);
        return view;
      },
      recall: () => {
        for (const view of this.#lent) view.fill(POISON);
        this.#lent.length = 0;
      },
      changing: (undo) => {
        if (!this.#undo) throw new Error("The index was changed outside a transaction");
        this.#undo.push(undo);
      },
    };
    for (const name of TABLES) this.#tables.set(name, new MemoryTable(shared));
  }

  table(name: TableName): Table {
    const table = this.#tables.get(name);
    if (!table) throw new Error(`No table ${name}`);
    return table;
  }

  transaction<T>(change: () => T): T {
    if (this.#undo) return this.#join(change);
    const undo: (() => void)[] = [];
    this.#undo = undo;
    this.#spoiled = undefined;
    try {
      const result = change();
      if (result instanceof Promise) throw new Error("A transaction must be synchronous");
      this.#requireUnspoiled();
      this.beforeCommit();
      if (undo.length > 0) this.#generation += 1;
      return result;
    } catch (error) {
      for (const step of undo.reverse()) step();
      throw error;
    } finally {
      this.#undo = undefined;
    }
  }

  /** What a nested call threw spoils the whole transaction, whoever caught it. */
  #join<T>(change: () => T): T {
    try {
      return change();
    } catch (error) {
      this.#spoiled ??= { cause: error };
      throw error;
    }
  }

  #requireUnspoiled(): void {
    if (this.#spoiled) throw this.#spoiled.cause;
  }

  releaseSnapshot(): void {}

  generation(): number {
    return this.#generation;
  }

  diskBytes(): number {
    let bytes = 8192 + this.extraDiskBytes;
    for (const table of this.#tables.values()) bytes += table.bytes;
    return bytes;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

/** What all tables of one index share. */
interface Shared {
  /** A copy that is good until `recall`. */
  lend(bytes: Uint8Array): Uint8Array;
  recall(): void;
  /** Notes how to undo a change; throws outside a transaction. */
  changing(undo: () => void): void;
}

class MemoryTable implements Table {
  /** Sorted by key. */
  readonly #records: Record[] = [];
  readonly #shared: Shared;
  bytes = 0;

  constructor(shared: Shared) {
    this.#shared = shared;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const [at, found] = this.#search(key);
    this.#shared.recall();
    const record = found ? this.#records[at] : undefined;
    return record && this.#shared.lend(record.value);
  }

  /** Goes by key, not by position, so that the caller may change the table while it walks. */
  *range({ start, end, reverse = false }: KeyRange): Iterable<Record> {
    let [low, high]: [Uint8Array, Uint8Array] = [start.slice(), end.slice()];
    let first = true;
    while (true) {
      let at = this.#search(reverse ? high : low)[0];
      if (reverse) at -= 1;
      else if (!first && compareBytes(this.#records[at]?.key ?? high, low) === 0) at += 1;
      const record = this.#records[at];
      this.#shared.recall();
      if (!record || compareBytes(record.key, low) < 0 || compareBytes(record.key, high) >= 0) {
        return;
      }
      if (reverse) high = record.key;
      else low = record.key;
      first = false;
      yield { key: this.#shared.lend(record.key), value: this.#shared.lend(record.value) };
    }
  }

  put(key: Uint8Array, value: Uint8Array): void {
    const record = { key: key.slice(), value: value.slice() };
    this.#shared.recall();
    const [at, found] = this.#search(record.key);
    const old = this.#records[at];
    this.#shared.changing(() => {
      if (found && old) this.#set(old);
      else this.#drop(record.key);
    });
    this.#set(record);
  }

  remove(key: Uint8Array): boolean {
    const wanted = key.slice();
    this.#shared.recall();
    const [at, found] = this.#search(wanted);
    const old = this.#records[at];
    this.#shared.changing(() => {
      if (found && old) this.#set(old);
    });
    this.#drop(wanted);
    return found;
  }

  count(): number {
    return this.#records.length;
  }

  #set(record: Record): void {
    this.#drop(record.key);
    this.#records.splice(this.#search(record.key)[0], 0, record);
    this.bytes += bytesOf(record);
  }

  #drop(key: Uint8Array): void {
    const [at, found] = this.#search(key);
    if (!found) return;
    for (const record of this.#records.splice(at, 1)) this.bytes -= bytesOf(record);
  }

  /** Where `key` is, or would be put; and whether it is there. */
  #search(key: Uint8Array): [at: number, found: boolean] {
    let low = 0;
    let high = this.#records.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const record = this.#records[middle];
      if (record && compareBytes(record.key, key) < 0) low = middle + 1;
      else high = middle;
    }
    const record = this.#records[low];
    return [low, record !== undefined && compareBytes(record.key, key) === 0];
  }
}

/** Key, value and the checksum before them. */
function bytesOf(record: Record): number {
  return record.key.length + record.value.length + 8;
}

/** Byte by byte; a prefix sorts before what it begins. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i += 1) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
