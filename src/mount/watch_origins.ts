import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { OriginWatcher } from "../library/origin_watcher.ts";
import type { FolderWatch } from "../origins/folder_watch.ts";
import type { Cache } from "./cache.ts";
import type { OriginScanResult } from "./cache_commands.ts";

/** What watching the local origins needs. */
export interface WatchParts {
  cache: Cache;
  /** Scans one origin, and tells of it in the log. */
  scan: (origin: string, signal: AbortSignal) => Promise<OriginScanResult[]>;
  clock: Clock;
  log: Log;
}

/** The watchers of all origins that have a watch. They listen from now on: scans come later. */
export class WatchedOrigins {
  readonly #log: Log;
  readonly #watches: readonly FolderWatch[];
  readonly #watchers = new Map<string, OriginWatcher>();
  /** What the log was last told of a watch. */
  readonly #told = new Map<string, string>();

  constructor({ cache, scan, clock, log }: WatchParts) {
    this.#log = log;
    this.#watches = cache.watches;
    for (const source of cache.watches) {
      const { name } = source;
      const watcher = new OriginWatcher({
        name,
        source,
        look: ({ folders, deep, gone }, signal) =>
          cache.library.look(name, folders, { deep, gone, signal }),
        scan: async (signal) => {
          const results = await scan(name, signal);
          return results.every(({ state }) => state !== "failed");
        },
        clock,
        log,
      });
      this.#watchers.set(name, watcher);
    }
  }

  /** The tasks: names, and what to run. */
  *tasks(): Iterable<readonly [name: string, run: (signal: AbortSignal) => Promise<void>]> {
    for (const [name, watcher] of this.#watchers) {
      yield [`watch ${name}`, async (signal) => {
        // What was being done when the task failed is for a scan to find.
        if (watcher.hasFailed) watcher.rescan();
        await watcher.run(signal);
      }];
    }
  }

  /** A scan has ended. What one left out because an earlier process had seen it is not watched. */
  scanned(results: readonly OriginScanResult[]): void {
    for (const { name, resumed } of results) {
      if (resumed) this.#watchers.get(name)?.rescan();
    }
    for (const { name, state, folders } of this.#watches) {
      if (this.#told.get(name) === state) continue;
      this.#told.set(name, state);
      if (state === "watching") this.#log.info("Watching for changes", { origin: name, folders });
      if (state !== "polled") continue;
      this.#log.info(
        "Not watched: on a network's disk, which tells nothing of changes. It is polled",
        {
          origin: name,
        },
      );
    }
  }
}
