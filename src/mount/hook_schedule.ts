import type { EntryEvent } from "../library/library.ts";
import { GatheredChanges, type HookBatch } from "./hook_changes.ts";

/** Changes come in bursts: a hook runs this long after the last one, in ms. */
export const QUIET_MS = 2_000;

/** How long changes wait for the end of a scan that finds them, in ms. */
export const SCAN_WAIT_MS_MAX = 60_000;

/**
 * When one hook runs, and what it is told: no clock, no timer. Times are monotonic ms.
 *
 * It runs when nothing has changed for {@linkcode QUIET_MS}, or after the hook's interval if changes
 * do not end, and never twice within that interval or at once. While a scan goes on it waits, for at
 * most {@linkcode SCAN_WAIT_MS_MAX}; for a daemon's first scan as long as that takes.
 *
 * What a failed run was told is told once more, with the next change.
 */
export class HookSchedule {
  readonly #intervalMs: number;
  #fresh = new GatheredChanges();
  /** What a run that failed was told for the first time. */
  #owed = new GatheredChanges();
  /** What the run under way is told for the first time. */
  #told = new GatheredChanges();
  #firstMs = 0;
  #lastMs = 0;
  #startedMs = -Infinity;
  #isRunning = false;
  #scans = 0;
  #isFirstScan = false;
  #awaitsScan: boolean;

  /** `awaitsScan`: the daemon has just started, and its first scan is on its way. */
  constructor(
    { minIntervalMs, awaitsScan = false }: { minIntervalMs: number; awaitsScan?: boolean },
  ) {
    this.#intervalMs = minIntervalMs;
    this.#awaitsScan = awaitsScan;
  }

  changed(events: readonly EntryEvent[], nowMs: number): void {
    if (events.length === 0) return;
    if (this.#fresh.isEmpty) this.#firstMs = nowMs;
    this.#fresh.add(events);
    this.#lastMs = nowMs;
  }

  /** Something changed before anybody listened. */
  missed(nowMs: number): void {
    if (this.#fresh.isEmpty) this.#firstMs = nowMs;
    this.#fresh.addUnseen();
    this.#lastMs = nowMs;
  }

  /** `isFirst`: no scan of this daemon has been completed before. */
  scanBegan({ isFirst }: { isFirst: boolean }): void {
    this.#scans += 1;
    this.#isFirstScan = isFirst;
  }

  scanEnded(): void {
    this.#scans = Math.max(0, this.#scans - 1);
    this.#awaitsScan = false;
  }

  /** When the next run is to begin; Infinity if nothing is known that would start one. */
  dueMs(): number {
    if (this.#isRunning || this.#awaitsScan || this.#fresh.isEmpty) return Infinity;
    const latestMs = this.#firstMs + Math.max(QUIET_MS, this.#intervalMs);
    const quietMs = Math.min(this.#lastMs + QUIET_MS, latestMs);
    const dueMs = Math.max(quietMs, this.#startedMs + this.#intervalMs);
    if (this.#scans === 0) return dueMs;
    return this.#isFirstScan ? Infinity : Math.max(dueMs, this.#firstMs + SCAN_WAIT_MS_MAX);
  }

  /** A run begins; what it is told. */
  begin(nowMs: number): HookBatch {
    const all = this.#owed;
    this.#told = this.#fresh;
    all.addAll(this.#told);
    this.#owed = new GatheredChanges();
    this.#fresh = new GatheredChanges();
    this.#startedMs = nowMs;
    this.#isRunning = true;
    return all.batch();
  }

  /** The run has ended. */
  end({ isDone }: { isDone: boolean }): void {
    this.#isRunning = false;
    if (!isDone) this.#owed = this.#told;
    this.#told = new GatheredChanges();
  }
}
