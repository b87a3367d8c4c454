import type { Clock } from "../base/clock.ts";
import { orAborted } from "../base/concurrency.ts";
import type { Log } from "../base/log.ts";
import type { WatchListener } from "../origins/folder_watch.ts";
import { type LookBatch, WatchQueue } from "./watch_queue.ts";

/** Where hints come from; `FolderWatch`, or a test's own. */
export interface WatchSource {
  listen(listener: WatchListener): void;
}

/** What a watcher of one origin works with. */
export interface OriginWatcherParts {
  /** The origin's name. */
  name: string;
  source: WatchSource;
  /** As `Library.look`: whether deletions were held. */
  look: (batch: LookBatch, signal: AbortSignal) => Promise<boolean>;
  /** Scans the origin; whether the scan saw all of it. */
  scan: (signal: AbortSignal) => Promise<boolean>;
  clock: Clock;
  log: Log;
}

/**
 * Keeps the library in line with one origin between scans.
 *
 * What is told is a hint that a folder may have changed: it is looked at when it has been quiet for
 * 200 ms, at the latest after 1 s. Where changes are lost the origin is scanned, again while more
 * of them are.
 */
export class OriginWatcher {
  readonly #parts: OriginWatcherParts;
  readonly #queue = new WatchQueue();
  /** Told when something is due earlier than whoever waits knows. */
  #wake = Promise.withResolvers<void>();

  /** Listens from now on: a scan that begins later sees all that was not told. */
  constructor(parts: OriginWatcherParts) {
    this.#parts = parts;
    const { clock, log, name, source } = parts;
    source.listen({
      hint: (hint) => {
        const wasEmpty = this.#queue.size === 0;
        this.#queue.note(hint, clock.monotonic());
        if (wasEmpty) this.#wakeUp();
      },
      lost: (why) => {
        if (this.#queue.scanDueMs() === undefined) {
          log.info("Changes were missed; the origin is scanned", { origin: name, why });
        }
        this.rescan();
      },
    });
  }

  /** Whether `run` ended by an error of its own. */
  hasFailed = false;

  /** How often changes were lost, or seemed to be. */
  get losses(): number {
    return this.#queue.losses;
  }

  /** Wants a scan soon. */
  rescan(): void {
    this.#queue.lost(this.#parts.clock.monotonic());
    this.#wakeUp();
  }

  /** Looks and scans until the signal ends it; throws its reason. */
  async run(signal: AbortSignal): Promise<never> {
    // The one ends with the other.
    const both = new AbortController();
    const either = AbortSignal.any([signal, both.signal]);
    const loops = [this.#looks(either), this.#scans(either)];
    try {
      return await Promise.race(loops);
    } catch (error) {
      this.hasFailed = !signal.aborted;
      throw error;
    } finally {
      both.abort(new DOMException("The other loop failed", "AbortError"));
      await Promise.allSettled(loops);
    }
  }

  async #looks(signal: AbortSignal): Promise<never> {
    const { clock, log, look, name } = this.#parts;
    for (;;) {
      await this.#until(() => this.#queue.lookDueMs(), signal);
      const batch = this.#queue.takeLook(clock.monotonic());
      if (!batch) continue;
      try {
        const isHeld = await look(batch, signal);
        this.#queue.looked(batch, { isHeld, nowMs: clock.monotonic() });
      } catch (error) {
        signal.throwIfAborted();
        log.info("Cannot look at what changed; the origin is scanned", { origin: name, error });
        this.rescan();
      }
    }
  }

  async #scans(signal: AbortSignal): Promise<never> {
    const { clock, scan } = this.#parts;
    for (;;) {
      await this.#until(() => this.#queue.scanDueMs(), signal);
      if (!this.#queue.takeScan(clock.monotonic())) continue;
      let complete = false;
      try {
        complete = await scan(signal);
      } finally {
        this.#queue.scanEnded(complete, clock.monotonic());
      }
    }
  }

  /** Waits until it is due, or something else may be by now. */
  async #until(dueMs: () => number | undefined, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const due = dueMs();
    const woken = this.#wake.promise;
    if (due === undefined) return await orAborted(woken, signal);
    const timer = new AbortController();
    const ms = Math.max(0, due - this.#parts.clock.monotonic());
    const slept = this.#parts.clock.sleep(ms, timer.signal);
    slept.catch(() => {/* Woken, or ended. */});
    try {
      await orAborted(Promise.race([slept, woken]), signal);
    } finally {
      timer.abort();
    }
  }

  #wakeUp(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }
}
