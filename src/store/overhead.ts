import type { Clock } from "../base/clock.ts";
import { statPath } from "../base/posix.ts";
import type { Index } from "./index.ts";
import { entriesOf, FOLDER_NAMES, ITEM_FOLDERS } from "./layout.ts";

/** Bytes after which the index alone is measured again, and calls: one `statx`, 2 us. */
const INDEX_BYTES = 1024 * 1024;
const INDEX_CALLS = 16;

/** Bytes after which manifests and all small things are measured too, and calls: 270 `statx`. */
const MANIFESTS_BYTES = 16 * 1024 * 1024;
const MANIFESTS_CALLS = 128;

/** Bytes after which the folders of chunks and extents are measured too: 514 `statx`. */
const FOLDERS_BYTES = 128 * 1024 * 1024;

/** A folder changed this short ago, in ms, may change again without its mtime telling. */
const MTIME_GRANULARITY_MS = 1000;

/** What one folder of manifests held when it was last looked into. */
interface Measured {
  mtimeNs: bigint;
  diskBytes: number;
}

/**
 * The bytes on disk of everything in the cache that is not a chunk or an extent: index, manifests,
 * folders, temporary and control files, whatever else lies there. Measured, as `du` does it.
 *
 * Parts that grow fast are measured often, the others seldom; a folder of manifests is looked into
 * only when its mtime has changed.
 */
export class Overhead {
  readonly #cacheDir: string;
  readonly #index: Index;
  readonly #clock: Clock;
  readonly #manifestFolders = new Map<string, Measured>();
  #indexBytes = 0;
  #manifestBytes = 0;
  #restBytes = 0;
  #folderBytes = 0;
  /** Bytes and calls since the index, the manifests and the folders were measured. */
  #since = [0, 0, 0];
  #calls = [0, 0];

  constructor({ cacheDir, index, clock }: { cacheDir: string; index: Index; clock: Clock }) {
    this.#cacheDir = cacheDir;
    this.#index = index;
    this.#clock = clock;
    this.measure();
  }

  get bytes(): number {
    return this.#indexBytes + this.#manifestBytes + this.#restBytes + this.#folderBytes;
  }

  /** Counts what was just written beside chunks and extents, until it is measured. */
  grew(diskBytes: number): void {
    this.#manifestBytes += diskBytes;
  }

  /** Measures what is due now that `bytes` more were written; true if it measured anything. */
  wrote(bytes: number): boolean {
    const [index = 0, manifests = 0, folders = 0] = this.#since.map((sum) => sum + bytes);
    this.#since = [index, manifests, folders];
    const [indexCalls = 0, manifestCalls = 0] = this.#calls.map((calls) => calls + 1);
    this.#calls = [indexCalls, manifestCalls];
    if (folders >= FOLDERS_BYTES) {
      this.measure();
    } else if (manifests >= MANIFESTS_BYTES || manifestCalls >= MANIFESTS_CALLS) {
      this.#measureManifests();
    } else if (index >= INDEX_BYTES || indexCalls >= INDEX_CALLS) {
      this.measureIndex();
    } else {
      return false;
    }
    return true;
  }

  /** Measures everything; 1 to 2 ms. */
  measure(): void {
    this.#folderBytes = 0;
    for (const folder of Object.values(ITEM_FOLDERS)) {
      const path = `${this.#cacheDir}/${folder}`;
      this.#folderBytes += diskBytesAt(path);
      for (const name of FOLDER_NAMES) this.#folderBytes += diskBytesAt(`${path}/${name}`);
    }
    this.#since[2] = 0;
    this.#measureManifests();
  }

  /** Measures the index alone. */
  measureIndex(): void {
    this.#indexBytes = this.#index.diskBytes();
    this.#since[0] = 0;
    this.#calls[0] = 0;
  }

  #measureManifests(): void {
    const root = `${this.#cacheDir}/manifests`;
    this.#manifestBytes = diskBytesAt(root);
    for (const name of FOLDER_NAMES) this.#manifestBytes += this.#manifestsIn(`${root}/${name}`);
    this.#restBytes = this.#measureRest();
    this.#since[1] = 0;
    this.#calls[1] = 0;
    this.measureIndex();
  }

  #manifestsIn(folder: string): number {
    const status = statPath(folder);
    if (typeof status === "number") {
      this.#manifestFolders.delete(folder);
      return 0;
    }
    const known = this.#manifestFolders.get(folder);
    if (known?.mtimeNs === status.mtimeNs) return status.diskBytes + known.diskBytes;
    let diskBytes = 0;
    for (const { name } of entriesOf(folder)) diskBytes += diskBytesAt(`${folder}/${name}`);
    const ageMs = this.#clock.now() - Number(status.mtimeNs / 1_000_000n);
    if (ageMs < MTIME_GRANULARITY_MS) this.#manifestFolders.delete(folder);
    else this.#manifestFolders.set(folder, { mtimeNs: status.mtimeNs, diskBytes });
    return status.diskBytes + diskBytes;
  }

  /** All that has no measure of its own. */
  #measureRest(): number {
    const own: ReadonlySet<string> = new Set(["manifests", ...Object.values(ITEM_FOLDERS)]);
    let bytes = diskBytesAt(this.#cacheDir);
    for (const entry of entriesOf(this.#cacheDir)) {
      if (own.has(entry.name)) continue;
      const path = `${this.#cacheDir}/${entry.name}`;
      bytes += entry.isDirectory ? treeBytes(path) : diskBytesAt(path);
    }
    // `Index.diskBytes` has it.
    return bytes - diskBytesAt(`${this.#cacheDir}/index/data.mdb`);
  }
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
