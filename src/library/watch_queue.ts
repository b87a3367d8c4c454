/**
 * What is to be looked at, and when, from what a watch tells. Pure: the time is passed in.
 *
 * Times are ms of a monotonic clock.
 */

import type { FolderHint } from "../origins/folder_watch.ts";

/** A folder is looked at when nothing more was told of it for this long, in ms. */
export const DEBOUNCE_MS = 200;

/** Longest time that a folder waits for that, in ms. */
export const DIRTY_MS_MAX = 1_000;

/** The same, if all that is told is that a file in it is being written, in ms. */
export const GROWING_MS_MAX = 10_000;

/** More folders than these are not remembered one by one: a scan is no slower. */
export const DIRTY_FOLDERS_MAX = 10_000;

/** Waits before a scan that the one before did not make good, in ms; the last one is repeated. */
const AGAIN_MS = [0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000] as const;

/**
 * Waits before folders are looked at again of which more was missing than was seen to go, in ms:
 * the rest may be on its way, while the kernel tells of it.
 */
const HELD_MS = [300, 700, 1_500, 3_000, 6_000] as const;

/** Folders to look at. */
export interface LookBatch {
  folders: string[];
  /** Those of which all below is to be looked at, too. */
  deep: ReadonlySet<string>;
  /** Of each folder, how many names were seen to go from it; 0 is left out. */
  gone: ReadonlyMap<string, number>;
}

interface Dirty {
  /** When it is looked at however much goes on. */
  limitMs: number;
  lastMs: number;
  isNew: boolean;
  gone: number;
  hasMoved: boolean;
}

/** A scan that is wanted, because changes happened that nobody knows of. */
interface Wanted {
  firstMs: number;
  lastMs: number;
}

/** Collects hints, says when and what to look at, and when only a scan will do. */
export class WatchQueue {
  readonly #dirty = new Map<string, Dirty>();
  #wanted: Wanted | undefined;
  /** Scans in a row that failed, or during which changes were lost again. */
  #failures = 0;
  #scanNotBeforeMs = -Infinity;
  #scanning = false;
  /** Looks in a row whose deletions were held. */
  #holds = 0;
  /** How often changes were lost. */
  losses = 0;

  /** Folders that wait. */
  get size(): number {
    return this.#dirty.size;
  }

  note({ folder, isNew, isGone, isGrowing, isMove }: FolderHint, nowMs: number): void {
    const limitMs = nowMs + (isGrowing ? GROWING_MS_MAX : DIRTY_MS_MAX);
    const known = this.#dirty.get(folder);
    if (known) {
      known.lastMs = nowMs;
      known.limitMs = Math.min(known.limitMs, limitMs);
      known.isNew ||= isNew;
      known.hasMoved ||= isMove;
      known.gone += isGone ? 1 : 0;
      return;
    }
    if (this.#dirty.size >= DIRTY_FOLDERS_MAX) return this.lost(nowMs);
    const gone = isGone ? 1 : 0;
    this.#dirty.set(folder, { limitMs, lastMs: nowMs, isNew, gone, hasMoved: isMove });
  }

  /** Something happened that is not known; a scan is wanted. What is dirty stays so. */
  lost(nowMs: number): void {
    this.losses += 1;
    this.#wanted ??= { firstMs: nowMs, lastMs: nowMs };
    this.#wanted.lastMs = nowMs;
  }

  /** When the next folder is due; undefined if none is dirty. O(dirty folders). */
  lookDueMs(): number | undefined {
    let due: number | undefined;
    for (const dirty of this.#dirty.values()) due = Math.min(due ?? Infinity, dueMs(dirty));
    return due;
  }

  /**
   * Takes what is due; undefined if nothing is. Folders that things moved from and to are taken
   * together, or what moved would seem to be gone, and then new.
   */
  takeLook(nowMs: number): LookBatch | undefined {
    const folders: string[] = [];
    const deep = new Set<string>();
    const gone = new Map<string, number>();
    const isDue = (dirty: Dirty): boolean => dueMs(dirty) <= nowMs;
    const takesMoves = this.#dirty.values().some((dirty) => dirty.hasMoved && isDue(dirty));
    for (const [folder, dirty] of this.#dirty) {
      if (!isDue(dirty) && !(takesMoves && dirty.hasMoved)) continue;
      this.#dirty.delete(folder);
      folders.push(folder);
      if (dirty.isNew) deep.add(folder);
      if (dirty.gone > 0) gone.set(folder, dirty.gone);
    }
    return folders.length > 0 ? { folders, deep, gone } : undefined;
  }

  /**
   * Says how a look ended. If deletions were held, what was seen to go is kept and counts with what
   * is seen from now on: a few times, for what nobody saw go is for a scan to judge.
   */
  looked({ gone }: LookBatch, { isHeld, nowMs }: { isHeld: boolean; nowMs: number }): void {
    const waitMs = isHeld ? HELD_MS[this.#holds] : undefined;
    this.#holds = waitMs === undefined ? 0 : this.#holds + 1;
    if (waitMs === undefined) return;
    for (const [folder, count] of gone) {
      const known = this.#dirty.get(folder);
      if (known) known.gone += count;
      else {
        const lastMs = nowMs + waitMs;
        const limitMs = lastMs + DEBOUNCE_MS;
        this.#dirty.set(folder, { limitMs, lastMs, isNew: false, gone: count, hasMoved: false });
      }
    }
  }

  /** When a scan is due; undefined if none is wanted, or one is under way. */
  scanDueMs(): number | undefined {
    if (!this.#wanted || this.#scanning) return undefined;
    const { firstMs, lastMs } = this.#wanted;
    const due = Math.min(lastMs + DEBOUNCE_MS, firstMs + DIRTY_MS_MAX);
    return Math.max(due, this.#scanNotBeforeMs);
  }

  /** Whether a scan is due; the caller begins it, and says how it ended. */
  takeScan(nowMs: number): boolean {
    const due = this.scanDueMs();
    if (due === undefined || due > nowMs) return false;
    this.#wanted = undefined;
    this.#scanning = true;
    return true;
  }

  /** The scan has ended; one that is not `complete`, or lost something meanwhile, is done again. */
  scanEnded(complete: boolean, nowMs: number): void {
    this.#scanning = false;
    if (!complete) this.#wanted ??= { firstMs: nowMs, lastMs: nowMs };
    this.#failures = this.#wanted ? this.#failures + 1 : 0;
    const waitMs = AGAIN_MS[Math.min(this.#failures, AGAIN_MS.length - 1)] ?? 0;
    this.#scanNotBeforeMs = nowMs + waitMs;
  }
}

function dueMs({ limitMs, lastMs }: Dirty): number {
  return Math.min(lastMs + DEBOUNCE_MS, limitMs);
}
