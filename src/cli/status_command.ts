import { resolve } from "node:path";
import { MusicfsError } from "../base/errors.ts";
import type { OriginStatus, StatusResult } from "../mount/cache_commands.ts";
import { canonicalMountpoint } from "../mount/mountpoint.ts";
import { findDaemon, registryPlace } from "../mount/registry.ts";
import type { CacheCommandOptions } from "./cache_command.ts";
import { type Output, printable, printJson, printRows } from "./output.ts";
import { formatCount, formatSeconds, formatSize } from "./quantities.ts";
import { reachCache, remoteCommands } from "./reach_cache.ts";

/** `musicfs status`: of the daemon at `mountpoint`, or of whoever has the configured cache. */
export async function runStatus(
  options: CacheCommandOptions & { mountpoint: string | undefined },
): Promise<number> {
  const { config, context, log, json, mountpoint } = options;
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

function printStatus(stdout: Output, status: StatusResult): void {
  const { cache, library, reads, scan } = status;
  const supervisor = status.supervisor_pid === null
    ? ""
    : `, supervised by ${status.supervisor_pid}`;
  const isRunning = status.pid !== null;
  printRows(stdout, [
    ["mounted", status.mountpoint === null ? "no" : printable(status.mountpoint)],
    ["daemon", isRunning ? `${status.pid}${supervisor}` : "none"],
    ["version", status.version],
    ["up", isRunning ? formatSeconds(status.uptime_s) : undefined],
    [
      "library",
      `${formatCount(library.files)} files in ${formatCount(library.folders)} folders, ` +
      formatSize(library.bytes),
    ],
    [
      "cache",
      printable(status.cache_dir) + diskNote(cache),
    ],
    ["used", `${formatSize(cache.used_bytes)} of ${formatSize(cache.limit_bytes)}`],
    [
      "chunks",
      `${formatCount(cache.chunks)} (${formatSize(cache.chunk_bytes)}), ` +
      `deduplicated ${cache.dedup_ratio.toFixed(2)} to 1`,
    ],
    ["extents", formatSize(cache.extent_bytes)],
    [
      "pinned",
      cache.pins > 0
        ? `${formatSize(cache.pinned_bytes)} of ${formatCount(cache.pins)} paths`
        : undefined,
    ],
    [
      "read",
      isRunning
        ? `${formatSize(reads.from_cache_bytes)} from the cache, ` +
          `${formatSize(reads.from_origin_bytes)} from origins`
        : undefined,
    ],
    ["open", isRunning ? `${formatCount(status.open_handles)} files` : undefined],
    ["scan", scan.state === "running" ? `running, ${formatCount(scan.files)} files` : scan.state],
    ...originRows(status),
  ]);
}

/** What is to be known of the cache's disk; nothing while it is well. */
function diskNote({ disk_state, disk_used_ratio }: StatusResult["cache"]): string {
  const used = `its disk is ${Math.floor((disk_used_ratio ?? 1) * 100)} % full`;
  switch (disk_state) {
    case "ok":
      return "";
    case "high":
      return ` (${used})`;
    case "evicting":
      return ` (${used}: it is made smaller)`;
    case "full":
      return ` (degraded: ${used}, nothing more is cached)`;
    case "refusing":
      return " (degraded: it refuses writes)";
  }
}

/** One line for each origin, its parts below each other, and one for what went wrong last. */
function originRows({ origins }: StatusResult): (readonly [string, string])[] {
  const table = origins.map((origin) => [
    printable(origin.name),
    origin.state,
    origin.latency_ms === null
      ? "-"
      : `${origin.latency_ms.toFixed(origin.latency_ms < 10 ? 1 : 0)} ms`,
    `${formatSize(origin.bytes_read)} read`,
    `${formatCount(origin.errors)} errors`,
  ]);
  const widths = [0, 1, 2, 3, 4].map((i) =>
    Math.max(0, ...table.map((cells) => (cells[i] ?? "").length))
  );
  return origins.flatMap((origin, row) => {
    const cells = (table[row] ?? []).map((cell, i) => cell.padEnd(widths[i] ?? 0));
    const rows = [["origin", cells.join("  ").trimEnd()] as const];
    return [...rows, ...detailsOf(origin).map((detail) => ["", `  ${detail}`] as const)];
  });
}

/** How changes at a local origin are learned of. */
const WATCHED = {
  watching: (folders: number) => `watched for changes, ${formatCount(folders)} folders`,
  limited: (folders: number) =>
    `watched in part, ${formatCount(folders)} folders: raise fs.inotify.max_user_watches`,
  polled: () => "polled for changes: it is on a network's disk",
  failed: () => "polled for changes: raise fs.inotify.max_user_instances",
};

function detailsOf(origin: OriginStatus): string[] {
  const { name, url, state, last_error, state_since_ms, watch } = origin;
  const details = name === url ? [] : [printable(url)];
  if (watch && watch.state !== "idle") details.push(WATCHED[watch.state](watch.folders));
  if (state !== "online" && state !== "unknown" && state_since_ms !== null) {
    details.push(`${state} since ${new Date(state_since_ms).toISOString().slice(0, 19)}Z`);
  }
  if (last_error !== null) details.push(`last error: ${printable(last_error)}`);
  return details;
}
