import { sizeTimeVersion } from "../origins/size_time_version.ts";
import type { EntryKind, OriginEntry } from "../origins/origin.ts";

/** What is packed: an entry without the folder that it is in. */
export interface PackedEntry extends Omit<OriginEntry, "path"> {
  name: string;
}

const KINDS = ["file", "folder", "symlink"] as const satisfies readonly EntryKind[];
const KIND_BITS = 3;
/** The version is `sizeTimeVersion`. */
const DERIVED_VERSION = 4;

/** u8 kind and flags · u8 bytes of the name · u16 bytes of the text · f64 size · i64 mtime_ns */
const HEAD_BYTES = 20;

/** Bytes of the first block; each is twice as long as the one before, up to the longest. */
const BLOCK_BYTES_MIN = 4 * 1024;
const BLOCK_BITS = 18;
const BLOCK_BYTES_MAX = 2 ** BLOCK_BITS;

const SLOTS_MIN = 64;
const NAME_BYTES_MAX = 255;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const named = new Uint8Array(NAME_BYTES_MAX + 3);

/**
 * Entries of one folder, each name once, in about 40 bytes and their texts.
 *
 * A folder may have a million files: as objects they would take 400 MB. An entry is known by its
 * place, counted from 0 in the order in which they were added.
 */
export class PackedEntries {
  readonly #blocks: { bytes: Uint8Array<ArrayBuffer>; view: DataView }[] = [];
  #used = 0;
  /** Of each place: block and byte. */
  #starts = new Uint32Array(SLOTS_MIN / 2);
  /** By hash of the name: place + 1, or 0. At most half of them are taken. */
  #slots = new Uint32Array(SLOTS_MIN);
  #count = 0;

  /** Entries that were added. */
  get count(): number {
    return this.#count;
  }

  /** Adds an entry whose texts are known to fit; false if the name is there already. */
  add(entry: PackedEntry): boolean {
    const name = nameBytes(entry.name);
    const slot = this.#slotOf(name);
    if (this.#slots[slot] !== 0) return false;
    const derived = entry.kind === "file" &&
      entry.version === sizeTimeVersion(entry.size, entry.mtimeNs);
    const text = derived ? "" : entry.kind === "symlink" ? entry.target : entry.version;
    const { bytes, view, at, start } = this.#room(HEAD_BYTES + name.length + 3 * text.length);
    const textAt = at + HEAD_BYTES + name.length;
    const { written } = encoder.encodeInto(text, bytes.subarray(textAt));
    bytes[at] = KINDS.indexOf(entry.kind) | (derived ? DERIVED_VERSION : 0);
    bytes[at + 1] = name.length;
    view.setUint16(at + 2, written, true);
    view.setFloat64(at + 4, entry.size, true);
    view.setBigInt64(at + 12, entry.mtimeNs, true);
    bytes.set(name, at + HEAD_BYTES);
    this.#used = textAt + written;
    if (this.#count === this.#starts.length) this.#starts = doubled(this.#starts);
    this.#starts[this.#count] = start;
    this.#count += 1;
    this.#slots[slot] = this.#count;
    if (this.#count * 2 > this.#slots.length) this.#rehash();
    return true;
  }

  /** The place of a name; -1 if it is not there. */
  find(name: string): number {
    return (this.#slots[this.#slotOf(nameBytes(name))] ?? 0) - 1;
  }

  /** As `find`, for a name in UTF-8. */
  findBytes(name: Uint8Array): number {
    return (this.#slots[this.#slotOf(name)] ?? 0) - 1;
  }

  /** Whether the entry at a place, which is no link, is just this; `version` as in `SoleSource`. */
  isJust(
    place: number,
    { kind, size, mtimeNs, version }: {
      kind: EntryKind;
      size: number;
      mtimeNs: bigint;
      version: Uint8Array | undefined;
    },
  ): boolean {
    const { bytes, view, at } = this.#locate(place);
    const flags = bytes[at] ?? 0;
    if (KINDS[flags & KIND_BITS] !== kind) return false;
    if (view.getFloat64(at + 4, true) !== size) return false;
    if (view.getBigInt64(at + 12, true) !== mtimeNs) return false;
    if (kind !== "file") return true;
    if (version === undefined) return (flags & DERIVED_VERSION) !== 0;
    if ((flags & DERIVED_VERSION) !== 0) return false;
    const textAt = at + HEAD_BYTES + (bytes[at + 1] ?? 0);
    return isSame(bytes.subarray(textAt, textAt + view.getUint16(at + 2, true)), version);
  }

  at(place: number): PackedEntry {
    const { bytes, view, at } = this.#locate(place);
    const flags = bytes[at] ?? 0;
    const kind = KINDS[flags & KIND_BITS] ?? "file";
    const size = view.getFloat64(at + 4, true);
    const mtimeNs = view.getBigInt64(at + 12, true);
    const textAt = at + HEAD_BYTES + (bytes[at + 1] ?? 0);
    const name = decoder.decode(bytes.subarray(at + HEAD_BYTES, textAt));
    const text = decoder.decode(bytes.subarray(textAt, textAt + view.getUint16(at + 2, true)));
    const derived = (flags & DERIVED_VERSION) !== 0;
    return {
      name,
      kind,
      size,
      mtimeNs,
      version: derived ? sizeTimeVersion(size, mtimeNs) : kind === "file" ? text : "",
      target: kind === "symlink" ? text : "",
    };
  }

  /** Less than 0 if the name at place `a` comes before that at `b`, byte by byte. */
  compareNames(a: number, b: number): number {
    const [nameA, nameB] = [this.#name(a), this.#name(b)];
    const length = Math.min(nameA.length, nameB.length);
    for (let i = 0; i < length; i += 1) {
      const difference = (nameA[i] ?? 0) - (nameB[i] ?? 0);
      if (difference !== 0) return difference;
    }
    return nameA.length - nameB.length;
  }

  #name(place: number): Uint8Array {
    const { bytes, at } = this.#locate(place);
    return bytes.subarray(at + HEAD_BYTES, at + HEAD_BYTES + (bytes[at + 1] ?? 0));
  }

  #locate(place: number): { bytes: Uint8Array; view: DataView; at: number } {
    const start = this.#starts[place] ?? 0;
    const block = place < this.#count ? this.#blocks[start >>> BLOCK_BITS] : undefined;
    if (block === undefined) throw new RangeError(`There is no entry ${place}`);
    return { ...block, at: start & (BLOCK_BYTES_MAX - 1) };
  }

  /** A place to write so many bytes at most. */
  #room(
    bytesMax: number,
  ): { bytes: Uint8Array; view: DataView; at: number; start: number } {
    let block = this.#blocks.at(-1);
    if (block === undefined || this.#used + bytesMax > block.bytes.length) {
      const next = Math.min(2 * (block?.bytes.length ?? BLOCK_BYTES_MIN / 2), BLOCK_BYTES_MAX);
      const bytes = new Uint8Array(Math.max(next, bytesMax));
      block = { bytes, view: new DataView(bytes.buffer) };
      this.#blocks.push(block);
      this.#used = 0;
    }
    const start = (this.#blocks.length - 1) * BLOCK_BYTES_MAX + this.#used;
    return { ...block, at: this.#used, start };
  }

  /** Where the name's place is, or would be put. */
  #slotOf(name: Uint8Array): number {
    const mask = this.#slots.length - 1;
    let slot = hashOf(name) & mask;
    for (;;) {
      const taken = this.#slots[slot] ?? 0;
      if (taken === 0 || isSame(this.#name(taken - 1), name)) return slot;
      slot = (slot + 1) & mask;
    }
  }

  #rehash(): void {
    this.#slots = new Uint32Array(this.#slots.length * 2);
    const mask = this.#slots.length - 1;
    for (let place = 0; place < this.#count; place += 1) {
      let slot = hashOf(this.#name(place)) & mask;
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
      this.#slots[slot] = place + 1;
    }
  }
}

/** Good until the next call; a longer name than there may be is cut, and then names nothing. */
function nameBytes(name: string): Uint8Array {
  return named.subarray(0, encoder.encodeInto(name, named).written);
}

/** FNV-1a, 32 bits. */
function hashOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < bytes.length; i += 1) {
    hash = Math.imul(hash ^ (bytes[i] ?? 0), 0x01000193);
  }
  return (hash ^ (hash >>> 15)) >>> 0;
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i += 1) if (a[i] !== b[i]) return false;
  return true;
}

function doubled(array: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const longer = new Uint32Array(array.length * 2);
  longer.set(array);
  return longer;
}
