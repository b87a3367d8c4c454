import type { ByteRange } from "../base/bytes.ts";
import { EXTENT_BLOCK_BYTES } from "../base/limits.ts";
import type { FileVersion } from "../store/file_version.ts";
import { TAG_BYTES, tagRegions } from "./tag_regions.ts";

/** Files that are remembered. */
const FILES_MAX = 48;

/** Files that the habit is told from, and how many tails among them make it one. */
const HABIT_FILES = 8;
const HABIT_TAILS_MIN = 3;

/** The newest files, of which a tail may yet be read: as many as threads may scan at once. */
const OPEN_FILES_MAX = 8;

/** Tails fetched of which nobody knows yet whether they were of use. */
const UNCONFIRMED_MAX = 12;

/** A file whose head was fetched. */
interface SeenFile {
  readonly id: number;
  readonly size: number;
  /** End of what was read on from its start. */
  end: number;
  /** Bytes from the start of what was read of its tail to its end; 0 for none. */
  tail: number;
  /** Whether its tail was fetched with its head: then reads of it are only heard of by reports. */
  readonly fetched: boolean;
  /** Whether it was fetched ahead of its reader, who may never come; false once that came. */
  isAhead: boolean;
  /** Reports that had come when its head had been read; undefined before that. */
  reports: number | undefined;
}

/**
 * Learns whether readers go from the heads of files to their tails, as tag readers do, and how much
 * of a tail they want: it is then fetched with the head, which spares them a round trip a file.
 *
 * Values in, values out: it fetches nothing.
 */
export class TailAhead {
  /** The newest last. */
  readonly #files: SeenFile[] = [];
  #reports = 0;

  /**
   * Notes a read that begins at a file's head and found nothing of it here; or that the head is
   * fetched ahead, with `isAhead`.
   *
   * @returns the part of its tail to fetch in the same moment: whole blocks
   */
  headRead(
    version: FileVersion,
    range: ByteRange,
    { isAhead = false } = {},
  ): ByteRange | undefined {
    const { id, size } = version;
    const { headEnd, tailStart } = tagRegions(size);
    if (range.offset >= headEnd || tailStart <= headEnd) return undefined;
    if (this.#files.some((file) => file.id === id)) return undefined;
    const length = this.#habit();
    const start = Math.floor((size - length) / EXTENT_BLOCK_BYTES) * EXTENT_BLOCK_BYTES;
    const fetched = length > 0 && range.offset + range.length <= start;
    const end = range.offset + range.length;
    this.#files.push({ id, size, end, tail: 0, fetched, isAhead, reports: undefined });
    if (this.#files.length > FILES_MAX) this.#files.shift();
    return fetched ? { offset: start, length: size - start } : undefined;
  }

  /** The read that `headRead` was told of was answered, or who was fetched ahead of has come. */
  headDone(id: number): void {
    const file = this.#find(id);
    if (!file) return;
    file.isAhead = false;
    file.reports ??= this.#reports;
  }

  /** Notes any read of a file. */
  read(id: number, { offset, length }: ByteRange): void {
    const file = this.#find(id);
    if (!file) return;
    if (offset <= file.end + TAG_BYTES) file.end = Math.max(file.end, offset + length);
    else if (offset >= file.size - TAG_BYTES - EXTENT_BLOCK_BYTES) {
      file.tail = Math.max(file.tail, file.size - offset);
    }
  }

  /** All reads up to now that were answered without being seen have been told of. */
  reported(): void {
    this.#reports += 1;
  }

  #find(id: number): SeenFile | undefined {
    return this.#files.findLast((file) => file.id === id);
  }

  /** Bytes of tails that readers want; 0 while there is no habit. */
  #habit(): number {
    const known: SeenFile[] = [];
    let unconfirmed = 0;
    for (const [i, file] of this.#files.entries()) {
      if (file.isAhead) continue;
      const isOpen = i >= this.#files.length - OPEN_FILES_MAX;
      const isUnknown = file.tail === 0 && (file.fetched ? this.#mayBeToldOf(file) : isOpen);
      if (!isUnknown) known.push(file);
      else if (file.fetched) unconfirmed += 1;
    }
    const latest = known.slice(-HABIT_FILES);
    const tails = latest.filter(({ tail }) => tail > 0);
    const isOver = latest.slice(-2).every(({ tail }) => tail === 0);
    if (tails.length < HABIT_TAILS_MIN || 2 * tails.length < latest.length || isOver) return 0;
    if (unconfirmed >= UNCONFIRMED_MAX) return 0;
    return Math.min(TAG_BYTES, Math.max(...tails.map(({ tail }) => tail)));
  }

  /** Whether a read of the file's tail may have been answered and not been told of. */
  #mayBeToldOf({ reports }: SeenFile): boolean {
    return reports === undefined || this.#reports - reports < 2;
  }
}
