import { MusicfsError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import type { Log } from "../base/log.ts";
import { cString, libc } from "../base/posix.ts";
import type { ChunkHash } from "../chunking/chunk_hash.ts";
import { ChunkList } from "../chunking/chunk_list.ts";
import { flacMd5 } from "../chunking/flac_md5.ts";
import type { CacheIndex, ChunkName } from "./cache_index.ts";
import type { CasStore } from "./cas_store.ts";
import { Donors, mayBeFlac } from "./donors.ts";
import { type FileVersion, sourceKeyOf, versionFilePath, type VersionKey } from "./file_version.ts";
import type { Index, KeyRange, Table } from "./index.ts";
import { ManifestFiles, type StoredManifest } from "./manifest_files.ts";
import type { CacheDisk } from "./passthrough.ts";
import type { Space } from "./space.ts";
import { TakenOver } from "./taken_over.ts";

/** What `Manifests` is made of. */
export interface ManifestsOptions {
  index: Index;
  cacheIndex: CacheIndex;
  disk: CacheDisk;
  space: Pick<Space, "reserve" | "grew" | "onEvict">;
  /** What chunks are read from; without it FLAC files are not found by their audio. */
  store?: Pick<CasStore, "get"> | undefined;
  cacheDir: string;
  /** Names chunks. */
  hash: ChunkHash;
  /** xxh128, whatever names the chunks: makes version keys. */
  keyHash: ChunkHash;
  log: Log;
}

/** A version before and after another origin became its preferred one, with the same bytes. */
export interface Takeover {
  before: FileVersion;
  after: FileVersion;
}

/** Decoded lists that are kept, each about 20 bytes a chunk. */
const LISTS_MAX = 256;

/** Versions without a name that are kept for what others may have in common with them. */
const RETIRED_MAX = 65_536;

const KEY_BYTES = 16;

/** The key of a version whose files were given up. */
const NO_KEY: VersionKey = "0".repeat(2 * KEY_BYTES);

/**
 * Which chunks the versions consist of: the table `manifests`, and for what is whole the files in
 * `manifests/` that the index is rebuilt from. Only the daemon's main thread has one.
 *
 * A record is the version's key, 16 bytes, and the encoded `ChunkList`: so a list can be removed
 * when nobody knows any more what its id stood for.
 */
export class Manifests {
  /** Which versions others may have bytes in common with. To be read by others, written by this. */
  readonly donors: Donors;
  readonly #options: ManifestsOptions;
  readonly #table: Table;
  /** Lists in order of use, each with the length of its record, by which a changed one is known. */
  readonly #lists = new Map<number, { list: ChunkList; recordBytes: number }>();
  /** Versions that have lost a chunk since `prune`. */
  readonly #suspects = new Set<number>();
  readonly #takenOver = new TakenOver();
  readonly #files: ManifestFiles;

  constructor(options: ManifestsOptions) {
    this.#options = options;
    this.donors = new Donors(options.index, options.keyHash);
    this.#files = new ManifestFiles(options);
    this.#table = options.index.table("manifests");
    options.space.onEvict((kind, idHex) => {
      if (kind === "chunk") this.#noteGone(idHex);
    });
  }

  /** Bytes of a hash. */
  get hashBytes(): 16 | 8 {
    return this.#options.hash.bytes;
  }

  /** The key that a version goes by on disk. */
  keyOf(version: FileVersion): VersionKey {
    return sourceKeyOf(version.sources[0], this.#options.keyHash);
  }

  /** Whether anything is known of a version's chunks, sound or not. */
  has(id: number): boolean {
    return this.#recordedKey(id) !== undefined;
  }

  /**
   * The version's chunks up to its frontier; undefined if none are known.
   *
   * A damaged record, and one whose chunks go by another hash than is configured, count as unknown.
   */
  list(id: number): ChunkList | undefined {
    try {
      const record = this.#table.get(manifestKey(id));
      if (!record) return undefined;
      const known = this.#lists.get(id);
      // A list only grows, so one of the same length is the same list.
      if (known?.recordBytes === record.length) return known.list;
      const recordBytes = record.length;
      const list = decodeManifestRecord(record).list;
      if (list.hashBytes !== this.#options.hash.bytes) return undefined;
      this.#remember(id, { list, recordBytes });
      return list;
    } catch (error) {
      if (!(error instanceof MusicfsError)) throw error;
      this.#options.log.warning("Chunk list is damaged; the file is fetched again", { id, error });
      return undefined;
    }
  }

  /** As `list`; what is unknown, or cannot be this version's, is an empty one. */
  listOf(version: FileVersion): ChunkList {
    const list = this.list(version.id);
    if (list?.size === version.size) return list;
    return ChunkList.empty(version.size, this.#options.hash.bytes);
  }

  /**
   * Stores the version's list, and notes which chunks it names. In the caller's transaction, if any.
   * With `isBulk` no chunk is looked into, for a rebuild of the index: 100,000 files may lie on a
   * slow disk.
   */
  put(version: FileVersion, list: ChunkList, { isBulk = false } = {}): void {
    const { index, cacheIndex } = this.#options;
    index.transaction(() => {
      const before = this.list(version.id);
      const same = before !== undefined && isPrefix(before, list) ? before.count : 0;
      if (before && same === 0) cacheIndex.dereference(chunksOf(before, 0));
      cacheIndex.reference(chunksOf(list, same), version.id);
      const key = this.keyOf(this.#takenOver.current(version));
      const record = encodeManifestRecord(key, list);
      this.#lists.delete(version.id);
      this.#table.put(manifestKey(version.id), record);
      this.donors.note(version, same > 0 || isBulk ? "as before" : this.#audioMd5(version, list));
    });
  }

  /**
   * Stores a list that was made of other versions' chunks, or of what somebody says of them, instead
   * of the version's own bytes, together with what `also` changes in the index. Of the `donors`,
   * those that have nothing more to give go. Not within a transaction.
   */
  derive(
    version: FileVersion,
    list: ChunkList,
    { donors = [], also }: { donors?: readonly number[]; also?: () => void } = {},
  ): void {
    if (list.whole) this.#writeFile(version, list);
    this.#options.index.transaction(() => {
      this.put(version, list);
      this.donors.setDerived(version.id);
      for (const id of donors) {
        if (this.donors.isRetired(id) && !this.#hasToGive(id)) this.remove(id);
      }
      also?.();
    });
  }

  /** Forgets a derived list that proved wrong, so that nothing is derived for the version again. */
  refuse(id: number): void {
    this.#options.index.transaction(() => {
      this.remove(id);
      this.donors.setRefused(id);
    });
  }

  /**
   * Gives up what is stored of a version that has no name any more, but for its list, if others may
   * have chunks in common with it. Its manifest goes, lest a rebuild of the index bring the name
   * back, and its extent; with `keepFiles` they are those of another version as well, and stay.
   */
  retire(id: number, { keepFiles = false }: { keepFiles?: boolean } = {}): void {
    const key = this.#recordedKey(id);
    const list = key === undefined || key === "" ? undefined : this.list(id);
    if (key === undefined || !list || !this.#hasToGive(id)) {
      if (keepFiles) this.#removeRecord(id);
      else this.remove(id);
      return;
    }
    this.#options.index.transaction(() => {
      this.#table.put(manifestKey(id), encodeManifestRecord(NO_KEY, list));
      if (!keepFiles) this.#options.cacheIndex.remove("extent", Uint8Array.fromHex(key));
      this.donors.retire(id);
    });
    if (!keepFiles) this.#unlink(key);
  }

  /** Forgets the oldest of the retired versions that are too many. */
  boundRetired(): void {
    const retired = this.donors.retired();
    for (const id of retired.slice(0, Math.max(0, retired.length - RETIRED_MAX))) this.remove(id);
  }

  /**
   * Stores the list of a version that is whole: first the file in `manifests/`, then the record,
   * together with what `also` changes in the index. Not within a transaction: it makes room.
   */
  complete(version: FileVersion, list: ChunkList, also: () => void = () => undefined): void {
    this.#writeFile(version, list);
    this.#options.index.transaction(() => {
      this.put(version, list);
      also();
    });
  }

  /**
   * Puts what is known of versions under the keys that they have after a takeover, together with what
   * `also` changes in the index, if it is given. Not within a transaction. From now on whatever comes
   * for a version as it was before counts as what it is now.
   *
   * First come the new files, then one commit, then the old files go: a crash in between leaves a
   * version one file too many, which `prune` finds, and never one too few. When the commit fails,
   * all is as before, but for files that are missed by nothing but a rebuild.
   */
  rekey(takeovers: readonly Takeover[], also?: (() => void) | undefined): void {
    const moves: { after: FileVersion; list: ChunkList; from: VersionKey }[] = [];
    for (const { before, after } of takeovers) {
      this.#takenOver.note(before, after);
      const from = this.#recordedKey(after.id);
      const list = from === this.keyOf(after) ? undefined : this.list(after.id);
      if (from && list?.size === after.size) moves.push({ after, list, from });
    }
    if (moves.length === 0 && !also) return;
    for (const { after, list } of moves) if (list.whole) this.#writeFile(after, list);
    failpoint("takeover.after_files");
    this.#options.index.transaction(() => {
      for (const { after, list } of moves) this.put(after, list);
      also?.();
    });
    failpoint("takeover.after_commit");
    for (const { from } of moves) this.#files.remove(from);
  }

  /** Forgets a version: its list, its manifest and its extent. Its chunks stay until evicted. */
  remove(id: number): void {
    const key = this.#removeRecord(id, (key) => {
      if (key === "" || key === NO_KEY) return;
      this.#options.cacheIndex.remove("extent", Uint8Array.fromHex(key));
    });
    if (key !== undefined && key !== "" && key !== NO_KEY) this.#unlink(key);
  }

  /** Forgets a version's list; the key that it had, if there was one. */
  #removeRecord(
    id: number,
    also: (key: VersionKey) => void = () => undefined,
  ): VersionKey | undefined {
    const { index, cacheIndex } = this.#options;
    return index.transaction(() => {
      this.donors.forget(id);
      const key = this.#recordedKey(id);
      if (key === undefined) return undefined;
      const list = this.list(id);
      if (list) cacheIndex.dereference(chunksOf(list, 0));
      this.#lists.delete(id);
      this.#table.remove(manifestKey(id));
      also(key);
      return key;
    });
  }

  /** Deletes a version's manifest and its extent. */
  #unlink(key: VersionKey): void {
    this.#files.remove(key);
    libc.unlink(cString(versionFilePath(`${this.#options.cacheDir}/extents`, key)));
  }

  /**
   * Removes the versions of which no chunk is left: those that lost one since the last call, or
   * with `all` every one, and then also manifests on disk that belong to no version. Returns how
   * many versions.
   */
  prune({ all = false }: { all?: boolean } = {}): number {
    const ids = all ? this.ids() : [...this.#suspects];
    this.#suspects.clear();
    if (all) this.#removeStrayFiles();
    const dead = ids.filter((id) => this.#isDead(id));
    if (dead.length === 0) return 0;
    this.#options.index.transaction(() => {
      for (const id of dead) this.remove(id);
    });
    return dead.length;
  }

  /** All manifests on disk, for a rebuild of the index; see `ManifestFiles`. */
  files(): Iterable<StoredManifest> {
    return this.#files.all();
  }

  #writeFile(given: FileVersion, list: ChunkList): void {
    const version = this.#takenOver.current(given);
    this.#files.write(this.keyOf(version), version, list);
  }

  /** Removes the files in `manifests/` that no record names: a crash came between the two. */
  #removeStrayFiles(): void {
    const known = new Set<VersionKey>();
    for (const id of this.ids()) known.add(this.#recordedKey(id) ?? "");
    // Which file a damaged record stood for is not known.
    if (!known.has("")) this.#files.removeAllBut(known);
  }

  /** In the middle of an eviction: only reads. The item is still known. */
  #noteGone(idHex: string): void {
    const item = this.#options.cacheIndex.find("chunk", Uint8Array.fromHex(idHex));
    if (item && item.owner !== 0) this.#suspects.add(item.owner);
  }

  /** The key in the version's record: "" if that is damaged, undefined if there is none. */
  #recordedKey(id: number): VersionKey | undefined {
    try {
      return this.#table.get(manifestKey(id))?.subarray(0, KEY_BYTES).toHex();
    } catch (error) {
      if (error instanceof MusicfsError && error.code === "corrupt") return "";
      throw error;
    }
  }

  #isDead(id: number): boolean {
    const list = this.list(id);
    if (!list) return this.#recordedKey(id) !== undefined;
    if (this.donors.isRetired(id)) return !this.#hasToGive(id);
    for (let i = 0; i < list.count; i += 1) {
      if (this.#options.cacheIndex.find("chunk", list.hash(i))) return false;
    }
    return true;
  }

  /** FLAC's MD5 of the samples, if the first chunk says it. */
  #audioMd5(version: FileVersion, list: ChunkList): Uint8Array | undefined {
    const { store } = this.#options;
    if (!store || list.count === 0 || !mayBeFlac(version)) return undefined;
    try {
      return flacMd5(store.get(list.hash(0), list.length(0)));
    } catch (error) {
      if (error instanceof MusicfsError) return undefined;
      throw error;
    }
  }

  /** Whether a chunk is here, of audio or of what is not told apart, that only this list names. */
  #hasToGive(id: number): boolean {
    for (const { kind, chunks } of this.list(id)?.toRegions() ?? []) {
      if (kind === "metadata") continue;
      for (const { hash } of chunks) {
        if (this.#options.cacheIndex.find("chunk", hash)?.references === 1) return true;
      }
    }
    return false;
  }

  /** Every version of which chunks are known. */
  ids(): number[] {
    return this.#idsIn({ start: new Uint8Array(8), end: new Uint8Array(9).fill(0xff) });
  }

  /** The versions `[first, end)` of which chunks are known, the latest first; at most `most`. */
  latestIn(first: number, end: number, most: number): number[] {
    const range = { start: manifestKey(first), end: manifestKey(end), reverse: true };
    return this.#idsIn(range, most);
  }

  #idsIn(range: KeyRange, most = Infinity): number[] {
    const ids: number[] = [];
    for (const { key } of this.#table.range(range)) {
      ids.push(Number(new DataView(key.buffer, key.byteOffset).getBigUint64(0)));
      if (ids.length >= most) break;
    }
    return ids;
  }

  #remember(id: number, entry: { list: ChunkList; recordBytes: number }): void {
    this.#lists.delete(id);
    this.#lists.set(id, entry);
    if (this.#lists.size <= LISTS_MAX) return;
    for (const oldest of this.#lists.keys()) {
      this.#lists.delete(oldest);
      return;
    }
  }
}

/** Key of the table `manifests`: the version id, u64, big-endian. */
export function manifestKey(id: number): Uint8Array<ArrayBuffer> {
  const key = new Uint8Array(8);
  const view = new DataView(key.buffer);
  view.setUint32(0, Math.floor(id / 2 ** 32));
  view.setUint32(4, id % 2 ** 32);
  return key;
}

/** Record of the table `manifests`: the version's key, 16 bytes, and its encoded `ChunkList`. */
export function encodeManifestRecord(key: VersionKey, list: ChunkList): Uint8Array<ArrayBuffer> {
  const bytes = list.encode();
  const record = new Uint8Array(KEY_BYTES + bytes.length);
  record.set(Uint8Array.fromHex(key));
  record.set(bytes, KEY_BYTES);
  return record;
}

/** Reads what `encodeManifestRecord` wrote, copying it. Throws `corrupt`, or `invalid` if newer. */
export function decodeManifestRecord(record: Uint8Array): { key: VersionKey; list: ChunkList } {
  const key = record.subarray(0, KEY_BYTES).toHex();
  return { key, list: ChunkList.decode(record.subarray(KEY_BYTES)) };
}

function* chunksOf(list: ChunkList, first: number): Iterable<ChunkName> {
  for (let i = first; i < list.count; i += 1) yield { hash: list.hash(i), length: list.length(i) };
}

/** Whether `longer` begins with the chunks of `list`. */
function isPrefix(list: ChunkList, longer: ChunkList): boolean {
  if (list.count > longer.count || list.hashBytes !== longer.hashBytes) return false;
  for (let i = 0; i < list.hashes.length; i += 1) {
    if (list.hashes[i] !== longer.hashes[i]) return false;
  }
  return list.frontier === longer.starts[list.count];
}
