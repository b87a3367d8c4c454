/**
 * The FUSE kernel protocol, as far as a read-only filesystem speaks it: numbers and layouts, in
 * host byte order. Source: include/uapi/linux/fuse.h, 7.45 (Linux 6.18).
 */

/** The newest minor version that musicfs knows; the kernel may be older or newer. */
export const PROTOCOL_MAJOR = 7;
export const PROTOCOL_MINOR = 45;

/** `enum fuse_opcode`. */
export const OPCODE = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  REMOVEXATTR: 24,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  TMPFILE: 51,
  STATX: 52,
} as const;

/** Requests that would change something: a read-only filesystem says `EROFS`. */
export const WRITING_OPCODES: ReadonlySet<number> = new Set([
  OPCODE.SETATTR,
  OPCODE.SYMLINK,
  OPCODE.MKNOD,
  OPCODE.MKDIR,
  OPCODE.UNLINK,
  OPCODE.RMDIR,
  OPCODE.RENAME,
  OPCODE.LINK,
  OPCODE.WRITE,
  OPCODE.SETXATTR,
  OPCODE.REMOVEXATTR,
  OPCODE.CREATE,
  OPCODE.FALLOCATE,
  OPCODE.RENAME2,
  OPCODE.COPY_FILE_RANGE,
  OPCODE.TMPFILE,
]);

/** Requests that the kernel expects no reply to. */
export const SILENT_OPCODES: ReadonlySet<number> = new Set([
  OPCODE.FORGET,
  OPCODE.BATCH_FORGET,
  OPCODE.INTERRUPT,
]);

/** INIT flags, bits 0 to 31; bit numbers as in fuse.h. */
export const INIT_FLAG = {
  ASYNC_READ: 1 << 0,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  ASYNC_DIO: 1 << 15,
  PARALLEL_DIROPS: 1 << 18,
  MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23,
  EXPLICIT_INVAL_DATA: 1 << 25,
  INIT_EXT: 1 << 30,
} as const;

/** INIT flags, bits 32 to 63, as bits of `flags2`. */
export const INIT_FLAG2 = {
  PASSTHROUGH: 1 << (37 - 32),
  HAS_RESEND: 1 << (39 - 32),
} as const;

/** What a reply to OPEN and OPENDIR says of the handle. */
export const OPEN_FLAG = {
  DIRECT_IO: 1 << 0,
  KEEP_CACHE: 1 << 1,
  CACHE_DIR: 1 << 3,
  NOFLUSH: 1 << 5,
  PASSTHROUGH: 1 << 7,
} as const;

/** `enum fuse_notify_code`: messages to the kernel that answer no request. */
export const NOTIFY = { INVAL_INODE: 2, INVAL_ENTRY: 3, RESEND: 7 } as const;

/** `struct fuse_in_header`, 40 bytes: every request begins with it. */
export const IN_HEADER_BYTES = 40;

/** `struct fuse_out_header`, 16 bytes: length, error, unique. */
export const OUT_HEADER_BYTES = 16;

export const ATTR_BYTES = 88;
export const ATTR_OUT_BYTES = 16 + ATTR_BYTES;
export const ENTRY_OUT_BYTES = 40 + ATTR_BYTES;
export const OPEN_OUT_BYTES = 16;
export const INIT_OUT_BYTES = 64;
export const STATFS_OUT_BYTES = 80;
export const STATX_OUT_BYTES = 288;

/** A directory entry before its name; entries are padded to 8 bytes. */
export const DIRENT_BYTES = 24;

/** `d_type` of directory entries and the format bits of `st_mode`, by kind. */
export const DIRENT_TYPE = { file: 8, folder: 4, symlink: 10 } as const;
export const MODE_TYPE = { file: 0o100000, folder: 0o040000, symlink: 0o120000 } as const;

/** `ioctl(2)` numbers of /dev/fuse. Source: `_IOW(229, 1, struct fuse_backing_map)` and `_IOW(229, 2, u32)`. */
export const IOCTL_BACKING_OPEN = 0x4010_e501n;
export const IOCTL_BACKING_CLOSE = 0x4004_e502n;

const TWO_32 = 2 ** 32;

/** Reads a u64 that is known to be below 2^53. */
export function readU64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * TWO_32;
}

/**
 * `FUSE_UNIQUE_RESEND`, as a bit of the high half of `unique`: a daemon has read this request before,
 * and not answered it.
 */
const RESENT_BIT = 0x8000_0000;

/** A request's `unique` as the kernel first gave it, and whether it was sent before. */
export interface RequestId {
  unique: number;
  isResent: boolean;
}

/** Identifies the request that begins at byte 0 of `request`; uniques past 2^53 are not told apart. */
export function requestIdOf(request: DataView): RequestId {
  const high = request.getUint32(12, true);
  const unique = request.getUint32(8, true) + (high & ~RESENT_BIT) * TWO_32;
  return {
    unique: Number.isSafeInteger(unique) ? unique : 0,
    isResent: (high & RESENT_BIT) !== 0,
  };
}

/** Writes a whole number from 0 to 2^53. */
export function writeU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % TWO_32, true);
  view.setUint32(at + 4, Math.floor(value / TWO_32), true);
}
