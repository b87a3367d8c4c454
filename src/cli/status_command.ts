import { resolve } from "node:path";
import { MusicfsError } from "../base/errors.ts";
import type { StatusResult } from "../mount/cache_commands.ts";
import { canonicalMountpoint } from "../mount/mountpoint.ts";
import { findDaemon, registryPlace } from "../mount/registry.ts";
import type { CacheCommandOptions } from "./cache_command.ts";
import { printJson } from "./output.ts";
import { reachCache, remoteCommands } from "./reach_cache.ts";
import { printStatus } from "./status_text.ts";
import { UsageError } from "./usage_error.ts";

/** `musicfs status`: of the daemon at `mountpoint`, or of whoever has the configured cache. */
export async function runStatus(
  options: CacheCommandOptions & {
    mountpoint: string | undefined;
    watch: boolean;
    /** As it was typed. */
    interval: string | undefined;
  },
): Promise<number> {
  const { config, context, log, json, mountpoint, watch, interval } = options;
  if (watch) {
    const { watchIntervalMs, watchStatus } = await import("./watch_status.ts");
    return await watchStatus({ ...options, intervalMs: watchIntervalMs(interval) });
  }
  if (interval !== undefined) {
    throw new UsageError("--interval goes with --watch", { subject: "--interval" });
  }
  const result = mountpoint === undefined
    ? await reachCache(config, { context, log, mayCreate: false }, (cache) => cache.status())
    : await statusAt(mountpoint, options);
  if (json) printJson(context.stdout, result);
  else printStatus(context.stdout, result);
  return 0;
}

async function statusAt(
  mountpoint: string,
  { context }: CacheCommandOptions,
): Promise<StatusResult> {
  const path = canonicalMountpoint(resolve(context.cwd, mountpoint));
  const daemon = findDaemon(path, registryPlace(context.env));
  if (daemon) return await remoteCommands(daemon.cache_dir, { context, held: undefined }).status();
  throw new MusicfsError(
    "not_found",
    `No musicfs daemon serves ${path}; "musicfs check-mount" shows what is mounted`,
    { op: "status.find", subject: path },
  );
}
