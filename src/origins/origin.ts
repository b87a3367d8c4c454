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

/** Where a listing of everything goes on; only the origin that gave it out knows what it means. */
export interface TreeCursor {
  token: string;
  last: string;
}

/** A part of everything that an origin holds. */
export interface TreePage {
  /**
   * In the order of the bytes of their paths, where those of folders have a `/` at their end: what
   * lies below a folder stands together. A folder with something in it need not be named, and a
   * file may be named beside a folder of the same path, which is then what is meant.
   */
  entries: OriginEntry[];
  /** Where the next page begins; undefined on the last one. */
  next: TreeCursor | undefined;
}

/** What every call on an origin accepts. */
export interface CallOptions {
  /** Ends the call early; it then throws the signal's reason. */
  signal: AbortSignal;
  /** Called whenever bytes or names have arrived: what flows is not hanging. Must not throw. */
  onProgress?: (() => void) | undefined;
  /** Of `stat`: whether the file is read next, so that it may be opened beside. */
  isToBeRead?: boolean | undefined;
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

  /**
   * One page of all that lies below the root, for origins that can tell it much cheaper than folder
   * by folder; the first page has no cursor. Together the pages say what `list` says of each folder.
   *
   * Throws `invalid` where that turns out not to be possible: `list` then is.
   */
  listTree?(cursor: TreeCursor | undefined, options: CallOptions): Promise<TreePage>;

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
