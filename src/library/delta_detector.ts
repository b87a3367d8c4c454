/**
 * Compares what the library knows with what an origin lists. Pure: no clock, no I/O.
 *
 * Nothing an origin says is trusted: names that could not be names in the tree are refused.
 */

import type { OriginEntry } from "../origins/origin.ts";
import type { EntrySource } from "./entry.ts";
import { soleSource, TEXT_BYTES_MAX } from "./entry_record.ts";
import { PackedEntries } from "./packed_entries.ts";

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

/** What has changed in one folder at one origin. Places are those of the listing. */
export interface FolderDelta {
  /** Names that are new at this origin, in the order of their names. */
  added: Uint32Array;
  /** Size, time (ns), version or target differs. */
  modified: number[];
  /** What was a file is a folder now, or the like. */
  replaced: { id: number; place: number }[];
  /** Ids of candidates for removal: only a complete and healthy listing may say so. */
  missing: number[];
  /** Ids of folders that were there before and still are, but for hidden ones. */
  folders: number[];
}

/** The file's name: the last part of its path. */
export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** A folder's listing by an origin: each name once, and none that is hostile. */
export class Listing {
  readonly #entries = new PackedEntries();
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

  /** Names that were taken. */
  get count(): number {
    return this.#entries.count;
  }

  add(entry: OriginEntry): void {
    const name = entry.path.slice(this.#prefix.length);
    if (this.#hidden.has(name)) return;
    const isGood = entry.path.startsWith(this.#prefix) && isSoundName(name, entry);
    if (!isGood || !this.#entries.add({ ...entry, name })) {
      this.refused += 1;
      this.firstRefused ??= entry.path;
      return;
    }
    if (entry.kind === "file") this.files += 1;
    else if (entry.kind === "folder") this.folders += 1;
  }

  /** The place of a name; -1 if it is not there. */
  find(name: string): number {
    return this.#entries.find(name);
  }

  /** The place of a name in UTF-8, whose entry is just what a source is; -1 if there is none. */
  findJust(name: Uint8Array, source: Parameters<PackedEntries["isJust"]>[1]): number {
    const place = this.#entries.findBytes(name);
    return place >= 0 && this.#entries.isJust(place, source) ? place : -1;
  }

  at(place: number): OriginEntry {
    const { name, ...entry } = this.#entries.at(place);
    return { path: this.#prefix + name, ...entry };
  }

  /** Puts places into the order of their names. O(n) for an origin that lists them in order. */
  inOrder(places: Uint32Array): Uint32Array {
    const compare = (a: number, b: number): number => this.#entries.compareNames(a, b);
    const isSorted = places.every((place, i) => i === 0 || compare(places[i - 1] ?? 0, place) < 0);
    return isSorted ? places : places.sort(compare);
  }
}

/**
 * Finds what differs between a folder's known children and its complete listing.
 *
 * `compare` takes every known child once, so that a great folder can be compared piece by piece;
 * `finish` then gives what remains.
 */
export class DeltaDetector {
  readonly #listing: Listing;
  /** Of each place, whether its name was known. */
  readonly #known: Uint8Array;
  #knownCount = 0;
  readonly #delta: FolderDelta = {
    added: new Uint32Array(),
    modified: [],
    replaced: [],
    missing: [],
    folders: [],
  };

  constructor(listing: Listing) {
    this.#listing = listing;
    this.#known = new Uint8Array(listing.count);
  }

  /**
   * Takes a child as it is kept, if this origin is all it has and lists it just so: most are, and
   * need no decoding. False if `compare` must look at it.
   */
  takeUnchanged(id: number, record: Uint8Array, origin: number): boolean {
    const source = soleSource(record);
    if (source === undefined || source.origin !== origin) return false;
    const place = this.#listing.findJust(source.name, source);
    if (place < 0 || this.#known[place] === 1) return false;
    this.#known[place] = 1;
    this.#knownCount += 1;
    if (source.kind === "folder") this.#delta.folders.push(id);
    return true;
  }

  compare({ id, name, source, hidden }: KnownChild): void {
    const place = this.#listing.find(name);
    if (place < 0 || this.#known[place] === 1) {
      this.#delta.missing.push(id);
      return;
    }
    this.#known[place] = 1;
    this.#knownCount += 1;
    const entry = this.#listing.at(place);
    if (entry.kind !== source.kind) this.#delta.replaced.push({ id, place });
    else {
      if (entry.kind === "folder" && !hidden) this.#delta.folders.push(id);
      if (isModified(source, entry)) this.#delta.modified.push(place);
    }
  }

  finish(): FolderDelta {
    const added = new Uint32Array(this.#listing.count - this.#knownCount);
    let count = 0;
    for (let place = 0; place < this.#known.length; place += 1) {
      if (this.#known[place] === 0) added[count++] = place;
    }
    return { ...this.#delta, added: this.#listing.inOrder(added) };
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

/** Whether an entry makes sense under this name; nothing an origin says is trusted. */
export function isSoundName(name: string, entry: OriginEntry): boolean {
  return isName(name) && isSound(entry);
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
