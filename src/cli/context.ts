import type { Clock } from "../base/clock.ts";
import type { CacheOptions } from "../mount/cache.ts";
import type { CacheCommands } from "../mount/cache_commands.ts";
import type { Config } from "../mount/config.ts";
import type { StartOptions } from "../mount/start.ts";
import type { Output } from "./output.ts";

/** What a command may touch: everything outside of it, so that tests can put their own there. */
export interface CliContext {
  env: (name: string) => string | undefined;
  random: () => number;
  cwd: string;
  home: string;
  stdout: Output;
  stderr: Output;
  clock: Clock;
  /** Serves a mount until it is stopped; the exit code. Throws `MusicfsError` if it cannot. */
  runDaemon(config: Config, options: StartOptions): Promise<number>;
  /**
   * Opens the cache for one command. The caller holds the cache's lock, and releases it after the
   * cache has been disposed of.
   */
  openCache(
    config: Config,
    options: Omit<CacheOptions, "forMount">,
  ): Promise<CacheCommands & AsyncDisposable>;
}
