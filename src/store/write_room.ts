import { checked, libc, O_RDWR, openFile, statDescriptor, statFilesystem } from "../base/posix.ts";

/** What a transaction did to one table, and how large that table is now. */
export interface TableChange {
  /** Puts and removals. */
  operations: number;
  /** Pages of the values that are too long to stand in a leaf. */
  overflowPages: number;
  branchPages: number;
  leafPages: number;
  /** Pages from the root to a record, both counted. */
  treeDepth: number;
}

const PAGE_BYTES = 4096;

/** The tree of tables, the free list's own pages, and splits. */
const PAGES_BESIDE = 16;

/** The free list has 8 bytes a free page, and lmdb-js keeps at most 125,000 of those at hand. */
const FREE_LIST_BYTES_MAX = 1024 * 1024;

/** Kept free where room cannot be reserved, against others who write to the same disk. */
const MARGIN_BYTES = 1024 * 1024;

const FALLOC_FL_KEEP_SIZE = 1;
const EINTR = 4;
const ENOSPC = 28;
const ENOSYS = 38;
const EOPNOTSUPP = 95;

/**
 * Room on the disk for what LMDB is about to write.
 *
 * lmdb-js 3.5.6 must never see a write fail: it then formats a message of up to 125 bytes into a
 * buffer of 100 (`mdb_page_flush` in its mdb.c), and the process may die of it; a full ext4 of
 * 32 MiB did that. So the blocks are allocated before a commit, past the end of the file, which
 * stays as long as it is; a full or read-only disk then says no before LMDB has begun to write.
 */
export class WriteRoom {
  readonly #dir: string;
  readonly #descriptor: number;

  /** Opens data.mdb, which exists. */
  constructor(dir: string) {
    this.#dir = dir;
    this.#descriptor = openFile(`${dir}/data.mdb`, O_RDWR);
    // Pages that were given out and never written are holes.
    this.#allocate(0, this.#size());
  }

  /** Allocates what LMDB may write for `changes`; 0, or `-errno` if the disk refuses. */
  reserve(changes: readonly TableChange[]): number {
    if (this.#descriptor < 0) return this.#descriptor;
    const size = this.#size();
    const bytes = growthBytesMax(changes, size);
    const result = this.#allocate(size, bytes);
    if (result !== -EOPNOTSUPP && result !== -ENOSYS) return result;
    const disk = statFilesystem(this.#dir);
    if (typeof disk === "number") return disk;
    return disk.freeBytes < bytes + MARGIN_BYTES ? -ENOSPC : 0;
  }

  close(): void {
    if (this.#descriptor >= 0) libc.close(this.#descriptor);
  }

  #allocate(offset: number, bytes: number): number {
    if (bytes === 0) return 0;
    let result: number;
    do {
      result = checked(
        libc.fallocate(this.#descriptor, FALLOC_FL_KEEP_SIZE, BigInt(offset), BigInt(bytes)),
      );
    } while (result === -EINTR);
    return result;
  }

  #size(): number {
    const status = statDescriptor(this.#descriptor);
    return typeof status === "number" ? 0 : status.size;
  }
}

/**
 * The most by which a file of `fileBytes` can grow when `changes` are committed, in bytes: as if no
 * page that is free could be used again.
 */
export function growthBytesMax(changes: readonly TableChange[], fileBytes: number): number {
  let pages = PAGES_BESIDE;
  for (const { operations, overflowPages, branchPages, leafPages, treeDepth } of changes) {
    // An operation copies its leaf and the one it is split into or merged with, and the branches
    // above, which it has in common with others; and all together no more than the table has.
    const branches = Math.min(operations * treeDepth, branchPages);
    pages += Math.min(2 * operations + branches, leafPages + branchPages) + 2 + overflowPages;
  }
  return pages * PAGE_BYTES + Math.min(Math.ceil(fileBytes / 256), FREE_LIST_BYTES_MAX);
}

/** Pages that a value of `bytes` takes up beside its leaf; 0 for one that fits into it. */
export function overflowPagesOf(bytes: number): number {
  return bytes <= 1024 ? 0 : Math.ceil((bytes + 64) / PAGE_BYTES);
}
