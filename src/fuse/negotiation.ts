import { FUSE_READ_BYTES_MAX } from "../base/limits.ts";
import {
  IN_HEADER_BYTES,
  INIT_FLAG,
  INIT_FLAG2,
  INIT_OUT_BYTES,
  PROTOCOL_MAJOR,
  PROTOCOL_MINOR,
} from "./protocol.ts";

/** Requests of readers and of read-ahead that may wait at once, and where the kernel slows down. */
const BACKGROUND_MAX = 64;
const CONGESTION_THRESHOLD = 48;

const PAGE_BYTES = 4096;

/** What kernel and daemon agreed on; persisted, because INIT comes once in a mount's life. */
export interface Negotiated {
  minor: number;
  flags: number;
  flags2: number;
  /** Bytes of the longest READ. */
  readBytesMax: number;
  /** Bytes that the kernel reads ahead of a reader at most. */
  readAheadBytes: number;
  /** Whether OPEN may hand the kernel a file to read itself. */
  passthrough: boolean;
  /** Whether a successor may ask for the requests that its predecessor still owed. */
  resend: boolean;
}

const WANTED = INIT_FLAG.ASYNC_READ | INIT_FLAG.DO_READDIRPLUS | INIT_FLAG.READDIRPLUS_AUTO |
  INIT_FLAG.ASYNC_DIO | INIT_FLAG.PARALLEL_DIROPS | INIT_FLAG.MAX_PAGES |
  INIT_FLAG.CACHE_SYMLINKS | INIT_FLAG.EXPLICIT_INVAL_DATA | INIT_FLAG.INIT_EXT;

/**
 * Answers `struct fuse_init_in` (at `IN_HEADER_BYTES` of `request`) with what both sides can do.
 *
 * @returns undefined for a kernel of another major version, or one too old for 7.31 (Linux 5.4)
 */
export function negotiate(
  request: DataView,
  options: { passthrough: boolean; readAheadBytes: number },
): Negotiated | undefined {
  const at = IN_HEADER_BYTES;
  const major = request.getUint32(at, true);
  const minor = request.getUint32(at + 4, true);
  if (major !== PROTOCOL_MAJOR || minor < 31) return undefined;
  const offered = request.getUint32(at + 12, true);
  const extended = (offered & INIT_FLAG.INIT_EXT) !== 0 && minor >= 36;
  const offered2 = extended ? request.getUint32(at + 16, true) : 0;
  const flags = offered & WANTED;
  const wanted2 = INIT_FLAG2.HAS_RESEND | (options.passthrough ? INIT_FLAG2.PASSTHROUGH : 0);
  const flags2 = offered2 & wanted2;
  return {
    minor: Math.min(minor, PROTOCOL_MINOR),
    flags,
    flags2,
    readAheadBytes: options.readAheadBytes,
    readBytesMax: (flags & INIT_FLAG.MAX_PAGES) !== 0 ? FUSE_READ_BYTES_MAX : 32 * PAGE_BYTES,
    passthrough: (flags2 & INIT_FLAG2.PASSTHROUGH) !== 0,
    resend: (flags2 & INIT_FLAG2.HAS_RESEND) !== 0,
  };
}

/**
 * Writes `struct fuse_init_out`, 64 bytes, at `at`.
 *
 * `max_stack_depth` 1 lets the backing file of a passthrough lie on a disk's own filesystem, not
 * on one stacked above another.
 */
export function writeInitOut(reply: DataView, at: number, agreed: Negotiated): void {
  for (let i = 0; i < INIT_OUT_BYTES; i += 4) reply.setUint32(at + i, 0, true);
  reply.setUint32(at, PROTOCOL_MAJOR, true);
  reply.setUint32(at + 4, agreed.minor, true);
  reply.setUint32(at + 8, agreed.readAheadBytes, true);
  reply.setUint32(at + 12, agreed.flags, true);
  reply.setUint16(at + 16, BACKGROUND_MAX, true);
  reply.setUint16(at + 18, CONGESTION_THRESHOLD, true);
  reply.setUint32(at + 20, agreed.readBytesMax, true);
  reply.setUint32(at + 24, 1, true);
  reply.setUint16(at + 28, agreed.readBytesMax / PAGE_BYTES, true);
  reply.setUint32(at + 32, agreed.flags2, true);
  reply.setUint32(at + 36, agreed.passthrough ? 1 : 0, true);
}
