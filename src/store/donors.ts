/**
 * Which cached versions may hold bytes that another version has too: the table `donors`.
 *
 * A hint and no more: who asks looks at the donor's bytes, so a record of a version that is gone
 * costs a look. Keys are 25 bytes: u8 kind, 16 bytes, u64 version id. Kinds:
 *
 * - 0, version: 16 zeros. Value: u8 flags (`FLAG`), then the first 17 bytes of this version's other
 *   keys, so that they can be removed by its id alone
 * - 1, time: u64 size, i64 mtime in ns
 * - 2, tag: xxh128 of `origin NUL ETag NUL size`, for ETags that are hashes of the content
 * - 3, audio: FLAC's MD5 of the samples
 * - 4, retired: 16 zeros. No name of the library has this version any more
 */

import type { ChunkHash } from "../chunking/chunk_hash.ts";
import type { FileVersion, VersionSource } from "./file_version.ts";
import type { Index, Table } from "./index.ts";

/** Donors that are looked at for one file, of each kind. */
export const DONORS_MAX = 16;

const KIND = { version: 0, time: 1, tag: 2, audio: 3, retired: 4 } as const;

const FLAG = { derived: 1, refused: 2 } as const;

const PREFIX_BYTES = 17;
const KEY_BYTES = 25;

/** What the value of a key is where nothing is to be said: the table's records are not empty. */
const PRESENT = Uint8Array.of(1);

/** An MD5, or that of the MD5s of an upload's parts; some servers write zeros for "unknown". */
const STRONG_ETAG = /^"?((?!0{32})[0-9a-f]{32}(?:-[0-9]+)?)"?$/i;

const FLAC_NAME = /\.fla?c?$/i;

const encoder = new TextEncoder();

/** Whether a file may be FLAC, going by what it is called: only then is it worth a look. */
export function mayBeFlac({ sources: [{ path }] }: FileVersion): boolean {
  return FLAC_NAME.test(path);
}

/** The table `donors`. Changes only within a transaction, each with that of the version's list. */
export class Donors {
  readonly #table: Table;
  readonly #keyHash: ChunkHash;

  /** `keyHash`: xxh128. */
  constructor(index: Index, keyHash: ChunkHash) {
    this.#table = index.table("donors");
    this.#keyHash = keyHash;
  }

  /**
   * Notes what a version's list can be found by. `audioMd5`: FLAC's, if there is one; "as before" if
   * the list is a longer one.
   */
  note(version: FileVersion, audioMd5: Uint8Array | "as before" | undefined): void {
    const before = this.#record(version.id);
    const known = new Set(before?.prefixes.map((prefix) => prefix.toHex()));
    const now = [...this.#prefixesOf(version)];
    if (audioMd5 === "as before") {
      now.push(...before?.prefixes.filter(([kind]) => kind === KIND.audio) ?? []);
    } else if (audioMd5) now.push(hashPrefix(KIND.audio, audioMd5));
    const isSame = known.size === now.length && now.every((prefix) => known.has(prefix.toHex()));
    if (before && isSame) return;
    this.#removePrefixes(version.id, before?.prefixes ?? []);
    for (const prefix of now) this.#table.put(keyOf(prefix, version.id), PRESENT);
    this.#put(version.id, before?.flags ?? 0, now);
  }

  /** Forgets all that is noted of a version, but for its being refused. */
  forget(id: number): void {
    const record = this.#record(id);
    if (!record) return;
    this.#removePrefixes(id, record.prefixes);
    const flags = record.flags & FLAG.refused;
    if (flags !== 0) this.#put(id, flags, []);
    else this.#table.remove(keyOf(prefixOf(KIND.version), id));
  }

  /** Notes that the version's list was not made of its own bytes, but of what proved to be the same. */
  setDerived(id: number): void {
    this.#setFlag(id, FLAG.derived);
  }

  /** Whether the version's list was not made of its own bytes. */
  isDerived(id: number): boolean {
    return hasFlag(this.#table, id, FLAG.derived);
  }

  /** Notes that what was derived for the version was wrong. */
  setRefused(id: number): void {
    this.#setFlag(id, FLAG.refused);
  }

  /** Whether nothing is to be derived for the version. */
  isRefused(id: number): boolean {
    return hasFlag(this.#table, id, FLAG.refused);
  }

  /** Notes that no name of the library has the version any more. */
  retire(id: number): void {
    const record = this.#record(id);
    const retired = prefixOf(KIND.retired);
    this.#table.put(keyOf(retired, id), PRESENT);
    this.#put(id, record?.flags ?? 0, [...record?.prefixes ?? [], retired]);
  }

  isRetired(id: number): boolean {
    return this.#table.get(keyOf(prefixOf(KIND.retired), id)) !== undefined;
  }

  /** Versions that no name has any more, the oldest files first. */
  retired(): number[] {
    return this.#find(rangeOf(prefixOf(KIND.retired)), Infinity);
  }

  /** Versions of the same origin, strong ETag and size; none for a version without a strong ETag. */
  sameTag(version: FileVersion): number[] {
    const found = new Set<number>();
    for (const prefix of this.#tagsOf(version)) {
      for (const id of this.#find(rangeOf(prefix), DONORS_MAX)) found.add(id);
    }
    found.delete(version.id);
    return [...found];
  }

  /** Versions of the same size and mtime, to the ns; none if the origin knows no time. */
  sameTime(version: FileVersion): number[] {
    const prefix = timePrefix(version);
    if (!prefix) return [];
    return this.#find(rangeOf(prefix), DONORS_MAX).filter((id) => id !== version.id);
  }

  /** FLAC files whose samples have that MD5. */
  sameAudio(md5: Uint8Array): number[] {
    return this.#find(rangeOf(hashPrefix(KIND.audio, md5)), DONORS_MAX);
  }

  /** Whether there is any FLAC file. */
  get isAnyAudio(): boolean {
    const start = Uint8Array.of(KIND.audio);
    return this.#find({ start, end: Uint8Array.of(KIND.audio + 1) }, 1).length > 0;
  }

  *#prefixesOf(version: FileVersion): Iterable<Uint8Array<ArrayBuffer>> {
    const time = timePrefix(version);
    if (time) yield time;
    yield* this.#tagsOf(version);
  }

  *#tagsOf({ size, sources }: FileVersion): Iterable<Uint8Array<ArrayBuffer>> {
    for (const source of sources) {
      const tag = strongTag(source);
      if (tag === undefined) continue;
      const text = `${source.origin}\0${tag}\0${size}`;
      yield hashPrefix(KIND.tag, this.#keyHash.digest(encoder.encode(text)));
    }
  }

  #find({ start, end }: { start: Uint8Array; end: Uint8Array }, most: number): number[] {
    const found: number[] = [];
    for (const { key } of this.#table.range({ start, end })) {
      const id = new DataView(key.buffer, key.byteOffset).getBigUint64(PREFIX_BYTES);
      found.push(Number(id));
      if (found.length >= most) break;
    }
    return found;
  }

  #setFlag(id: number, flag: number): void {
    const record = this.#record(id);
    this.#put(id, (record?.flags ?? 0) | flag, record?.prefixes ?? []);
  }

  #record(id: number): { flags: number; prefixes: Uint8Array<ArrayBuffer>[] } | undefined {
    const value = this.#table.get(keyOf(prefixOf(KIND.version), id));
    if (!value) return undefined;
    const prefixes: Uint8Array<ArrayBuffer>[] = [];
    for (let at = 1; at + PREFIX_BYTES <= value.length; at += PREFIX_BYTES) {
      prefixes.push(new Uint8Array(value.subarray(at, at + PREFIX_BYTES)));
    }
    return { flags: value[0] ?? 0, prefixes };
  }

  #put(id: number, flags: number, prefixes: readonly Uint8Array[]): void {
    const value = new Uint8Array(1 + prefixes.length * PREFIX_BYTES);
    value[0] = flags;
    for (const [i, prefix] of prefixes.entries()) value.set(prefix, 1 + i * PREFIX_BYTES);
    this.#table.put(keyOf(prefixOf(KIND.version), id), value);
  }

  #removePrefixes(id: number, prefixes: readonly Uint8Array[]): void {
    for (const prefix of prefixes) this.#table.remove(keyOf(prefix, id));
  }
}

/** As `Donors.isDerived`, for the FUSE worker. */
export function isDerived(index: Index, id: number): boolean {
  return hasFlag(index.table("donors"), id, FLAG.derived);
}

/** The ETag of a source if it stands for the content: an MD5, or one of an upload in parts. */
export function strongTag({ version }: VersionSource): string | undefined {
  return STRONG_ETAG.exec(version)?.[1]?.toLowerCase();
}

function hasFlag(table: Table, id: number, flag: number): boolean {
  return ((table.get(keyOf(prefixOf(KIND.version), id))?.[0] ?? 0) & flag) !== 0;
}

function timePrefix({ size, mtimeNs }: FileVersion): Uint8Array<ArrayBuffer> | undefined {
  if (mtimeNs === 0n) return undefined;
  return prefixOf(KIND.time, BigInt(size), BigInt.asUintN(64, mtimeNs));
}

function prefixOf(kind: number, first = 0n, second = 0n): Uint8Array<ArrayBuffer> {
  const prefix = new Uint8Array(PREFIX_BYTES);
  const view = new DataView(prefix.buffer);
  view.setUint8(0, kind);
  view.setBigUint64(1, first);
  view.setBigUint64(9, second);
  return prefix;
}

function hashPrefix(kind: number, hash: Uint8Array): Uint8Array<ArrayBuffer> {
  const prefix = prefixOf(kind);
  prefix.set(hash, 1);
  return prefix;
}

function keyOf(prefix: Uint8Array, id: number): Uint8Array<ArrayBuffer> {
  const key = new Uint8Array(KEY_BYTES);
  key.set(prefix);
  new DataView(key.buffer).setBigUint64(PREFIX_BYTES, BigInt(id));
  return key;
}

/** All keys with a prefix. */
function rangeOf(prefix: Uint8Array): { start: Uint8Array; end: Uint8Array } {
  const end = new Uint8Array(KEY_BYTES + 1).fill(0xff);
  end.set(prefix);
  return { start: prefix, end };
}
