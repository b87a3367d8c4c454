import type { Clock } from "../base/clock.ts";
import type { ScanReport } from "../library/library.ts";
import type { Cache } from "./cache.ts";
import { compareContent } from "./compare_content.ts";
import {
  CHANGES_PER_PROGRESS_MAX,
  type OriginScanResult,
  type OriginStatus,
  type ScanOptions,
  type StatusResult,
} from "./cache_commands.ts";

/** A scan of these origins was begun, or ended. */
export interface ScanNews {
  origins: readonly string[];
  /** What it found, empty if it was interrupted; undefined when it begins. */
  results?: readonly OriginScanResult[];
}

/** Scans, and what is remembered of them for `status`. */
export class ScanRuns {
  readonly #cache: Cache;
  readonly #clock: Clock;
  readonly #states = new Map<string, OriginStatus["state"]>();
  #running = 0;
  #files = 0;
  #folders = 0;
  #last: "idle" | "held" | "failed" = "idle";
  #lastCompleteMs: number | null = null;
  readonly #listeners = new Set<(news: ScanNews) => void>();

  constructor(cache: Cache, clock: Clock) {
    this.#cache = cache;
    this.#clock = clock;
  }

  /** What the last scan said of an origin. */
  stateOf(origin: string): OriginStatus["state"] {
    return this.#states.get(origin) ?? "unknown";
  }

  status(): StatusResult["scan"] {
    return {
      state: this.#running > 0 ? "running" : this.#last,
      files: this.#running > 0 ? this.#files : 0,
      last_complete_ms: this.#lastCompleteMs,
    };
  }

  /** Calls `listener` when a scan begins and when it ends; the result ends that. */
  listen(listener: (news: ScanNews) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Walks the origins; one scan after another. Throws the signal's reason. */
  async run(options: ScanOptions & { signal: AbortSignal }): Promise<OriginScanResult[]> {
    const { origins, acceptDeletions, onProgress, signal } = options;
    const began = this.#clock.monotonic();
    this.#running += 1;
    const walked = this.#cache.origins.map(({ name }) => name).filter((name) =>
      origins?.includes(name) ?? true
    );
    let results: OriginScanResult[] = [];
    this.#tell({ origins: walked });
    const ended = onProgress && this.#cache.library.listen((events) => {
      for (let at = 0; at < events.length; at += CHANGES_PER_PROGRESS_MAX) {
        const changes = events.slice(at, at + CHANGES_PER_PROGRESS_MAX);
        onProgress({ origin: "", folders: this.#folders, files: this.#files, changes });
      }
    });
    try {
      const report = await this.#cache.library.scan({
        acceptDeletions,
        signal,
        ...(origins ? { origins } : {}),
        ...(options.skipUnchanged ? { skipUnchanged: options.skipUnchanged } : {}),
        onProgress: ({ origin, folders, files }) => {
          this.#files = files;
          this.#folders = folders;
          onProgress?.({ origin, folders, files, changes: [] });
        },
      });
      if (options.checksum) await this.#compareContent(report, signal);
      results = this.#note(report, (this.#clock.monotonic() - began) / 1000);
      return results;
    } finally {
      ended?.();
      this.#running -= 1;
      this.#tell({ origins: walked, results });
    }
  }

  #tell(news: ScanNews): void {
    for (const listener of this.#listeners) listener(news);
  }

  /** Adds to the report what only the bytes show. */
  async #compareContent(report: ScanReport, signal: AbortSignal): Promise<void> {
    for (const scanned of report.origins) {
      const origin = this.#cache.guarded.find(({ name }) => name === scanned.origin);
      if (!origin || scanned.errors.length > 0) continue;
      const { changed, error } = await compareContent(this.#cache, { origin, signal });
      scanned.changed += changed;
      if (error) scanned.errors.push(error);
    }
  }

  #note(report: ScanReport, seconds: number): OriginScanResult[] {
    const results = report.origins.map((origin): OriginScanResult => {
      const [error] = origin.errors;
      const state = origin.held ? "held" : error ? "failed" : "complete";
      this.#states.set(origin.origin, state === "failed" ? "offline" : "online");
      return {
        name: origin.origin,
        state,
        folders: origin.folders,
        files: origin.files,
        added: origin.added,
        changed: origin.changed,
        moved: origin.moved,
        gone: origin.gone,
        held_deletions: origin.held?.gone ?? 0,
        resumed: origin.resumed,
        seconds,
        error: error?.message ?? null,
      };
    });
    const states = new Set(results.map((result) => result.state));
    this.#last = states.has("failed") ? "failed" : states.has("held") ? "held" : "idle";
    if (!states.has("failed")) this.#lastCompleteMs = this.#clock.now();
    return results;
  }
}
