import { CHUNK_BYTES_MAX } from "../chunking/chunk_sizes.ts";
import { type ChunkHash, hex, sameHash, writeHex } from "../chunking/chunk_hash.ts";
import { MusicfsError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import {
  checked,
  cString,
  errno,
  libc,
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_NOFOLLOW,
  O_RDONLY,
  O_WRONLY,
  preadFully,
  pwriteFully,
} from "../base/posix.ts";
import type { CacheIndex } from "./cache_index.ts";
import type { CasStats, CasStore, PutResult } from "./cas_store.ts";
import { makeFolder } from "./layout.ts";
import { type CacheDisk, isFull } from "./passthrough.ts";
import type { Space } from "./space.ts";

const ENOENT = 2;
const EIO = 5;
const EEXIST = 17;

/** For `statx(2)`. Source: include/uapi/linux/stat.h and fcntl.h. */
const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const STATX_SIZE = 0x200;
const STX_SIZE_AT = 40;
const STATX_BYTES = 256;

/** What `DiskCasStore` is made of. */
export interface DiskCasStoreOptions {
  cacheDir: string;
  hash: ChunkHash;
  cacheIndex: CacheIndex;
  space: Space;
  disk: CacheDisk;
}

/**
 * Chunks as files `chunks/00…ff/<hash>`, written to `tmp/` and renamed.
 *
 * Nothing is flushed to the disk: what a power loss leaves torn is found by its hash and fetched
 * again. For the same reason an existing file is compared to its last byte before it counts as a
 * duplicate. A file without a record in the index (a crash came in between) is adopted by `sweep`.
 *
 * Not to be used within an index transaction: see `Space.reserve`.
 */
export class DiskCasStore implements CasStore {
  readonly #cacheDir: string;
  readonly #hash: ChunkHash;
  readonly #cacheIndex: CacheIndex;
  readonly #space: Space;
  readonly #disk: CacheDisk;
  /** The one file in flight: a put ends before the next begins. */
  readonly #tmpPath: Uint8Array<ArrayBuffer>;
  /** `<cache>/chunks/00/<hash>` and a NUL; the zeros and the hash are written for each call. */
  readonly #path: Uint8Array<ArrayBuffer>;
  readonly #folderAt: number;
  /** What is compared is read into this. */
  readonly #scratch = new Uint8Array(CHUNK_BYTES_MAX + 1);
  readonly #status = new Uint8Array(STATX_BYTES);

  /** Makes the folders that are missing. */
  constructor(options: DiskCasStoreOptions) {
    const { cacheDir, hash, cacheIndex, space, disk } = options;
    this.#cacheDir = cacheDir;
    this.#hash = hash;
    this.#cacheIndex = cacheIndex;
    this.#space = space;
    this.#disk = disk;
    this.#tmpPath = cString(`${cacheDir}/tmp/chunk`);
    this.#path = cString(`${cacheDir}/chunks/00/${"0".repeat(2 * hash.bytes)}`);
    this.#folderAt = this.#path.length - 1 - 2 * hash.bytes - 3;
    makeFolder(`${cacheDir}/tmp`);
    makeFolder(`${cacheDir}/chunks`);
  }

  put(hash: Uint8Array, bytes: Uint8Array<ArrayBuffer>): PutResult {
    this.#locate(hash, "store.put");
    requireChunkLength(bytes.length, hash);
    if (this.#holds(bytes)) {
      this.#noteUse(hash, bytes.length);
      return "duplicate";
    }
    if (!this.#disk.probe()) throw this.#disk.refused("store.put", `chunk ${hex(hash)}`);
    this.#space.reserve(bytes.length);
    let reason = this.#write(bytes);
    if (isFull(reason) && this.#space.freeUp(bytes.length)) reason = this.#write(bytes);
    if (reason !== 0) throw this.#disk.failed("store.put", `chunk ${hex(hash)}`, reason);
    failpoint("store.put.after_rename");
    this.#record(hash, bytes.length);
    return "stored";
  }

  get(hash: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
    this.#locate(hash, "store.get");
    requireChunkLength(length, hash);
    const bytes = new Uint8Array(length);
    const read = this.#read(bytes);
    if (read === -ENOENT) throw missing(hash);
    if (read < 0 && read !== -EIO) {
      throw new MusicfsError(
        "unavailable",
        `Cannot read chunk ${hex(hash)} in ${this.#cacheDir}: errno ${-read}. Check the disk`,
        { op: "store.get", subject: hex(hash) },
      );
    }
    if (read === length && sameHash(this.#hash.digest(bytes), hash)) return bytes;
    const cause = this.#discard(hash);
    throw new MusicfsError(
      "corrupt",
      `Chunk ${hex(hash)} in ${this.#cacheDir} is damaged: its bytes are not what its name says. ` +
        "It is fetched again when it is needed; check the disk if this goes on",
      { op: "store.get", subject: hex(hash), cause },
    );
  }

  has(hash: Uint8Array, length: number): boolean {
    this.#locate(hash, "store.has");
    return this.#fileLength() === length;
  }

  delete(hash: Uint8Array): boolean {
    this.#locate(hash, "store.delete");
    const reason = libc.unlink(this.#path) === 0 ? 0 : errno();
    if (reason !== 0 && reason !== ENOENT) {
      throw this.#disk.failed("store.delete", `chunk ${hex(hash)}`, reason);
    }
    if (this.#cacheIndex.find("chunk", hash)) this.#cacheIndex.remove("chunk", hash);
    return reason === 0;
  }

  stats(): CasStats {
    const totals = this.#cacheIndex.totals();
    return {
      chunks: totals.chunks,
      chunkBytes: totals.chunkBytes,
      referencedBytes: totals.referencedBytes,
      extentBytes: totals.extentDiskBytes,
      usedBytes: this.#space.usedBytes(),
      limitBytes: this.#space.limitBytes,
    };
  }

  /** Sets `#path` to the chunk's file. */
  #locate(hash: Uint8Array, op: string): void {
    if (hash.length !== this.#hash.bytes) {
      throw new MusicfsError(
        "invalid",
        `Cannot look for chunk ${hex(hash)}: a name by ${this.#hash.name} has ` +
          `${this.#hash.bytes} bytes, not ${hash.length}`,
        { op, subject: hex(hash) },
      );
    }
    const path = this.#path;
    const nameAt = this.#folderAt + 3;
    writeHex(hash, path, nameAt);
    path[this.#folderAt] = path[nameAt] ?? 0;
    path[this.#folderAt + 1] = path[nameAt + 1] ?? 0;
  }

  /** Whether the file at `#path` holds exactly `bytes`. */
  #holds(bytes: Uint8Array<ArrayBuffer>): boolean {
    const onDisk = this.#scratch.subarray(0, bytes.length + 1);
    if (this.#read(onDisk) !== bytes.length) return false;
    return libc.memcmp(onDisk, bytes, BigInt(bytes.length)) === 0;
  }

  /** Fills `into` from the file at `#path`; bytes read, or `-errno`. */
  #read(into: Uint8Array<ArrayBuffer>): number {
    const descriptor = checked(libc.open(this.#path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0));
    if (descriptor < 0) return descriptor;
    const read = preadFully(descriptor, into, 0);
    libc.close(descriptor);
    return read;
  }

  /** Puts `bytes` at `#path`, whatever lay there; 0, or the errno with nothing changed. */
  #write(bytes: Uint8Array<ArrayBuffer>): number {
    const reason = this.#writeTmp(bytes);
    if (reason !== 0) return reason;
    failpoint("store.put.before_rename");
    let result = checked(libc.rename(this.#tmpPath, this.#path));
    const folder = result === -ENOENT ? this.#folder() : undefined;
    if (folder !== undefined && makeFolder(folder)) {
      this.#space.madeFolder(folder);
      result = checked(libc.rename(this.#tmpPath, this.#path));
    }
    if (result < 0) libc.unlink(this.#tmpPath);
    return -result;
  }

  #writeTmp(bytes: Uint8Array<ArrayBuffer>): number {
    const descriptor = this.#openTmp();
    if (descriptor < 0) return -descriptor;
    let written: number;
    let closed: number;
    try {
      failpoint("store.put.before_write");
      written = pwriteFully(descriptor, bytes, 0);
    } finally {
      // Some filesystems tell only now that there was no room.
      closed = checked(libc.close(descriptor));
    }
    const result = Math.min(written, closed);
    if (result < 0) libc.unlink(this.#tmpPath);
    return result < 0 ? -result : 0;
  }

  #openTmp(): number {
    const open = (): number =>
      checked(libc.open(this.#tmpPath, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600));
    const descriptor = open();
    if (descriptor === -EEXIST) {
      // Left by a crash, or by a fault in the middle of a put.
      libc.unlink(this.#tmpPath);
      return open();
    }
    if (descriptor === -ENOENT && makeFolder(`${this.#cacheDir}/tmp`)) return open();
    return descriptor;
  }

  /** Length of the file at `#path`; -1 if there is none. */
  #fileLength(): number {
    const status = this.#status;
    const flags = AT_SYMLINK_NOFOLLOW;
    if (libc.statx(AT_FDCWD, this.#path, flags, STATX_SIZE, status) !== 0) return -1;
    return Number(new DataView(status.buffer).getBigUint64(STX_SIZE_AT, true));
  }

  /** The folder that `#path` lies in. */
  #folder(): string {
    return new TextDecoder().decode(this.#path.subarray(0, this.#folderAt + 2));
  }

  #record(hash: Uint8Array, length: number): void {
    this.#cacheIndex.record({
      kind: "chunk",
      id: hash,
      diskBytes: length,
      contentBytes: length,
      owner: 0,
    });
  }

  #noteUse(hash: Uint8Array, length: number): void {
    if (this.#cacheIndex.find("chunk", hash)) this.#cacheIndex.use("chunk", hash);
    else this.#record(hash, length);
  }

  /** Deletes a damaged chunk; why that failed, if it did. */
  #discard(hash: Uint8Array): unknown {
    try {
      this.delete(hash);
    } catch (error) {
      if (!(error instanceof MusicfsError)) throw error;
      return error;
    }
  }
}

function requireChunkLength(length: number, hash: Uint8Array): void {
  if (length >= 1 && length <= CHUNK_BYTES_MAX) return;
  throw new MusicfsError(
    "invalid",
    `Chunk ${hex(hash)} cannot have ${length} bytes: 1 to ${CHUNK_BYTES_MAX} are possible`,
    { op: "store.length", subject: hex(hash) },
  );
}

function missing(hash: Uint8Array): MusicfsError {
  return new MusicfsError("not_found", `Chunk ${hex(hash)} is not in the cache`, {
    op: "store.get",
    subject: hex(hash),
  });
}
