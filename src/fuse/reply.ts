import { FUSE_READ_BYTES_MAX } from "../base/limits.ts";
import { nodeIdOf } from "../library/node_id.ts";
import type { Entry } from "../library/entry.ts";
import {
  ATTR_BYTES,
  ATTR_OUT_BYTES,
  DIRENT_BYTES,
  DIRENT_TYPE,
  ENTRY_OUT_BYTES,
  MODE_TYPE,
  OPEN_OUT_BYTES,
  OUT_HEADER_BYTES,
  STATFS_OUT_BYTES,
  STATX_OUT_BYTES,
  writeU64,
} from "./protocol.ts";

/** What `answer` returns when there is nothing to send. */
export const SILENT = 0;

/** What `answer` returns when only the main thread can answer: an origin must be asked. */
export const DEFERRED = -1;

/** Who owns what is shown, and how long the kernel may believe it without asking. */
export interface Presentation {
  uid: number;
  gid: number;
  /** Permission bits to leave out. */
  umask: number;
  /** How long names, attributes and missing names are cached, in s; changes are pushed. */
  ttlS: number;
}

const NS_PER_S = 1_000_000_000n;
const FILE_MODE = 0o444;
const FOLDER_MODE = 0o555;
const BLOCK_BYTES = 4096;

/** `STATX_BASIC_STATS`: all that a `struct stat` has. */
const STATX_BASIC = 0x7ff;

const encoder = new TextEncoder();

/** A whole reply that says no to the request with this `unique`; `errno` is positive. */
export function errorReply(
  unique: { low: number; high: number },
  errno: number,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(OUT_HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, OUT_HEADER_BYTES, true);
  view.setInt32(4, -errno, true);
  view.setUint32(8, unique.low, true);
  view.setUint32(12, unique.high, true);
  return bytes;
}

/**
 * One reply after another, laid out in one buffer: the header, then the body from byte 16 on.
 *
 * The writing methods return the reply's length in bytes; `bytes.subarray(0, length)` is sent.
 */
export class Reply {
  readonly bytes: Uint8Array<ArrayBuffer> = new Uint8Array(OUT_HEADER_BYTES + FUSE_READ_BYTES_MAX);
  readonly view: DataView = new DataView(this.bytes.buffer);

  constructor(readonly presentation: Presentation) {}

  /** Sets the `unique` that the reply answers, as two halves. */
  begin(uniqueLow: number, uniqueHigh: number): void {
    this.view.setUint32(8, uniqueLow, true);
    this.view.setUint32(12, uniqueHigh, true);
  }

  /** A reply whose body of `bodyBytes` is in place. */
  done(bodyBytes: number): number {
    this.view.setUint32(0, OUT_HEADER_BYTES + bodyBytes, true);
    this.view.setInt32(4, 0, true);
    return OUT_HEADER_BYTES + bodyBytes;
  }

  /** A reply that says no; `errno` is positive. */
  error(errno: number): number {
    this.view.setUint32(0, OUT_HEADER_BYTES, true);
    this.view.setInt32(4, -errno, true);
    return OUT_HEADER_BYTES;
  }

  /** `struct fuse_entry_out` for a name that exists, or, with undefined, for one that does not. */
  entry(entry: Entry | undefined): number {
    this.#writeEntry(OUT_HEADER_BYTES, entry);
    return this.done(ENTRY_OUT_BYTES);
  }

  attributes(entry: Entry): number {
    const at = OUT_HEADER_BYTES;
    writeU64(this.view, at, this.presentation.ttlS);
    writeU64(this.view, at + 8, 0);
    this.#writeAttr(at + 16, entry);
    return this.done(ATTR_OUT_BYTES);
  }

  opened(handle: number, openFlags: number, backingId = 0): number {
    writeU64(this.view, OUT_HEADER_BYTES, handle);
    this.view.setUint32(OUT_HEADER_BYTES + 8, openFlags, true);
    this.view.setInt32(OUT_HEADER_BYTES + 12, backingId, true);
    return this.done(OPEN_OUT_BYTES);
  }

  text(text: string): number {
    const { written } = encoder.encodeInto(text, this.bytes.subarray(OUT_HEADER_BYTES));
    return this.done(written);
  }

  number(value: number): number {
    writeU64(this.view, OUT_HEADER_BYTES, value);
    return this.done(8);
  }

  /** `struct fuse_kstatfs`: as full as the library is large, and nothing free. */
  filesystem(totals: { files: number; folders: number; bytes: number }): number {
    const at = OUT_HEADER_BYTES;
    this.bytes.fill(0, at, at + STATFS_OUT_BYTES);
    writeU64(this.view, at, Math.ceil(totals.bytes / BLOCK_BYTES));
    writeU64(this.view, at + 24, totals.files + totals.folders);
    this.view.setUint32(at + 40, BLOCK_BYTES, true);
    this.view.setUint32(at + 44, 255, true);
    this.view.setUint32(at + 48, BLOCK_BYTES, true);
    return this.done(STATFS_OUT_BYTES);
  }

  /** `struct fuse_statx_out`. There is no birth time: no origin keeps one that can be trusted. */
  statx(entry: Entry): number {
    const { view, presentation } = this;
    const at = OUT_HEADER_BYTES;
    this.bytes.fill(0, at, at + STATX_OUT_BYTES);
    writeU64(view, at, presentation.ttlS);
    const stat = at + 32;
    view.setUint32(stat, STATX_BASIC, true);
    view.setUint32(stat + 4, BLOCK_BYTES, true);
    view.setUint32(stat + 16, 1, true);
    view.setUint32(stat + 20, presentation.uid, true);
    view.setUint32(stat + 24, presentation.gid, true);
    view.setUint16(stat + 28, this.#mode(entry), true);
    writeU64(view, stat + 32, entry.id);
    writeU64(view, stat + 40, sizeOf(entry));
    writeU64(view, stat + 48, Math.ceil(sizeOf(entry) / 512));
    for (const time of [64, 96, 112]) {
      view.setBigInt64(stat + time, secondsOf(entry.mtimeNs), true);
      view.setUint32(stat + time + 8, nanosecondsOf(entry.mtimeNs), true);
    }
    return this.done(STATX_OUT_BYTES);
  }

  /**
   * Appends a directory entry at `at` if the whole of it fits in front of `end`.
   *
   * @returns where the next one goes, or -1 if there is no room
   */
  directoryEntry(
    at: number,
    end: number,
    item: { cookie: number; name: string; entry: Entry; plus: boolean; describe: boolean },
  ): number {
    const head = item.plus ? ENTRY_OUT_BYTES : 0;
    const nameAt = at + head + DIRENT_BYTES;
    if (nameAt + 1 > end) return -1;
    const { read, written } = encoder.encodeInto(item.name, this.bytes.subarray(nameAt, end));
    if (read < item.name.length) return -1;
    const next = nameAt + ((written + 7) & ~7);
    if (next > end) return -1;
    if (item.plus) {
      if (item.describe) this.#writeEntry(at, item.entry);
      else this.bytes.fill(0, at, at + ENTRY_OUT_BYTES);
    }
    writeU64(this.view, at + head, item.entry.id);
    writeU64(this.view, at + head + 8, item.cookie);
    this.view.setUint32(at + head + 16, written, true);
    this.view.setUint32(at + head + 20, DIRENT_TYPE[item.entry.kind], true);
    this.bytes.fill(0, nameAt + written, next);
    return next;
  }

  #writeEntry(at: number, entry: Entry | undefined): void {
    const { view, presentation } = this;
    if (!entry) this.bytes.fill(0, at, at + ENTRY_OUT_BYTES);
    writeU64(view, at, entry ? nodeIdOf(entry.id, entry.sequence) : 0);
    writeU64(view, at + 8, 0);
    writeU64(view, at + 16, presentation.ttlS);
    writeU64(view, at + 24, presentation.ttlS);
    writeU64(view, at + 32, 0);
    if (entry) this.#writeAttr(at + 40, entry);
  }

  /** `struct fuse_attr`, 88 bytes. Folders have one link, which tells `find` not to count on more. */
  #writeAttr(at: number, entry: Entry): void {
    const { view, presentation } = this;
    const size = sizeOf(entry);
    const seconds = secondsOf(entry.mtimeNs);
    const nanoseconds = nanosecondsOf(entry.mtimeNs);
    writeU64(view, at, entry.id);
    writeU64(view, at + 8, size);
    writeU64(view, at + 16, Math.ceil(size / 512));
    for (let i = 24; i <= 40; i += 8) view.setBigInt64(at + i, seconds, true);
    for (let i = 48; i <= 56; i += 4) view.setUint32(at + i, nanoseconds, true);
    view.setUint32(at + 60, this.#mode(entry), true);
    view.setUint32(at + 64, 1, true);
    view.setUint32(at + 68, presentation.uid, true);
    view.setUint32(at + 72, presentation.gid, true);
    view.setUint32(at + 76, 0, true);
    view.setUint32(at + 80, BLOCK_BYTES, true);
    view.setUint32(at + ATTR_BYTES - 4, 0, true);
  }

  #mode(entry: Entry): number {
    if (entry.kind === "symlink") return MODE_TYPE.symlink | 0o777;
    const mode = entry.kind === "folder" ? FOLDER_MODE : FILE_MODE;
    return MODE_TYPE[entry.kind] | (mode & ~this.presentation.umask);
  }
}

/** Whole seconds of a time in ns, rounded towards the past, also before 1970. */
function secondsOf(timeNs: bigint): bigint {
  return (timeNs - BigInt(nanosecondsOf(timeNs))) / NS_PER_S;
}

function nanosecondsOf(timeNs: bigint): number {
  const rest = timeNs % NS_PER_S;
  return Number(rest < 0n ? rest + NS_PER_S : rest);
}

/** What `st_size` says: a link's is the length of its target in bytes. */
function sizeOf(entry: Entry): number {
  return entry.kind === "symlink" ? encoder.encode(entry.target).length : entry.size;
}
