import type { CacheCommands } from "./cache_commands.ts";
import { type CacheOptions, openCache as open } from "./cache.ts";
import { cacheCommands } from "./commands.ts";
import type { Config } from "./config.ts";
import { ScanRuns } from "./scan_runs.ts";

/** Opens a cache that no daemon holds, for one command; the caller holds its lock. */
export async function openCache(
  config: Config,
  options: Omit<CacheOptions, "forMount">,
): Promise<CacheCommands & AsyncDisposable> {
  const { clock } = options;
  const cache = await open(config, { ...options, forMount: false });
  const stopping = new AbortController();
  const scans = new ScanRuns(cache, clock);
  const commands = cacheCommands({
    cache,
    scans,
    clock,
    signal: stopping.signal,
    daemon: undefined,
  });
  return {
    ...commands,
    [Symbol.asyncDispose]: async () => {
      stopping.abort(new DOMException("The command has ended", "AbortError"));
      await cache[Symbol.asyncDispose]();
    },
  };
}
