/** Bounds of queues, caches and requests, in one place so that memory can be added up. */

/** Bytes of one block of an extent: the least that is fetched, checked and freed. */
export const EXTENT_BLOCK_BYTES = 16 * 1024;

/** Longest range fetched for a reader that has not yet shown that it reads on, in bytes. */
export const SMALL_FETCH_BYTES_MAX = 256 * 1024;

/** Longest range of one origin read, in bytes: 16 at once are 16 MiB of memory. */
export const FETCH_BYTES_MAX = 1024 * 1024;

/** Bytes a handle must have read in sequence before read-ahead grows past the small fetch. */
export const SEQUENTIAL_BYTES_MIN = 1024 * 1024;

/** Origin reads under way at once, for each origin. */
export const ORIGIN_READS_MAX = 16;

/** Folders listed at once in a scan, for each origin. */
export const SCAN_FOLDERS_MAX = 16;

/** Longest READ the kernel is allowed to send, in bytes (256 pages). */
export const FUSE_READ_BYTES_MAX = 1024 * 1024;

/** Files whose chunk lists the FUSE worker keeps decoded. */
export const WORKER_VIEWS_MAX = 1024;
