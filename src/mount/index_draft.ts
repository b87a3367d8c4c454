import { failpoint } from "../base/failpoint.ts";
import type { ChunkHash } from "../chunking/chunk_hash.ts";
import type { ChunkRegion } from "../chunking/chunk_manifest.ts";
import type {
  ChunkPart,
  ListPlace,
  NamedEntry,
  NamedFolder,
} from "../library/published_columns.ts";
import {
  encodeList,
  encodePartHeader,
  LIST_BYTES_MAX,
  type MadeOf,
  NAMES_PATH,
  PART_HEADER_BYTES,
  partPath,
} from "../library/published_format.ts";
import { encodeIndex } from "../library/published_writer.ts";
import type { FolderWriter } from "../origins/folder_writer.ts";

/** Bytes of lists that are held until they are written: those of about 60 GB of music. */
const PART_BYTES_MAX = 16 * 1024 * 1024;

/** What a draft is made with. */
export interface IndexDraftOptions {
  writer: FolderWriter;
  /** Names chunks. */
  hash: ChunkHash;
  /** Names parts, and guards all that is written. */
  xxh128: ChunkHash;
  madeOf: MadeOf;
}

/** A file and its chunks. */
export interface FileList {
  entry: NamedEntry;
  md5: Uint8Array;
  regions: readonly ChunkRegion[];
}

/**
 * An index on its way: names in memory, lists in parts that are written as they fill. Nothing of it
 * counts before `publish`, which may be called again and again.
 */
export class IndexDraft {
  readonly #options: IndexDraftOptions;
  readonly #folders: readonly NamedFolder[];
  /** Parts that are written; numbers stay. */
  readonly #parts: ChunkPart[];
  #records: Uint8Array<ArrayBuffer>[] = [];
  #recordsBytes = 0;
  /** Whose lists are among the records, with the offset that each has there. */
  #waiting: { entry: NamedEntry; offset: number; bytes: number }[] = [];
  /** Parts are written one after another. */
  #writing: Promise<void> = Promise.resolve();
  /** Bytes of lists that were written. */
  listBytes = 0;

  /** `parts` are those of the earlier index, which lists of `folders` already lie in. */
  constructor(
    folders: readonly NamedFolder[],
    parts: readonly ChunkPart[],
    options: IndexDraftOptions,
  ) {
    this.#folders = folders;
    this.#parts = [...parts];
    this.#options = options;
  }

  /** Takes the chunks of a file; waits while a full part is written. */
  async add({ entry, md5, regions }: FileList): Promise<void> {
    entry.md5 = md5;
    if (regions.length > 0) {
      const { hash, xxh128 } = this.#options;
      const list = { size: entry.size, md5, hashBytes: hash.bytes, xxh128 };
      const record = encodeList(regions, list);
      // A reader would not take it.
      if (record.length <= LIST_BYTES_MAX) this.#append(entry, record);
    }
    if (this.#recordsBytes >= PART_BYTES_MAX) await this.#flush();
  }

  /** Puts the index in place as it is now; the parts that it refers to, and its bytes. */
  async publish(): Promise<{ parts: ChunkPart[]; bytes: number }> {
    await this.#flush();
    const parts = this.#usedParts();
    const { hash, madeOf, writer } = this.#options;
    const index = await encodeIndex({ folders: this.#folders, parts, hash: hash.name, madeOf });
    failpoint("publish.before_names");
    await writer.write(NAMES_PATH, index);
    failpoint("publish.after_names");
    return { parts, bytes: index.length };
  }

  #append(entry: NamedEntry, record: Uint8Array<ArrayBuffer>): void {
    this.#records.push(record);
    const offset = PART_HEADER_BYTES + this.#recordsBytes;
    this.#waiting.push({ entry, offset, bytes: record.length });
    this.#recordsBytes += record.length;
  }

  async #flush(): Promise<void> {
    // Whoever fills a part while another is on its way waits for both.
    this.#writing = this.#writing.then(() => this.#writePart());
    await this.#writing;
  }

  async #writePart(): Promise<void> {
    if (this.#records.length === 0) return;
    const { writer, xxh128 } = this.#options;
    const waiting = this.#waiting;
    const bytes = joined([encodePartHeader(), ...this.#records]);
    [this.#records, this.#waiting, this.#recordsBytes] = [[], [], 0];
    const id = xxh128.digest(bytes).toHex();
    await writer.write(partPath(id), bytes);
    this.listBytes += bytes.length;
    const part = this.#parts.push({ id, bytes: bytes.length }) - 1;
    for (const { entry, offset, bytes } of waiting) entry.list = { part, offset, bytes };
  }

  /** The parts that lists lie in, numbered anew in their order. */
  #usedParts(): ChunkPart[] {
    const numbers = new Map<number, number>();
    const parts: ChunkPart[] = [];
    for (const list of this.#lists()) {
      const part = this.#parts[list.part];
      if (part && !numbers.has(list.part)) numbers.set(list.part, parts.push(part) - 1);
    }
    for (const list of this.#lists()) list.part = numbers.get(list.part) ?? 0;
    this.#parts.splice(0, Infinity, ...parts);
    return parts;
  }

  *#lists(): Iterable<ListPlace> {
    for (const { entries } of this.#folders) {
      for (const { list } of entries) if (list) yield list;
    }
  }
}

function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
