/**
 * Compares what the library knows with what an origin lists. Pure: no clock, no I/O.
 *
 * Nothing an origin says is trusted: names that could not be names in the tree are refused.
 */

import type { OriginEntry } from "../origins/origin.ts";
import type { EntrySource } from "./entry.ts";
import { TEXT_BYTES_MAX } from "./entry_record.ts";

const NAME_BYTES_MAX = 255;
const INT64_MAX = 2n ** 63n - 1n;

/** A child of the folder that is compared, as this origin last had it. */
export interface KnownChild {
  id: number;
  name: string;
  source: EntrySource;
  /** Whether an origin of higher priority has something else under this name. */
  hidden: boolean;
}

/** A child that is there still, and what the origin says of it now. */
export interface ListedChild {
  id: number;
  entry: OriginEntry;
}

/** What has changed in one folder at one origin. */
export interface FolderDelta {
  /** Names that are new at this origin, in the order of their names. */
  added: OriginEntry[];
  /** Size, time (ns), version or target differs. */
  modified: ListedChild[];
  /** What was a file is a folder now, or the like. */
  replaced: ListedChild[];
  /** Candidates for removal: only a complete and healthy listing may say so. */
  missing: number[];
  /** Folders that were there before and still are, but for hidden ones. */
  folders: number[];
}

/** The file's name: the last part of its path. */
export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** A folder's listing by an origin: each name once, and none that is hostile. */
export class Listing {
  readonly entries = new Map<string, OriginEntry>();
  readonly #prefix: string;
  readonly #hidden: ReadonlySet<string>;
  /** Files and folders among the entries. */
  files = 0;
  folders = 0;
  /** Names that were refused, and the first of them, for the log. */
  refused = 0;
  firstRefused: string | undefined;

  /** `hidden` are the names that are left out. */
  constructor(folder: string, hidden: ReadonlySet<string>) {
    this.#prefix = folder === "" ? "" : `${folder}/`;
    this.#hidden = hidden;
  }

  add(entry: OriginEntry): void {
    const name = entry.path.slice(this.#prefix.length);
    if (this.#hidden.has(name)) return;
    if (
      !entry.path.startsWith(this.#prefix) || !isName(name) || !isSound(entry) ||
      this.entries.has(name)
    ) {
      this.refused += 1;
      this.firstRefused ??= entry.path;
      return;
    }
    if (entry.kind === "file") this.files += 1;
    else if (entry.kind === "folder") this.folders += 1;
    this.entries.set(name, entry);
  }
}

/**
 * Finds what differs between a folder's known children and its complete listing.
 *
 * `compare` takes every known child once, so that a great folder can be compared piece by piece;
 * `finish` then gives what remains. It takes the listing's entries out as it goes.
 */
export class DeltaDetector {
  readonly #remaining: Map<string, OriginEntry>;
  readonly #delta: FolderDelta = {
    added: [],
    modified: [],
    replaced: [],
    missing: [],
    folders: [],
  };

  constructor(listing: Listing) {
    this.#remaining = listing.entries;
  }

  compare({ id, name, source, hidden }: KnownChild): void {
    const entry = this.#remaining.get(name);
    if (entry === undefined) {
      this.#delta.missing.push(id);
      return;
    }
    this.#remaining.delete(name);
    if (entry.kind !== source.kind) this.#delta.replaced.push({ id, entry });
    else {
      if (entry.kind === "folder" && !hidden) this.#delta.folders.push(id);
      if (isModified(source, entry)) this.#delta.modified.push({ id, entry });
    }
  }

  finish(): FolderDelta {
    this.#delta.added = [...this.#remaining.values()];
    this.#delta.added.sort((a, b) => a.path < b.path ? -1 : 1);
    return this.#delta;
  }
}

/** Whether what the origin says now differs from what it said. */
export function isModified(source: EntrySource, entry: OriginEntry): boolean {
  return source.size !== entry.size || source.mtimeNs !== entry.mtimeNs ||
    source.version !== entry.version || source.target !== entry.target;
}

/** Whether this can be a name in the tree: 1 to 255 bytes of UTF-8 without "/" and NUL. */
export function isName(name: string): boolean {
  if (name === "" || name === "." || name === "..") return false;
  if (name.includes("/") || name.includes("\0") || !name.isWellFormed()) return false;
  return utf8Fits(name, NAME_BYTES_MAX);
}

function isSound({ size, mtimeNs, version, target, kind }: OriginEntry): boolean {
  if (!Number.isSafeInteger(size) || size < 0) return false;
  if (mtimeNs > INT64_MAX || mtimeNs < -INT64_MAX) return false;
  if (kind === "file") return utf8Fits(version, TEXT_BYTES_MAX) && target === "";
  if (size !== 0 || version !== "") return false;
  if (kind === "folder") return target === "";
  return target !== "" && !target.includes("\0") && !target.startsWith("/") &&
    utf8Fits(target, TEXT_BYTES_MAX - 1);
}

function utf8Fits(text: string, bytesMax: number): boolean {
  if (text.length * 3 <= bytesMax) return true;
  if (text.length > bytesMax) return false;
  return new TextEncoder().encode(text).length <= bytesMax;
}
