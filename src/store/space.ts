import { setImmediate } from "node:timers/promises";
import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { cString, errno, type FilesystemStatus, libc } from "../base/posix.ts";
import type { CacheIndex, CacheItem, ItemKind, ItemName } from "./cache_index.ts";
import { diskBytesOf, nameOf } from "./cache_item.ts";
import type { Index } from "./index.ts";
import { itemPath } from "./layout.ts";
import {
  chooseDemotions,
  chooseVictims,
  extraBytes,
  marginBytes,
  PROTECTED_SHARE,
  SEGMENT,
  type Segment,
  TAGS_SHARE,
} from "./lru_eviction.ts";
import { Overhead } from "./overhead.ts";
import { DiskWatch } from "./disk_watch.ts";
import { diskError } from "./passthrough.ts";
import type { DiskLevel } from "./watermarks.ts";

/** Items evicted, demoted or counted between two turns of the event loop. */
const TURN_ITEMS = 512;

const ENOENT = 2;

/** What `Space` works on. */
export interface SpaceOptions {
  cacheDir: string;
  index: Index;
  cacheIndex: CacheIndex;
  clock: Clock;
  log: Log;
  limitBytes: number;
  /** The disk that the cache lies on, or `-errno`; default: asks `statfs`. */
  disk?: () => FilesystemStatus | number;
}

/** What an eviction removed, or would remove. Sizes in bytes on disk. */
export interface Evicted {
  chunks: number;
  chunkBytes: number;
  extents: number;
  extentBytes: number;
}

/**
 * Called for each file right after it was unlinked, with its bytes on disk; must not write to the
 * cache, nor throw.
 */
export type EvictListener = (kind: ItemKind, idHex: string, diskBytes: number) => void;

/**
 * Makes a file smaller instead of having it evicted: bytes on disk that are left of it. Undefined if
 * nothing of it is worth more than the rest, and then it goes. Must not write to the cache, nor throw.
 */
export type Trim = (item: CacheItem) => number | undefined;

/** A file that was evicted, or trimmed. */
interface Victim {
  readonly item: CacheItem;
  /** Bytes on disk that are left of it. */
  readonly left: number;
}

/**
 * The size limit: whoever writes to the cache makes room here first, and `du` of the cache stays
 * below the limit.
 *
 * A file is unlinked first and forgotten after, in one commit for many. So a crash in between
 * leaves records without files, which `sweep` drops: the limit errs on the safe side, and a full
 * disk has room again by the time the index has to write.
 */
export class Space {
  readonly #cacheDir: string;
  readonly #index: Index;
  readonly #cacheIndex: CacheIndex;
  readonly #overhead: Overhead;
  readonly #log: Log;
  readonly #disk: DiskWatch;
  readonly #listeners = new Set<EvictListener>();
  #trim: Trim | undefined;
  #limitBytes: number;

  constructor(options: SpaceOptions) {
    const { cacheDir, index, cacheIndex, clock, log, limitBytes } = options;
    this.#cacheDir = cacheDir;
    this.#index = index;
    this.#cacheIndex = cacheIndex;
    this.#log = log;
    this.#limitBytes = limitBytes;
    this.#overhead = new Overhead({ cacheDir, index, clock });
    this.#disk = new DiskWatch({ cacheDir, clock, log, disk: options.disk });
  }

  get limitBytes(): number {
    return this.#limitBytes;
  }

  /** Bytes on disk of all that the limit counts; O(1), as last measured. */
  usedBytes(): number {
    const { chunkDiskBytes, extentDiskBytes } = this.#cacheIndex.totals();
    return chunkDiskBytes + extentDiskBytes + this.#overhead.bytes;
  }

  /** How full the disk is, by whomever. At `full`, `reserve` keeps nothing new. */
  get level(): DiskLevel {
    return this.#disk.level;
  }

  /** When the disk was seen to be full, in ms since 1970; null while it is not. */
  get fullSinceMs(): number | null {
    return this.#disk.fullSinceMs;
  }

  /** The part of the disk that is in use; undefined where the disk does not tell. */
  get usedRatio(): number | undefined {
    return this.#disk.usedRatio;
  }

  /** Looks at the disk, at most once a second; to be called now and then while nothing is written. */
  look(): DiskLevel {
    return this.#disk.look();
  }

  /** Takes effect with the next `reserve` or `evictTo`. */
  setLimit(limitBytes: number): void {
    this.#limitBytes = limitBytes;
  }

  /** Calls `listener` for every file that is evicted from now on; the result ends that. */
  onEvict(listener: EvictListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Has `trim` asked before an extent is evicted that holds more than heads and tails. */
  trimWith(trim: Trim): void {
    this.#trim = trim;
  }

  /** Counts what was written beside chunks and extents (a manifest), until it is measured. */
  grew(diskBytes: number): void {
    this.#overhead.grew(diskBytesOf(diskBytes));
  }

  /** Counts a folder of chunks, extents or manifests that was just made. */
  madeFolder(path: string): void {
    this.#overhead.madeFolder(path);
  }

  /**
   * Makes room for `diskBytes` that are written, and recorded in the `CacheIndex`, right after.
   *
   * Never evicts `keep`: what is being written to, nor what is pinned. Not to be called within a
   * transaction: files go at once, and their records would come back with it. Throws `full` when
   * there is nothing left to evict or the disk is at `full`, and `unavailable` if files cannot be
   * deleted.
   */
  reserve(diskBytes: number, { keep }: { keep?: ItemName } = {}): void {
    const needBytes = diskBytesOf(diskBytes);
    if (this.#overhead.wrote(needBytes)) this.#disk.ask();
    this.#disk.look();
    if (this.#over(needBytes) > 0) this.#makeRoom(needBytes, keep);
    if (this.#disk.lacking(needBytes) > 0) this.#giveBack(needBytes, keep);
    this.#disk.wrote(needBytes);
  }

  /**
   * Evicts at least `diskBytes` whatever the limit says, for when the disk itself is full. False if
   * there was nothing to evict.
   */
  freeUp(diskBytes: number, { keep }: { keep?: ItemName } = {}): boolean {
    let needBytes = diskBytesOf(diskBytes);
    const extraBytes = this.#extraBytes();
    let found = false;
    while (needBytes > 0) {
      const bytes = { needBytes, extraBytes };
      const victims = this.#evict(() => chooseVictims(this.#evictable(keep), bytes));
      if (victims.length === 0) break;
      found = true;
      needBytes -= freedBytes(victims);
    }
    return found;
  }

  /**
   * Evicts until all that the limit counts takes `targetBytes` or less, or nothing is left but what
   * is pinned; lets other work go on in between. With `dryRun` it counts what would go.
   */
  async evictTo(
    targetBytes: number,
    { dryRun = false, signal }: { dryRun?: boolean; signal?: AbortSignal } = {},
  ): Promise<Evicted> {
    this.#overhead.measure();
    this.#disk.ask();
    const evicted: Evicted = { chunks: 0, chunkBytes: 0, extents: 0, extentBytes: 0 };
    if (dryRun) {
      await this.#countTo(targetBytes, evicted, signal);
      return evicted;
    }
    this.#demote();
    while (true) {
      signal?.throwIfAborted();
      const needBytes = this.usedBytes() - targetBytes;
      const victims = this.#evict(() => {
        const oldest = Iterator.from(this.#evictable()).take(TURN_ITEMS);
        return chooseVictims(oldest, { needBytes, extraBytes: 0 });
      });
      if (victims.length === 0) return evicted;
      for (const victim of victims) add(evicted, victim);
      await setImmediate();
    }
  }

  /** How many bytes too many there are for the limit once `needBytes` more are written. */
  #over(needBytes: number): number {
    return this.usedBytes() + needBytes + marginBytes(this.#limitBytes) - this.#limitBytes;
  }

  /** By what is there, where a small disk holds the cache below its limit. */
  #extraBytes(): number {
    return extraBytes(Math.min(this.#limitBytes, this.usedBytes()));
  }

  *#evictable(keep?: ItemName): Iterable<CacheItem> {
    const kept = keep && nameOf(keep.kind, keep.id);
    for (const item of this.#cacheIndex.oldest()) {
      if (item.segment === SEGMENT.pinned) return;
      if (kept === undefined || nameOf(item.kind, item.id) !== kept) yield item;
    }
  }

  /** Holds the segments to their shares. */
  #demote(): void {
    const { protectedDiskBytes, tagsDiskBytes } = this.#cacheIndex.totals();
    this.#demoteFrom(SEGMENT.protected, protectedDiskBytes, PROTECTED_SHARE);
    this.#demoteFrom(SEGMENT.tags, tagsDiskBytes, TAGS_SHARE);
  }

  #demoteFrom(segment: Segment, segmentBytes: number, share: number): void {
    const demoted = chooseDemotions(this.#cacheIndex.oldest(segment), {
      segmentBytes,
      share,
      limitBytes: this.#limitBytes,
      max: TURN_ITEMS,
    });
    if (demoted.length > 0) this.#cacheIndex.move(demoted, SEGMENT.probation);
  }

  #makeRoom(needBytes: number, keep: ItemName | undefined): void {
    this.#demote();
    for (let over = this.#over(needBytes); over > 0; over = this.#over(needBytes)) {
      const bytes = { needBytes: over, extraBytes: this.#extraBytes() };
      const victims = this.#evict(() => chooseVictims(this.#evictable(keep), bytes));
      if (victims.length === 0) throw this.#full(needBytes);
      this.#overhead.measureIndex();
      this.#disk.ask();
    }
  }

  /**
   * Unlinks or trims the chosen files, tells the listeners and forgets the items. One transaction
   * around all of it, so that what waits in memory goes along, and is written once there is room on
   * the disk. A file that was trimmed holds tags alone, and is not trimmed again.
   */
  #evict(choose: () => readonly CacheItem[]): readonly Victim[] {
    let refused = 0;
    const victims = this.#index.transaction(() => {
      const [done, reason] = this.#take(choose());
      refused = reason;
      for (const { item, left } of done) {
        if (left === 0) continue;
        const segment = SEGMENT.tags;
        this.#cacheIndex.record({ ...item, diskBytes: left, contentBytes: left, segment });
      }
      const gone = done.filter(({ left }) => left === 0).map(({ item }) => item);
      if (done.length > 0) this.#cacheIndex.removeAll(gone);
      return done;
    });
    this.#log.debug("Evicted from the cache", { items: victims.length });
    if (refused === 0) return victims;
    throw diskError({ op: "space.evict", subject: this.#cacheDir, errno: refused });
  }

  /** What was done, up to the first file that the disk refuses to delete, and the errno. */
  #take(items: readonly CacheItem[]): [done: readonly Victim[], refused: number] {
    const done: Victim[] = [];
    for (const item of items) {
      const left = this.#trimmed(item);
      if (left === 0) {
        const result = libc.unlink(cString(itemPath(this.#cacheDir, item)));
        const reason = result === 0 ? 0 : errno();
        if (reason !== 0 && reason !== ENOENT) return [done, reason];
        const { kind, diskBytes } = item;
        for (const listener of this.#listeners) listener(kind, item.id.toHex(), diskBytes);
      }
      done.push({ item, left });
    }
    return [done, 0];
  }

  /** Bytes on disk that are left of an item that need not go as a whole; 0 if it must. */
  #trimmed(item: CacheItem): number {
    if (item.kind !== "extent" || item.segment >= SEGMENT.tags) return 0;
    const left = diskBytesOf(this.#trim?.(item) ?? 0);
    return left < item.diskBytes ? left : 0;
  }

  async #countTo(
    targetBytes: number,
    evicted: Evicted,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    let rest = this.usedBytes() - targetBytes;
    let items = 0;
    if (rest <= 0) return;
    for (const item of this.#evictable()) {
      add(evicted, { item, left: 0 });
      rest -= item.diskBytes;
      if (rest <= 0) return;
      items += 1;
      if (items % TURN_ITEMS !== 0) continue;
      await setImmediate();
      signal?.throwIfAborted();
    }
  }

  /**
   * Gives the disk back what it lacks below its watermark: bit by bit, because a large cache takes
   * long to delete, but more than `needBytes` each time.
   */
  #giveBack(needBytes: number, keep: ItemName | undefined): void {
    const wanted = Math.min(
      this.#disk.lacking(needBytes),
      2 * needBytes + extraBytes(this.#limitBytes),
    );
    // So little that the disk is not one moment nearly full and the next one not.
    const spare = Math.min(this.#disk.keepFreeBytes / 8, this.#extraBytes());
    const bytes = { needBytes: wanted, extraBytes: spare };
    this.#demote();
    const victims = this.#evict(() => chooseVictims(this.#evictable(keep), bytes));
    this.#overhead.measureIndex();
    this.#disk.ask();
    if (this.level === "full") throw this.#diskFull();
    const isEnough = freedBytes(victims) >= needBytes || this.#disk.lacking(needBytes) <= 0;
    if (!isEnough) throw this.#full(needBytes);
  }

  #diskFull(): MusicfsError {
    return new MusicfsError(
      "full",
      `Cannot keep anything new in ${this.#cacheDir}: its disk is full, and what could be evicted ` +
        "was not enough. Free space on it",
      { op: "space.reserve", subject: this.#cacheDir },
    );
  }

  #full(needBytes: number): MusicfsError {
    return new MusicfsError(
      "full",
      `Cannot make room for ${needBytes} bytes in ${this.#cacheDir}: nothing is left to ` +
        `evict that is not pinned, and ${this.usedBytes()} of ${this.#limitBytes} bytes are ` +
        "taken. Raise --max-size or free space on the disk",
      { op: "space.reserve", subject: this.#cacheDir },
    );
  }
}

function freedBytes(victims: readonly Victim[]): number {
  return victims.reduce((sum, { item, left }) => sum + item.diskBytes - left, 0);
}

function add(evicted: Evicted, { item, left }: Victim): void {
  const freed = item.diskBytes - left;
  if (item.kind === "chunk") {
    evicted.chunks += 1;
    evicted.chunkBytes += freed;
  } else {
    evicted.extents += left === 0 ? 1 : 0;
    evicted.extentBytes += freed;
  }
}
