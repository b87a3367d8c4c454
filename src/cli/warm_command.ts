/** `warm`, `pin` and `unpin`: what they ask of the cache, and what comes back printed. */

import type {
  CacheCommands,
  PinsResult,
  TypedPath,
  WarmProgress,
  WarmResult,
} from "../mount/cache_commands.ts";
import { type CacheCommandOptions, requireOrigins } from "./cache_command.ts";
import { typedPaths } from "./music_paths.ts";
import { oneLine, type Output, printable, printJson, printRows, startProgress } from "./output.ts";
import { formatCount, formatSize } from "./quantities.ts";
import { reachCache } from "./reach_cache.ts";

/** Failures that are named; with `--json` all that the cache names. */
const FAILURES_SHOWN = 20;

/** What the commands work with. */
export interface WarmCommandOptions extends CacheCommandOptions {
  paths: readonly string[];
}

/** `musicfs warm`; exit code 1 if something could not be fetched. */
export async function runWarm(options: WarmCommandOptions): Promise<number> {
  const result = await fetching(options, (cache, call) => cache.warm(call));
  return report(result, options);
}

/** `musicfs pin`: as `warm`, and kept from then on. Without a path it lists what is pinned. */
export async function runPin(options: WarmCommandOptions): Promise<number> {
  const { config, context, log, json, paths } = options;
  if (paths.length === 0) {
    const pins = await reachCache(
      config,
      { context, log, mayCreate: false },
      (cache) => cache.pins(),
    );
    if (json) printJson(context.stdout, pins);
    else printPins(context.stdout, pins);
    return 0;
  }
  const result = await fetching(options, (cache, call) => cache.pin(call));
  if (!json) {
    for (const path of result.pinned) context.stdout.write(`pinned   ${shownPath(path)}\n`);
  }
  return report(result, options);
}

/** `musicfs unpin`. */
export async function runUnpin(options: WarmCommandOptions): Promise<number> {
  const { config, context, log, json, paths } = options;
  const result = await reachCache(
    config,
    { context, log, mayCreate: false },
    (cache, { mountpoint }) =>
      cache.unpin({ paths: typedPaths(paths, { cwd: context.cwd, mountpoint }) }),
  );
  if (json) printJson(context.stdout, result);
  else for (const path of result.unpinned) context.stdout.write(`unpinned ${shownPath(path)}\n`);
  return 0;
}

/** Runs one that fetches, with a bar where somebody watches. */
async function fetching<T>(
  { config, context, log, paths }: WarmCommandOptions,
  call: (
    cache: CacheCommands,
    options: { paths: TypedPath[]; onProgress: (progress: WarmProgress) => void },
  ) => Promise<T>,
): Promise<T> {
  const bar = await startProgress(context.stderr);
  const onProgress = (now: WarmProgress): void => {
    const files = `${formatCount(now.done_files)} of ${formatCount(now.total_files)} files`;
    const text = `${files}, ${formatSize(now.fetched_bytes)} fetched`;
    bar.update({ done: now.done_bytes, total: now.total_bytes, text });
  };
  try {
    return await reachCache(
      config,
      { context, log, mayCreate: true, require: () => requireOrigins(config) },
      (cache, { mountpoint }) =>
        call(cache, { paths: typedPaths(paths, { cwd: context.cwd, mountpoint }), onProgress }),
    );
  } finally {
    bar.stop();
  }
}

/** The summary, then each failure on a line of stderr. */
function report(result: WarmResult, { context, json }: WarmCommandOptions): number {
  const { files, bytes, fetched_bytes, failed, failures } = result;
  if (json) printJson(context.stdout, result);
  else {
    const fetched = `${formatSize(fetched_bytes)} fetched`;
    context.stdout.write(`${formatCount(files)} files, ${formatSize(bytes)}, ${fetched}\n`);
  }
  if (failed === 0) return 0;
  for (const { path, error } of json ? [] : failures.slice(0, FAILURES_SHOWN)) {
    context.stderr.write(`musicfs: ${shownPath(path)}: ${oneLine(error)}\n`);
  }
  context.stderr.write(
    `musicfs: ${formatCount(failed)} of ${formatCount(files)} files could not be fetched; ` +
      `see "musicfs status", and try again\n`,
  );
  return 1;
}

function printPins(stdout: Output, { pins, pinned_bytes, limit_bytes }: PinsResult): void {
  const rows = pins.map(({ path, files, bytes, missing_bytes }) => {
    const missing = missing_bytes > 0 ? `, ${formatSize(missing_bytes)} yet to be fetched` : "";
    return [
      shownPath(path),
      `${formatCount(files)} files, ${formatSize(bytes)}${missing}`,
    ] as const;
  });
  const used = `${formatSize(pinned_bytes)} of ${formatSize(limit_bytes)}`;
  printRows(stdout, [...rows, [pins.length === 0 ? "nothing is pinned" : "all pins", used]]);
}

/** The whole library is `/`. */
function shownPath(path: string): string {
  return path === "" ? "/" : printable(path);
}
