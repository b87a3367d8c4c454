import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import {
  type ChunkHash,
  HASH_BYTES,
  type HashName,
  openChunkHash,
} from "../chunking/chunk_hash.ts";
import type { ChunkRegion } from "../chunking/chunk_manifest.ts";
import type { OriginPlace } from "../origins/open.ts";
import type { Origin, OriginEntry } from "../origins/origin.ts";
import { sizeTimeVersion } from "../origins/size_time_version.ts";
import { inflate } from "./deflate.ts";
import { NameColumns } from "./name_columns.ts";
import type { ChunkPart, NamedEntry } from "./published_columns.ts";
import {
  decodeList,
  decodeNamesFile,
  LIST_BYTES_MAX,
  NAMES_BYTES_MAX,
  NAMES_HEADER_BYTES,
  NAMES_PATH,
  type NamesHeader,
  partPath,
} from "./published_format.ts";
import type { PublishedFolder, PublishedNames } from "./published_names.ts";

/** How an index is opened. */
export interface PublishedOptions {
  kind: OriginPlace;
  signal: AbortSignal;
  log: Log;
}

/** A file as somebody knows it who asks for its chunks. */
export interface PublishedFile {
  path: string;
  size: number;
  version: string;
  mtimeNs?: bigint;
}

/** An index that is replaced while it is read is read anew this often. */
const OPEN_ATTEMPTS_MAX = 3;

const SECOND = 1_000_000_000n;

/**
 * What `musicfs index` wrote beside the music: the names of everything and, read one by one, the
 * chunk lists of its files.
 *
 * Nothing of it is trusted: what is damaged, forged or of a newer format is no index. Whether it is
 * still true of a file is for the file's version to say: a list is given out for that version only.
 */
export class PublishedIndex implements PublishedNames {
  readonly #origin: Origin;
  readonly #options: { kind: OriginPlace; log: Log };
  readonly #columns: NameColumns;
  readonly #header: NamesHeader;
  readonly #xxh128: ChunkHash;
  /** What the origin says of each part; asked when one is first needed. */
  readonly #parts = new Map<number, Promise<OriginEntry | undefined>>();
  #told = false;

  private constructor(
    origin: Origin,
    options: { kind: OriginPlace; log: Log },
    parts: { columns: NameColumns; header: NamesHeader; xxh128: ChunkHash; version: string },
  ) {
    this.#origin = origin;
    this.#options = options;
    this.#columns = parts.columns;
    this.#header = parts.header;
    this.#xxh128 = parts.xxh128;
    this.version = parts.version;
  }

  /** The version of the file that it was read from, as `Origin.stat` tells it. */
  readonly version: string;

  /**
   * Reads the index of an origin, in two calls: one `stat` and one `read`.
   *
   * @returns undefined if there is none, or none that can be used or read now; a line in the log
   * says which. Throws only the signal's reason.
   */
  static async open(
    origin: Origin,
    options: PublishedOptions,
  ): Promise<PublishedIndex | undefined> {
    const { signal, log } = options;
    for (let attempt = 1;; attempt += 1) {
      try {
        return await PublishedIndex.#open(origin, options);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof MusicfsError)) throw error;
        if (error.code === "changed" && attempt < OPEN_ATTEMPTS_MAX) continue;
        const fields = { origin: origin.name, error };
        if (error.code === "not_found") log.debug("The origin has no published index", fields);
        else log.warning("The origin's published index is not used", fields);
        return undefined;
      }
    }
  }

  static async #open(origin: Origin, options: PublishedOptions): Promise<PublishedIndex> {
    const { kind, signal, log } = options;
    const xxh128 = await openChunkHash("xxh128");
    const file = await origin.stat(NAMES_PATH, { signal, isToBeRead: true });
    if (file.kind !== "file") throw unusable("it is no file");
    if (file.size > NAMES_BYTES_MAX) throw unusable(`it has ${file.size} bytes, which is too many`);
    if (file.size < NAMES_HEADER_BYTES) throw unusable("it is cut off");
    const bytes = await origin.read(file, { offset: 0, length: file.size }, { signal });
    const header = decodeNamesFile(bytes, xxh128);
    if (!isOfKind(header, kind)) {
      throw unusable(`it was made of ${MADE_OF_TEXT[header.madeOf]}, and not of what this is`);
    }
    const digestsAt = NAMES_HEADER_BYTES + header.deflatedBytes;
    const deflated = bytes.subarray(NAMES_HEADER_BYTES, digestsAt);
    const inflated = await inflate(deflated, header.columnsBytes);
    signal.throwIfAborted();
    const columns = new NameColumns(inflated, bytes.subarray(digestsAt));
    const { names, folders, files } = columns;
    const areRight = names.length === header.names && folders === header.folders &&
      files === header.files;
    if (!areRight) throw unusable("it has another number of names than it says");
    const parts = { columns, header, xxh128, version: file.version };
    return new PublishedIndex(origin, { kind, log }, parts);
  }

  /** Files that it names. */
  get files(): number {
    return this.#columns.files;
  }

  /** The hash that its chunks are named by. */
  get hash(): HashName {
    return this.#header.hash;
  }

  /** What it knows of a name; undefined if it does not. For who makes the next index. */
  find(path: string): NamedEntry | undefined {
    const at = this.#columns.find(path);
    return at === undefined ? undefined : this.#columns.entry(at);
  }

  /** The files that its lists lie in. */
  get parts(): readonly ChunkPart[] {
    return this.#columns.parts;
  }

  /**
   * Every folder, depth first, each before what is in it; entries as the origin's listing gives
   * them, for as long as the index is not stale. What a listing would not show is left out.
   */
  *folders(): Iterable<PublishedFolder> {
    const { kind } = this.#options;
    const isMirrored = kind === "s3" && this.#header.madeOf !== "bucket";
    const shown = isMirrored ? foldersWithFiles(this.#columns) : undefined;
    for (let folder = 0; folder < this.#columns.folders; folder += 1) {
      const { own, first, end } = this.#columns.place(folder);
      if (own >= 0 && shown && !shown.has(own)) continue;
      const path = this.#columns.path(folder);
      const prefix = path === "" ? "" : `${path}/`;
      const entries: OriginEntry[] = [];
      for (let i = first; i < end; i += 1) {
        const entry = this.#columns.entry(i);
        if (entry.kind === "folder" && shown && !shown.has(i)) continue;
        const made = this.#originEntry(prefix + entry.name, entry);
        if (made) entries.push(made);
      }
      yield { path, mtimeNs: this.#folderTime(own), entries };
    }
  }

  /**
   * The chunks of a file's version; undefined if they are not in here, if the index knows another
   * version, or if they cannot be read now. An empty file has no regions.
   *
   * Costs one read, and a `stat` before the first one. Throws only the signal's reason.
   */
  async chunks(
    file: PublishedFile,
    { signal, hash }: { signal: AbortSignal; hash: HashName },
  ): Promise<ChunkRegion[] | undefined> {
    const entry = this.find(file.path);
    if (entry?.kind !== "file" || hash !== this.#header.hash) return undefined;
    const version = this.#version(entry);
    if (entry.size !== file.size || version === undefined || version !== file.version) {
      return undefined;
    }
    if (file.size === 0) return [];
    const record = await this.record(entry, { signal });
    return record?.regions;
  }

  /**
   * The record of a file's list as it lies in its part, and what it says; undefined if it has none
   * that can be read now. Throws only the signal's reason.
   */
  async record(
    { size, md5, list }: NamedEntry,
    { signal }: { signal: AbortSignal },
  ): Promise<{ bytes: Uint8Array<ArrayBuffer>; regions: ChunkRegion[] } | undefined> {
    if (!list || list.bytes > LIST_BYTES_MAX) return undefined;
    try {
      const part = await this.#part(list.part, signal);
      if (!part) return undefined;
      const range = { offset: list.offset, length: list.bytes };
      const bytes = await this.#origin.read(part, range, { signal });
      const hashBytes = HASH_BYTES[this.#header.hash];
      return { bytes, regions: decodeList(bytes, { size, md5, hashBytes, xxh128: this.#xxh128 }) };
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof MusicfsError)) throw error;
      this.#parts.delete(list.part);
      this.#tell(error);
      return undefined;
    }
  }

  /** What the origin says of a part; undefined if it is not the one that is meant. */
  async #part(number: number, signal: AbortSignal): Promise<OriginEntry | undefined> {
    const known = this.#parts.get(number);
    if (known) return await known;
    const part = this.#columns.parts[number];
    if (!part) return undefined;
    // One that fails is asked again by the next reader; its signal is this reader's.
    const asked = await this.#origin.stat(partPath(part.id), { signal });
    const found = asked.kind === "file" && asked.size === part.bytes ? asked : undefined;
    this.#parts.set(number, Promise.resolve(found));
    return found;
  }

  #originEntry(path: string, entry: NamedEntry): OriginEntry | undefined {
    const { kind, size, target } = entry;
    if (kind === "symlink" && this.#options.kind === "s3") return undefined;
    const mtimeNs = kind === "folder" && this.#options.kind === "s3"
      ? 0n
      : this.#timeOf(entry.mtimeNs);
    if (kind !== "file") return { path, kind, size: 0, mtimeNs, version: "", target };
    const version = this.#version(entry);
    return version === undefined ? undefined : { path, kind, size, mtimeNs, version, target: "" };
  }

  /** The version that this origin gives the file, if it is the one that was indexed. */
  #version({ size, mtimeNs, etag }: NamedEntry): string | undefined {
    if (this.#options.kind === "s3") return etag === "" ? undefined : etag;
    return sizeTimeVersion(size, this.#timeOf(mtimeNs));
  }

  #folderTime(own: number): bigint {
    return this.#options.kind === "s3" ? 0n : this.#timeOf(this.#columns.mtimeNs(own));
  }

  #timeOf(mtimeNs: bigint): bigint {
    if (this.#options.kind !== "sftp") return mtimeNs;
    return mtimeNs - ((mtimeNs % SECOND) + SECOND) % SECOND;
  }

  /** One line for all lists: an index that was replaced takes its parts with it. */
  #tell(error: MusicfsError): void {
    if (this.#told) return;
    this.#told = true;
    const fields = { origin: this.#origin.name, error };
    const isReplaced = error.code === "not_found" || error.code === "changed";
    if (isReplaced) this.#options.log.debug("The origin's published index was replaced", fields);
    else this.#options.log.warning("A list of the origin's published index is not used", fields);
  }
}

const MADE_OF_TEXT = { ns: "a folder", s: "a folder over SFTP", bucket: "a bucket" } as const;

/** Whether the times and versions of an index are those that an origin of this kind gives. */
function isOfKind({ madeOf }: NamesHeader, kind: OriginPlace): boolean {
  if (kind === "s3") return true;
  return kind === "sftp" ? madeOf !== "bucket" : madeOf === "ns";
}

/** The folders of a bucket: those that have a file in them, or in a folder of theirs. */
function foldersWithFiles(columns: NameColumns): ReadonlySet<number> {
  const shown = new Set<number>();
  for (let folder = columns.folders - 1; folder >= 0; folder -= 1) {
    const { own, first, end } = columns.place(folder);
    let has = false;
    for (let i = first; i < end && !has; i += 1) {
      has = shown.has(i) || columns.entry(i).kind === "file";
    }
    if (has) shown.add(own);
  }
  return shown;
}

function unusable(what: string): MusicfsError {
  return new MusicfsError("corrupt", `Cannot use the published index: ${what}`, {
    op: "published_index.open",
    subject: NAMES_PATH,
  });
}
