/**
 * The index: what musicfs knows about names, versions, chunks and their use. It is a cache too and
 * can always be rebuilt from `chunks/`, `manifests/` and `extents/`.
 *
 * Records are bytes to this module; each table's owner encodes them. Every record is stored behind
 * the xxh64 of its key and value, because nearly half of the damage to an LMDB page is silent.
 */

/** Every table, its owner and its key. All numbers in keys are big-endian, so that they sort. */
export const TABLES = [
  "meta", // store/index: name -> value (format, epoch, counters)
  "origins", // library: u16 origin number -> identity
  "names", // library: u32 folder, name bytes -> u32 entry
  "children", // library: u32 folder, u32 entry -> kind
  "entries", // library: u32 entry -> entry record
  "superseded", // library: u64 version id -> the entry record that an open handle may still name
  "owed", // library: u32 folder, u32 part -> names whose kernel caches have yet to be told
  "gone", // library: u16 origin, u32 entry -> scan that missed it
  "arrived", // library: u16 origin, u32 content mark, u32 entry -> how and when the file came
  "probes", // library: u32 entry, u16 origin -> a version, and the hash of its head and tail
  "unproven", // library: u32 entry -> nothing; files whose sources have yet to be compared
  "manifests", // store/manifests: u64 version id -> version key, chunk list up to the frontier
  "donors", // store/donors: u8 kind, 16 bytes of what it goes by, u64 version id -> what is noted of it
  "items", // store/cache_index: u8 kind, id -> bytes on disk, last use, segment, references, owner
  "lru", // store/cache_index: u8 segment, u32 last use, u32 owner, u8 kind, id -> bytes on disk
] as const;

export type TableName = typeof TABLES[number];

/** A half-open range of keys, `[start, end)`. */
export interface KeyRange {
  start: Uint8Array;
  end: Uint8Array;
  /** From the last key to the first. */
  reverse?: boolean;
}

export interface Record {
  key: Uint8Array;
  value: Uint8Array;
}

/**
 * One sorted table. Not typed by record: encoding belongs to the owner.
 *
 * What `get` and `range` give is a view of shared memory: it is good until the next call on any
 * table of this thread. Copy what must live longer. A record whose checksum is wrong throws
 * `corrupt`.
 */
export interface Table {
  get(key: Uint8Array): Uint8Array | undefined;
  range(range: KeyRange): Iterable<Record>;
  /** Only inside `Index.transaction`. */
  put(key: Uint8Array, value: Uint8Array): void;
  /** Only inside `Index.transaction`; false if there was no such key. */
  remove(key: Uint8Array): boolean;
  /** Records in the table; O(1). */
  count(): number;
}

/** A thread's view of the index. Many threads read; only the daemon's main thread writes. */
export interface Index extends AsyncDisposable {
  /** Random at creation, 32 hex digits: numbers of one epoch mean nothing in another. */
  readonly epoch: string;
  table(name: TableName): Table;
  /**
   * Runs `change` in one synchronous write transaction and commits it to disk.
   *
   * What `change` throws undoes all of it. A full disk throws `full`. Nested calls join the outer.
   */
  transaction<T>(change: () => T): T;
  /**
   * Lets go of the snapshot that reads are answered from. A thread that never returns to its event
   * loop calls this when `generation()` moved, and before every wait that may be long.
   */
  releaseSnapshot(): void;
  /** Commits so far in this process, shared by its threads. */
  generation(): number;
  /** Bytes on disk, for the size limit. */
  diskBytes(): number;
}
