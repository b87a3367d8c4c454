import {
  checked,
  cString,
  libc,
  O_CREAT,
  O_RDWR,
  openFile,
  statFilesystem,
  statPath,
} from "../base/posix.ts";

/** Least and most bytes of the ballast; between, it is a part of the index. */
const BALLAST_BYTES_MIN = 1024 * 1024;
const BALLAST_BYTES_MAX = 8 * 1024 * 1024;
const INDEX_PART = 8;

/** Of a small disk it takes no more than this part. */
const DISK_PART = 16;

/** The ballast is put back when this many times its size is free. */
const FREE_TIMES_MIN = 4;

/**
 * A file that takes up room until the disk is full.
 *
 * LMDB copies what it changes, so that on a full disk not even records can be removed. The ballast
 * is the room for that: 1 MiB is enough for a hundred removals in a transaction, and it grows with
 * the index. All calls are synchronous and never throw.
 */
export class Ballast {
  readonly #path: string;
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
    this.#path = `${dir}/ballast`;
  }

  /** Deletes the file; bytes that this freed. */
  release(): number {
    const status = statPath(this.#path);
    if (typeof status === "number") return 0;
    return libc.unlink(cString(this.#path)) === 0 ? status.diskBytes : 0;
  }

  /** Puts the file back if there is plenty of room; whether it is there now. */
  restore(): boolean {
    const disk = statFilesystem(this.#dir);
    if (typeof disk === "number") return false;
    const index = statPath(`${this.#dir}/data.mdb`);
    const indexBytes = typeof index === "number" ? 0 : index.size;
    const bytes = ballastBytes(indexBytes, disk.totalBytes);
    const status = statPath(this.#path);
    if (typeof status !== "number" && status.diskBytes >= bytes) return true;
    if (disk.freeBytes < bytes * FREE_TIMES_MIN) return false;
    const descriptor = openFile(this.#path, O_RDWR | O_CREAT);
    if (descriptor < 0) return false;
    const result = checked(libc.fallocate(descriptor, 0, 0n, BigInt(bytes)));
    libc.close(descriptor);
    if (result === 0) return true;
    this.release();
    return false;
  }
}

/** Size of the ballast beside an index of `indexBytes` on a disk of `diskBytes`. */
export function ballastBytes(indexBytes: number, diskBytes: number): number {
  const wanted = Math.max(BALLAST_BYTES_MIN, Math.floor(indexBytes / INDEX_PART));
  return Math.min(wanted, BALLAST_BYTES_MAX, Math.floor(diskBytes / DISK_PART));
}
