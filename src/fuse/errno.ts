import { type ErrorCode, MusicfsError } from "../base/errors.ts";

/** Linux error numbers, from `asm-generic/errno-base.h` and `errno.h`. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EAGAIN: 11,
  EACCES: 13,
  EBUSY: 16,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENOSPC: 28,
  EROFS: 30,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ENOTCONN: 107,
  ESTALE: 116,
} as const;

const ERRNO_BY_CODE = {
  not_found: ERRNO.ENOENT,
  denied: ERRNO.EACCES,
  unavailable: ERRNO.EIO,
  timed_out: ERRNO.EIO,
  changed: ERRNO.ESTALE,
  corrupt: ERRNO.EIO,
  full: ERRNO.ENOSPC,
  invalid: ERRNO.EINVAL,
} satisfies Record<ErrorCode, number>;

/** The positive errno that the kernel is told for `error`; `EIO` for a bug. */
export function errnoOf(error: unknown): number {
  return error instanceof MusicfsError ? ERRNO_BY_CODE[error.code] : ERRNO.EIO;
}

/**
 * The errno of a read that failed. A file that is gone, or that musicfs may not read, is `ESTALE`
 * or `EIO` to a reader that has it open, never `ENOENT` or `EACCES`: read(2) knows neither.
 */
export function readErrnoOf(error: unknown): number {
  const errno = errnoOf(error);
  return errno === ERRNO.ENOENT ? ERRNO.ESTALE : errno === ERRNO.ESTALE ? errno : ERRNO.EIO;
}
