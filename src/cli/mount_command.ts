import { fileURLToPath } from "node:url";
import { dirname } from "node:path";
import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Config } from "../mount/config.ts";
import { canonicalMountpoint } from "../mount/mountpoint.ts";
import { requireOrigins } from "./cache_command.ts";
import type { CliContext } from "./context.ts";
import { UsageError } from "./usage_error.ts";

/** How long an origin's or the cache's real name is waited for, in ms: its server may be gone. */
const REAL_NAME_MS_MAX = 1_000;

/** `musicfs mount`: serves until stopped. */
export async function runMount(options: {
  mountpoint: string;
  replace: boolean;
  config: Config;
  context: CliContext;
  log: Log;
  reload: () => Config;
}): Promise<number> {
  const { config, context, log, reload } = options;
  if (options.replace) {
    throw new UsageError(
      '--replace comes with a later version of musicfs; run "musicfs unmount" first',
      { subject: "--replace" },
    );
  }
  requireOrigins(config);
  if (config.maxSizeBytes === 0) {
    throw new UsageError("max_size cannot be 0; use --cache off to keep nothing", {
      subject: "max_size",
    });
  }
  const mountpoint = canonicalMountpoint(options.mountpoint);
  await refuseOverlaps(mountpoint, { config, clock: context.clock });
  return await context.runDaemon(config, {
    mountpoint,
    clock: context.clock,
    log,
    env: context.env,
    reload,
  });
}

/**
 * Refuses a mountpoint that lies in an origin, in the cache, or above one of them: the daemon would
 * wait for itself. Nor may the cache lie in an origin, or the library would grow with each read.
 */
async function refuseOverlaps(
  mountpoint: string,
  { config, clock }: { config: Config; clock: Clock },
): Promise<void> {
  const cacheDir = await realName(config.cacheDir, clock);
  refuseOverlap(mountpoint, cacheDir, `the cache ${config.cacheDir}`);
  for (const { url } of config.origins) {
    const path = localPath(url);
    if (path === undefined) continue;
    const origin = await realName(path, clock);
    refuseOverlap(mountpoint, origin, `the origin ${path}`);
    if (isWithin(cacheDir, origin)) {
      throw new UsageError(
        `The cache ${config.cacheDir} lies in the origin ${path}; name another with --cache-dir`,
        { subject: config.cacheDir },
      );
    }
  }
}

function refuseOverlap(mountpoint: string, path: string, what: string): void {
  if (!isWithin(mountpoint, path) && !isWithin(path, mountpoint)) return;
  const how = mountpoint === path ? "is" : isWithin(mountpoint, path) ? "lies in" : "contains";
  throw new UsageError(`The mountpoint ${mountpoint} ${how} ${what}; name another folder`, {
    subject: mountpoint,
  });
}

function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === "/" ? "/" : `${folder}/`);
}

function localPath(url: string): string | undefined {
  if (url.startsWith("/")) return url;
  return /^file:/i.test(url) ? fileURLToPath(url) : undefined;
}

/** Without symlinks, as far as the path exists and answers in time. */
async function realName(path: string, clock: Clock): Promise<string> {
  const timer = new AbortController();
  const late = clock.sleep(REAL_NAME_MS_MAX, timer.signal).then(() => path, () => path);
  try {
    return await Promise.race([realNameOfExisting(path), late]);
  } finally {
    timer.abort();
  }
}

async function realNameOfExisting(path: string): Promise<string> {
  try {
    return await Deno.realPath(path);
  } catch (error) {
    const folder = dirname(path);
    if (!(error instanceof Deno.errors.NotFound) || folder === path) return path;
    const real = await realNameOfExisting(folder);
    return `${real === "/" ? "" : real}/${path.slice(path.lastIndexOf("/") + 1)}`;
  }
}
