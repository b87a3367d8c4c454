/** `gc`, `scan` and `verify`: asked of the cache, and what comes back printed. */

import type { Log } from "../base/log.ts";
import type {
  GcResult,
  OriginScanResult,
  ScanChange,
  ScanResult,
  VerifyResult,
} from "../mount/cache_commands.ts";
import type { Config } from "../mount/config.ts";
import type { CliContext } from "./context.ts";
import { oneLine, type Output, printable, printJson, printRows, startProgress } from "./output.ts";
import { formatCount, formatSeconds, formatSize } from "./quantities.ts";
import { reachCache } from "./reach_cache.ts";
import { UsageError } from "./usage_error.ts";

/** What the commands work with. */
export interface CacheCommandOptions {
  config: Config;
  context: CliContext;
  log: Log;
  json: boolean;
}

/** `musicfs gc`. */
export async function runGc(
  options: CacheCommandOptions & { dryRun: boolean; isLimitTyped: boolean },
): Promise<number> {
  const { config, context, log, json, dryRun, isLimitTyped } = options;
  // What was not typed is left to the daemon, which may be configured otherwise than this shell.
  const limit = isLimitTyped ? { maxSizeBytes: config.maxSizeBytes } : {};
  const result = await reachCache(
    config,
    { context, log, mayCreate: false },
    (commands) => commands.gc({ dryRun, ...limit }),
  );
  if (json) printJson(context.stdout, result);
  else printGc(context.stdout, result);
  return 0;
}

function printGc(stdout: Output, result: GcResult): void {
  const freed = result.used_bytes_before - result.used_bytes_after;
  printRows(stdout, [
    [result.dry_run ? "would free" : "freed", formatSize(Math.max(0, freed))],
    ["used", `${formatSize(result.used_bytes_after)} of ${formatSize(result.limit_bytes)}`],
    ["chunks", countAndSize(result.evicted_chunks, result.evicted_chunk_bytes)],
    ["extents", countAndSize(result.evicted_extents, result.evicted_extent_bytes)],
    ["unreferenced", countAndSize(result.orphans, result.orphan_bytes)],
    ["pinned", describePinned(result)],
  ]);
}

/** Said where it stands in the way: what is pinned is never evicted. */
function describePinned(result: GcResult): string | undefined {
  const { pinned_bytes: pinned, used_bytes_after: used, limit_bytes: limit } = result;
  if (pinned === 0 || used <= limit) return undefined;
  return `${formatSize(pinned)}, which stay: ${formatSize(limit)} cannot be reached. ` +
    'See "musicfs pin", and let go with "musicfs unpin PATH"';
}

/** `musicfs scan`: each change on a line as it is found, then a line for each origin. */
export async function runScan(
  options: CacheCommandOptions & {
    checksum: boolean;
    acceptDeletions: boolean;
    areOriginsTyped: boolean;
  },
): Promise<number> {
  const { config, context, log, json, checksum, acceptDeletions, areOriginsTyped } = options;
  const chosen = areOriginsTyped ? { origins: config.origins.map((origin) => origin.name) } : {};
  const bar = await startProgress(context.stderr);
  const changes: ScanChange[] = [];
  const onProgress = (
    progress: { folders: number; files: number; changes: readonly ScanChange[] },
  ): void => {
    if (json) changes.push(...progress.changes);
    else if (progress.changes.length > 0) {
      bar.stop();
      context.stdout.write(progress.changes.map(changeLine).join(""));
    }
    const text = `${formatCount(progress.files)} files in ${formatCount(progress.folders)} folders`;
    bar.update({ done: 0, total: 0, text });
  };
  let result: ScanResult;
  try {
    result = await reachCache(
      config,
      { context, log, mayCreate: true, require: () => requireOrigins(config) },
      (commands) => commands.scan({ checksum, acceptDeletions, onProgress, ...chosen }),
    );
  } finally {
    bar.stop();
  }
  if (json) printJson(context.stdout, { ...sumOf(result.origins), ...result, changes });
  else for (const origin of result.origins) context.stdout.write(originLine(origin));
  return reportScan(result, context.stderr);
}

/** The counts over all origins. */
function sumOf(origins: readonly OriginScanResult[]): Record<string, number> {
  const names = [
    "folders",
    "files",
    "added",
    "changed",
    "moved",
    "gone",
    "held_deletions",
  ] as const;
  return Object.fromEntries(
    names.map((name) => [name, origins.reduce((sum, origin) => sum + origin[name], 0)]),
  );
}

function changeLine({ kind, path, from }: ScanChange): string {
  const where = from === undefined ? printable(path) : `${printable(from)} -> ${printable(path)}`;
  return `${kind.padEnd(7)}  ${where}\n`;
}

function originLine(origin: OriginScanResult): string {
  const seen = `${formatCount(origin.files)} files in ${formatCount(origin.folders)} folders`;
  const counts = [
    seen,
    `${formatCount(origin.added)} added`,
    `${formatCount(origin.changed)} changed`,
    `${formatCount(origin.moved)} moved`,
    `${formatCount(origin.gone)} gone`,
  ].join(", ");
  const said = {
    complete: counts,
    held: `held, ${counts}`,
    failed: origin.folders > 0 ? `failed after ${counts}` : "failed",
  };
  const took = formatSeconds(origin.seconds);
  return `${printable(origin.name)}: ${said[origin.state]} (${took})\n`;
}

/** A line on stderr for each origin whose scan failed or was held; exit code 1 if there is one. */
function reportScan(result: ScanResult, stderr: Output): number {
  const failed = result.origins.filter((origin) => origin.state !== "complete");
  for (const origin of failed) {
    const reason = origin.state === "held"
      ? `${formatCount(origin.held_deletions)} deletions are held back; ` +
        "scan again, or with --accept-deletions if they are meant"
      : origin.error ?? "the scan failed";
    stderr.write(`musicfs: ${oneLine(`${origin.name}: ${reason}`)}\n`);
  }
  return failed.length === 0 ? 0 : 1;
}

/** `musicfs verify`; exit code 1 if something is bad and stays so. */
export async function runVerify(
  options: CacheCommandOptions & { repair: boolean },
): Promise<number> {
  const { config, context, log, json, repair } = options;
  const bar = await startProgress(context.stderr);
  let result: VerifyResult;
  try {
    result = await reachCache(
      config,
      { context, log, mayCreate: false },
      (commands) =>
        commands.verify({
          repair,
          onProgress: ({ checked_chunks: done, total_chunks: total, checked_bytes }) =>
            bar.update({
              done,
              total,
              text: `${formatCount(done)} chunks, ${formatSize(checked_bytes)}`,
            }),
        }),
    );
  } finally {
    bar.stop();
  }
  if (json) printJson(context.stdout, result);
  else printVerify(context.stdout, result);
  const bad = result.bad_chunks + result.missing_chunks + result.bad_extent_blocks;
  const repaired = result.repaired_chunks + result.repaired_extent_blocks;
  if (bad <= repaired) return 0;
  const remedy = repair ? "their origins cannot be read now" : "fetch them with --repair";
  const left = formatCount(bad - repaired);
  context.stderr.write(`musicfs: ${left} chunks or blocks are bad or missing; ${remedy}\n`);
  return 1;
}

function printVerify(stdout: Output, result: VerifyResult): void {
  printRows(stdout, [
    ["checked", countAndSize(result.checked_chunks, result.checked_bytes)],
    ["bad", formatCount(result.bad_chunks)],
    ["missing", formatCount(result.missing_chunks)],
    ["bad extent blocks", formatCount(result.bad_extent_blocks)],
    ["repaired", formatCount(result.repaired_chunks + result.repaired_extent_blocks)],
    ["took", formatSeconds(result.seconds)],
  ]);
  for (const path of result.paths) stdout.write(`bad      ${printable(path)}\n`);
}

function countAndSize(count: number, bytes: number): string {
  return `${formatCount(count)} (${formatSize(bytes)})`;
}

/** Refuses a command that needs an origin and has none. */
export function requireOrigins(config: Config): void {
  if (config.origins.length > 0) return;
  throw new UsageError(
    "No origin is configured; name one with --origin URL, MUSICFS_ORIGIN or [[origin]]",
    { subject: "--origin" },
  );
}
