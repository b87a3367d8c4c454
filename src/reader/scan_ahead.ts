import type { ByteRange } from "../base/bytes.ts";
import { EXTENT_BLOCK_BYTES } from "../base/limits.ts";
import { TAG_BYTES } from "./tag_regions.ts";

/** Orders that scanners go in, the likelier first: sorted by name, or as folders are listed. */
export const SCAN_ORDERS = ["name", "listed"] as const;
export type ScanOrder = typeof SCAN_ORDERS[number];

/** Node ids of so many files after one, the nearest first. */
export type FilesAfter = (id: number, options: { order: ScanOrder; count: number }) => number[];

/** Files that are remembered, and how far after one of them the next may lie: threads scan at once. */
const RECENT_MAX = 8;
const NEAR = 4;

/** Steps from file to file in one order after which it is a scan. */
const STEPS_MIN = 3;

/**
 * Files that are left out on the way from one to the next, on average: from how many on it is no
 * scan, and how many fewer make another order the right one.
 */
const GAP_MAX = 1;
const GAP_BETTER = 0.5;

/** How much of that average the latest step is. */
const GAP_SHARE = 0.25;

/** Files whose heads are fetched and not yet opened: at first, and at most. */
const DEPTH_START = 2;
const DEPTH_MAX = 6;

/** Files after the latest among which those to fetch are looked for. */
const LOOK_AHEAD = 16;

/** A guess that does not come while so many files after it do is a wrong one: threads overtake. */
const OVERTAKEN_MIN = 6;

/** Wrong guesses, or files out of order one after the other, that end a scan. */
const MISSES_MAX = 3;

/** Right guesses that make good for a wrong one. */
const HITS_PER_MISS = 16;

/** How many times more steps it takes after wrong guesses, and at most. */
const STEPS_GROWTH = 4;
const STEPS_MAX = 48;

/** Longest time between two files of a scan, in ms. */
const PAUSE_MS_MAX = 2_000;

/** Bytes read on from the start after which a file is played or copied. */
const STREAMED_BYTES = 1024 * 1024;

/** Files that are remembered so that they are not guessed again. */
const KNOWN_MAX = 64;

/** A file that came: its head was read, or it was opened while a scan went on. */
interface Recent {
  readonly id: number;
  /** The files that may come after it. */
  readonly near: Readonly<Record<ScanOrder, readonly number[]>>;
  /** Whether it came where the scan that was going on would have it. */
  readonly isExpected: boolean;
  /** End of what was read on from its start. */
  far: number;
}

/** What was asked for from a file's start. */
interface Head {
  readonly id: number;
  /** Whether it was fetched ahead. */
  readonly isGuess: boolean;
  /** Its end, and its end before the latest read; that is 0 after the first. */
  end: number;
  before: number;
}

/**
 * Learns whether somebody goes from file to file and reads no more than heads (and tails), as tag
 * readers do with a library, and in which order: the heads of the next files are then fetched ahead,
 * so that the link has something to do while the reader looks at what it has.
 *
 * Values in, values out: it fetches nothing.
 */
export class ScanAhead {
  readonly #after: FilesAfter;
  /** The newest last. */
  #recent: Recent[] = [];
  #heads: Head[] = [];
  /** Steps in either order, without one out of it, and files left out on the way. */
  readonly #steps: Record<ScanOrder, number> = { name: 0, listed: 0 };
  readonly #gaps: Record<ScanOrder, number> = { name: 0, listed: 0 };
  #stepsMin = STEPS_MIN;
  /** The order of the scan that is going on; undefined while there is none. */
  #order: ScanOrder | undefined;
  /** The files after the latest one of the scan. */
  #upcoming: readonly number[] = [];
  /** Files whose heads were fetched and that have not come, and how many after them have. */
  readonly #guesses = new Map<number, number>();
  /** Files that have come, and those that are not guessed (again). */
  readonly #arrived = new Set<number>();
  readonly #skipped = new Set<number>();
  #depth = DEPTH_START;
  #hits = 0;
  #misses = 0;
  #strays = 0;
  #latestMs = 0;

  /** `after` is asked about files that were read, and gives the same until the library changes. */
  constructor(after: FilesAfter) {
    this.#after = after;
  }

  /** Bytes of heads that half of the latest files were asked for: whole blocks, 256 KiB at most. */
  get headBytes(): number {
    const ends = this.#heads
      .map(({ before, end }) => Math.min(TAG_BYTES, before || end))
      .sort((a, b) => a - b);
    const middle = ends[Math.floor((ends.length - 1) / 2)] ?? 0;
    return Math.ceil(middle / EXTENT_BLOCK_BYTES) * EXTENT_BLOCK_BYTES;
  }

  /** Notes a read of a file's head of which not all was here. */
  headRead(id: number, { offset, length }: ByteRange, nowMs: number): void {
    this.opened(id, nowMs);
    if (!this.#arrived.has(id)) this.#came(id, nowMs, { isGuess: false });
    if (this.#heads.some((head) => head.id === id)) return;
    this.#addHead({ id, isGuess: false, end: offset + length, before: 0 });
  }

  /** Notes that a file was opened, whether its bytes are here or not. */
  opened(id: number, nowMs: number): void {
    if (nowMs - this.#latestMs > PAUSE_MS_MAX) this.#end();
    if (this.#order === undefined || this.#arrived.has(id)) return;
    const isGuess = this.#guesses.delete(id);
    if (isGuess) {
      this.#addHead({ id, isGuess, end: this.headBytes, before: 0 });
      this.#hit();
    }
    if (isGuess || this.#upcoming.includes(id)) this.#came(id, nowMs, { isGuess });
  }

  /** Notes what a reader asked for, whether it is here or not. */
  read(id: number, { offset, length }: ByteRange): void {
    const head = this.#heads.find((head) => head.id === id);
    const end = offset + length;
    if (head && end > head.end && offset <= head.end + TAG_BYTES) {
      // The last of several reads may be what the kernel reads ahead, unless others come after it.
      head.before = head.isGuess ? end : head.end;
      head.end = end;
    }
    this.passed(id, { offset, length });
  }

  /** Notes what was read of a file, by its reader or ahead of it. */
  passed(id: number, { offset, length }: ByteRange): void {
    const file = this.#recent.find((file) => file.id === id);
    if (!file || offset > file.far + TAG_BYTES) return;
    file.far = Math.max(file.far, offset + length);
    if (file.far <= STREAMED_BYTES) return;
    this.#recent = this.#recent.filter((other) => other !== file);
    if (file.isExpected) this.#end();
    else for (const order of SCAN_ORDERS) this.#steps[order] = 0;
  }

  /**
   * The next file to fetch the head of, which then counts as fetched; undefined if there is none for
   * now. `isHere` tells of files of which nothing need be fetched.
   */
  next(isHere: (id: number) => boolean): number | undefined {
    if (this.#order === undefined || this.#guesses.size >= this.#depth) return undefined;
    for (const id of this.#upcoming) {
      if (this.#arrived.has(id) || this.#skipped.has(id) || this.#guesses.has(id)) continue;
      if (!isHere(id)) {
        this.#guesses.set(id, 0);
        return id;
      }
      remember(this.#skipped, id);
    }
    return undefined;
  }

  #came(id: number, nowMs: number, { isGuess }: { isGuess: boolean }): void {
    const isExpected = isGuess || this.#upcoming.includes(id);
    const near = { name: this.#near(id, "name"), listed: this.#near(id, "listed") };
    for (const order of SCAN_ORDERS) this.#step(id, order, near[order]);
    this.#recent.push({ id, near, isExpected, far: 0 });
    if (this.#recent.length > RECENT_MAX) this.#recent.shift();
    this.#latestMs = nowMs;
    remember(this.#arrived, id);
    this.#strays = this.#order === undefined || isExpected ? 0 : this.#strays + 1;
    if (this.#strays >= MISSES_MAX) return this.#end();
    this.#order = this.#found() ?? this.#order;
    // One that is out of order does not move a scan, unless others come after it.
    if (this.#order === undefined || (!isExpected && this.#steps[this.#order] === 0)) return;
    this.#upcoming = this.#after(id, { order: this.#order, count: LOOK_AHEAD });
    if (isExpected) this.#overtake();
  }

  #addHead(head: Head): void {
    this.#heads.push(head);
    if (this.#heads.length > RECENT_MAX) this.#heads.shift();
  }

  #near(id: number, order: ScanOrder): number[] {
    return this.#after(id, { order, count: NEAR });
  }

  /** Counts a step if the file is one of the next after an earlier one. */
  #step(id: number, order: ScanOrder, near: readonly number[]): void {
    const gap = this.#recent
      .map((file) => file.near[order].indexOf(id))
      .reduce((least, place) => place >= 0 && place < least ? place : least, Infinity);
    if (gap < Infinity) {
      const share = this.#steps[order] === 0 ? 1 : GAP_SHARE;
      this.#gaps[order] += share * (gap - this.#gaps[order]);
      this.#steps[order] += 1;
    } else if (!this.#recent.some((file) => near.includes(file.id))) {
      // Otherwise it was overtaken: of several threads the second may be the first.
      this.#steps[order] = 0;
    }
  }

  /** The order in which enough files came; another than that of the scan only if it fits better. */
  #found(): ScanOrder | undefined {
    const fits = (order: ScanOrder): boolean =>
      this.#steps[order] >= this.#stepsMin && this.#gaps[order] < GAP_MAX;
    let best = this.#order && fits(this.#order) ? this.#order : undefined;
    for (const order of SCAN_ORDERS) {
      const better = best === this.#order ? GAP_BETTER : 0;
      const least = best === undefined ? Infinity : this.#gaps[best] - better;
      if (fits(order) && this.#gaps[order] < least) best = order;
    }
    return best;
  }

  #hit(): void {
    const isOvertaking = this.#guesses.values().some((files) => files > 0);
    if (!isOvertaking) this.#depth = Math.min(DEPTH_MAX, this.#depth + 1);
    this.#hits += 1;
    if (this.#hits % HITS_PER_MISS !== 0) return;
    this.#misses = Math.max(0, this.#misses - 1);
    this.#stepsMin = STEPS_MIN;
  }

  /** A file of the scan came: gives up guesses that were overtaken; too many end the scan. */
  #overtake(): void {
    const upcoming = new Set(this.#upcoming);
    for (const [id, files] of this.#guesses) {
      if (upcoming.has(id)) continue;
      this.#guesses.set(id, files + 1);
      if (files + 1 < OVERTAKEN_MIN) continue;
      this.#guesses.delete(id);
      remember(this.#skipped, id);
      this.#misses += 1;
      this.#depth = DEPTH_START;
    }
    if (this.#misses < MISSES_MAX) return;
    this.#stepsMin = Math.min(STEPS_MAX, STEPS_GROWTH * this.#stepsMin);
    this.#end();
  }

  #end(): void {
    this.#recent = [];
    this.#heads = [];
    for (const order of SCAN_ORDERS) this.#steps[order] = 0;
    this.#order = undefined;
    this.#upcoming = [];
    this.#guesses.clear();
    this.#arrived.clear();
    this.#skipped.clear();
    this.#depth = DEPTH_START;
    this.#hits = this.#misses = this.#strays = 0;
  }
}

/** Adds to a set, whose oldest element goes if it has too many. */
function remember(set: Set<number>, id: number): void {
  set.delete(id);
  set.add(id);
  const [oldest] = set;
  if (set.size > KNOWN_MAX && oldest !== undefined) set.delete(oldest);
}
