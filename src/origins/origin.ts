import type { ByteRange } from "../base/bytes.ts";

/** What an origin holds under one name. */
export type EntryKind = "file" | "folder" | "symlink";

/** One name as an origin reports it. */
export interface OriginEntry {
  /** Path below the origin's root: `/`-separated, no leading or trailing `/`, no `.` or `..`. */
  path: string;
  kind: EntryKind;
  /** Size in bytes; 0 for what is not a file. */
  size: number;
  /** Time of the last change in ns since 1970; 0 where the origin has none. */
  mtimeNs: bigint;
  /** Changes whenever the content does: an ETag, or size and mtime. "" for what is not a file. */
  version: string;
  /** Where a symlink points, relative to its own folder; "" for all others. */
  target: string;
}

/** One version of one file at an origin, as reads name it. */
export interface OriginFile {
  path: string;
  size: number;
  version: string;
}

/** What every call on an origin accepts. */
export interface CallOptions {
  /** Ends the call early; it then throws the signal's reason. */
  signal: AbortSignal;
  /** Called whenever bytes or names have arrived: what flows is not hanging. Must not throw. */
  onProgress?: (() => void) | undefined;
  /** Whether nobody waits for it: it then queues behind what somebody waits for. */
  isBackground?: boolean | undefined;
}

/**
 * A place that music is read from. Origins are read-only and never write to disk.
 *
 * Every method throws `MusicfsError`; a plain `Error` from an origin is a bug in it.
 * Retrying, time limits, health and failover are wrappers with this same interface, so an
 * implementation makes one attempt and reports what happened.
 *
 * `tests/contracts/origin_contract.ts` checks each rule written here.
 */
export interface Origin {
  /** Identity from the configuration: `name`, else the URL without credentials and options. */
  readonly name: string;

  /**
   * Yields what lies directly in `folder` ("" is the root), in no order, each name once.
   *
   * Throws `not_found` if the folder is missing and `invalid` if it is not a folder. When the
   * iteration ends without an error the listing was complete; entries may be deleted on its word.
   */
  list(folder: string, options: CallOptions): AsyncIterable<OriginEntry>;

  /** Describes one name. Throws `not_found` if it is missing. */
  stat(path: string, options: CallOptions): Promise<OriginEntry>;

  /**
   * Reads exactly `range.length` bytes of the version `file.version`.
   *
   * Throws `not_found` if the file is gone, `changed` if it has another version now, and
   * `invalid` if the range reaches past `file.size`: an origin never returns short. Where a body
   * breaks off, the error is a `PartialRead` with the bytes that came.
   */
  read(file: OriginFile, range: ByteRange, options: CallOptions): Promise<Uint8Array<ArrayBuffer>>;
}
