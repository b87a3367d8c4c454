import { fileURLToPath } from "node:url";
import { dirname, resolve } from "node:path";
import type { Clock } from "../base/clock.ts";
import { within } from "../base/concurrency.ts";
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
  const { replace, config, context, log, reload } = options;
  requireOrigins(config);
  if (config.maxSizeBytes === 0) {
    throw new UsageError("max_size cannot be 0; use --cache off to keep nothing", {
      subject: "max_size",
    });
  }
  const { clock, env, random } = context;
  await refuseCacheInOrigin(config, clock);
  const mountpoint = canonicalMountpoint(resolve(context.cwd, options.mountpoint));
  return await context.runDaemon(config, {
    mountpoint,
    replace,
    clock,
    log,
    env,
    random,
    reload,
  });
}

/** Refuses a cache inside an origin: the library would grow with every read of it. */
async function refuseCacheInOrigin(config: Config, clock: Clock): Promise<void> {
  const cacheDir = await realName(config.cacheDir, clock);
  for (const { url } of config.origins) {
    const path = localPath(url);
    if (path === undefined || !isWithin(cacheDir, await realName(path, clock))) continue;
    throw new UsageError(
      `The cache ${config.cacheDir} lies in the origin ${path}; name another with --cache-dir`,
      { subject: config.cacheDir },
    );
  }
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
  return await within(realNameOfExisting(path), { ms: REAL_NAME_MS_MAX, clock }) ?? path;
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
