import type { Clock } from "../base/clock.ts";
import { cString, libc, statPath } from "../base/posix.ts";
import type { Index } from "./index.ts";
import { entriesOf, FOLDER_NAMES, ITEM_FOLDERS } from "./layout.ts";

/** Bytes and calls after which something is measured: the index and the next few folders. */
const TURN_BYTES = 1024 * 1024;
const TURN_CALLS = 16;

/** Folders measured in a turn, of 771: 2 us each, so a round takes 25 turns of 0.07 ms. */
const TURN_FOLDERS = 32;

/** A folder changed this short ago, in ms, may change again without its mtime telling. */
const MTIME_GRANULARITY_MS = 1000;

/** For `statx(2)`. Source: include/uapi/linux/stat.h and fcntl.h. */
const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const STATX_MTIME_BLOCKS = 0x440;
const STATX_BYTES = 256;
const STX_BLOCKS_AT = 48;
const STX_MTIME_AT = 112;

/** One of the folders that files are spread over, and what it held when it was last measured. */
interface Folder {
  readonly path: string;
  /** NUL-terminated: building it anew takes longer than the call. */
  readonly cPath: Uint8Array<ArrayBuffer>;
  /** Whether the files in it count here. */
  readonly holdsManifests: boolean;
  mtimeNs: bigint;
  ownBytes: number;
  fileBytes: number;
}

/**
 * The bytes on disk of everything in the cache that is not a chunk or an extent: index, manifests,
 * folders, temporary and control files, whatever else lies there.
 *
 * Measured as `du` does it, a little at a time while the cache is written to. A folder of manifests
 * is looked into only when its mtime moved.
 */
export class Overhead {
  readonly #cacheDir: string;
  readonly #index: Index;
  readonly #clock: Clock;
  readonly #folders: readonly Folder[];
  readonly #status = new DataView(new ArrayBuffer(STATX_BYTES));
  readonly #statusBytes = new Uint8Array(this.#status.buffer);
  /** The folder to measure next. */
  #next = 0;
  #indexBytes = 0;
  #folderBytes = 0;
  #restBytes = 0;
  /** What was told of in this round and in the last: it is measured by the end of the next. */
  #grown = { now: 0, before: 0 };
  #since = { bytes: 0, calls: 0 };

  constructor({ cacheDir, index, clock }: { cacheDir: string; index: Index; clock: Clock }) {
    this.#cacheDir = cacheDir;
    this.#index = index;
    this.#clock = clock;
    this.#folders = [...Object.values(ITEM_FOLDERS), "manifests"].flatMap((kind) => {
      const paths = FOLDER_NAMES.map((name) => `${cacheDir}/${kind}/${name}`);
      return [`${cacheDir}/${kind}`, ...paths].map((path, i) =>
        newFolder(path, kind === "manifests" && i > 0)
      );
    });
    this.measure();
  }

  get bytes(): number {
    return this.#indexBytes + this.#folderBytes + this.#restBytes + this.#grown.now +
      this.#grown.before;
  }

  /** Counts what was just written beside chunks and extents, until it is measured. */
  grew(diskBytes: number): void {
    this.#grown.now += diskBytes;
  }

  /** Measures one of the folders `00` to `ff` that was just made. */
  madeFolder(path: string): void {
    const folder = this.#folders.find((each) => each.path === path);
    if (folder) this.#measureAgain(folder);
  }

  /** Measures what is due now that `bytes` more are written; true if it measured anything. */
  wrote(bytes: number): boolean {
    this.#since.bytes += bytes;
    this.#since.calls += 1;
    if (this.#since.bytes < TURN_BYTES && this.#since.calls < TURN_CALLS) return false;
    this.#since = { bytes: 0, calls: 0 };
    this.measureIndex();
    this.#measureFolders(TURN_FOLDERS);
    return true;
  }

  /** Measures everything; 2 ms. */
  measure(): void {
    this.#next = 0;
    this.#grown = { now: 0, before: 0 };
    this.#measureFolders(this.#folders.length);
    this.measureIndex();
  }

  /** Measures the index alone. */
  measureIndex(): void {
    this.#indexBytes = this.#index.diskBytes();
  }

  #measureFolders(count: number): void {
    for (const folder of this.#folders.slice(this.#next, this.#next + count)) {
      this.#measureAgain(folder);
    }
    this.#next += count;
    if (this.#next < this.#folders.length) return;
    this.#next = 0;
    this.#grown = { now: 0, before: this.#grown.now };
    this.#restBytes = this.#measureRest();
  }

  #measureAgain(folder: Folder): void {
    this.#folderBytes -= folder.ownBytes + folder.fileBytes;
    this.#measureFolder(folder);
    this.#folderBytes += folder.ownBytes + folder.fileBytes;
  }

  #measureFolder(folder: Folder): void {
    const flags = AT_SYMLINK_NOFOLLOW;
    const { cPath, path } = folder;
    if (libc.statx(AT_FDCWD, cPath, flags, STATX_MTIME_BLOCKS, this.#statusBytes) !== 0) {
      folder.ownBytes = 0;
      folder.fileBytes = 0;
      folder.mtimeNs = -1n;
      return;
    }
    folder.ownBytes = Number(this.#status.getBigUint64(STX_BLOCKS_AT, true)) * 512;
    if (!folder.holdsManifests) return;
    const seconds = this.#status.getBigInt64(STX_MTIME_AT, true);
    const nanoseconds = BigInt(this.#status.getUint32(STX_MTIME_AT + 8, true));
    const mtimeNs = seconds * 1_000_000_000n + nanoseconds;
    if (mtimeNs === folder.mtimeNs) return;
    folder.fileBytes = 0;
    for (const { name } of entriesOf(path)) folder.fileBytes += diskBytesAt(`${path}/${name}`);
    const ageMs = this.#clock.now() - Number(mtimeNs / 1_000_000n);
    folder.mtimeNs = ageMs < MTIME_GRANULARITY_MS ? -1n : mtimeNs;
  }

  /** All that is not spread over 256 folders, but for what `Index.diskBytes` has. */
  #measureRest(): number {
    const spread: ReadonlySet<string> = new Set([...Object.values(ITEM_FOLDERS), "manifests"]);
    let bytes = diskBytesAt(this.#cacheDir);
    for (const { name, isDirectory } of entriesOf(this.#cacheDir)) {
      if (spread.has(name)) continue;
      const path = `${this.#cacheDir}/${name}`;
      bytes += isDirectory ? treeBytes(path) : diskBytesAt(path);
    }
    return bytes - diskBytesAt(`${this.#cacheDir}/index/data.mdb`);
  }
}

function newFolder(path: string, holdsManifests: boolean): Folder {
  return { path, cPath: cString(path), holdsManifests, mtimeNs: -1n, ownBytes: 0, fileBytes: 0 };
}

/** Bytes on disk of a folder and everything below. */
function treeBytes(folder: string): number {
  let bytes = diskBytesAt(folder);
  for (const { name, isDirectory } of entriesOf(folder)) {
    bytes += isDirectory ? treeBytes(`${folder}/${name}`) : diskBytesAt(`${folder}/${name}`);
  }
  return bytes;
}

/** Bytes on disk of one file or folder; 0 if it is missing. */
function diskBytesAt(path: string): number {
  const status = statPath(path);
  return typeof status === "number" ? 0 : status.diskBytes;
}
