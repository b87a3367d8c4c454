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

/** Bytes of the ballast on a disk of any size, and the part of a small disk that it may take. */
const BALLAST_BYTES_MAX = 4 * 1024 * 1024;
const BALLAST_BYTES_MIN = 256 * 1024;
const DISK_PART = 32;

/** The ballast is put back when this many times its size is free. */
const FREE_TIMES_MIN = 4;

/**
 * A file that takes up room until the disk is full.
 *
 * LMDB copies what it changes, so on a full disk not even removing records works: measured on a
 * 20 MiB tmpfs, one removal a transaction went through, ten or more did not, and a hundred did
 * once 1 MiB had been freed. The ballast is that room. All calls are synchronous and never throw.
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
    const bytes = ballastBytes(disk.totalBytes);
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

/** Size of the ballast on a disk of `totalBytes`. */
export function ballastBytes(totalBytes: number): number {
  const part = Math.floor(totalBytes / DISK_PART);
  return Math.max(BALLAST_BYTES_MIN, Math.min(BALLAST_BYTES_MAX, part));
}
