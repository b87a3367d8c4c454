import type { OriginStatus, StatusResult, TaskStatus } from "../mount/cache_commands.ts";
import { oneLine, type Output, printable, printRows } from "./output.ts";
import { formatCount, formatSeconds, formatSize } from "./quantities.ts";

/** What a daemon of an older version, that was not replaced yet, does not tell. */
const UNTOLD: Pick<StatusResult, "index" | "queues" | "takeovers" | "tasks" | "faults"> = {
  index: { state: "ok", set_aside: null },
  queues: { requests: 0, fetches: 0, notifications: 0 },
  takeovers: 0,
  tasks: [],
  faults: { warnings: 0, errors: 0, last_error: null, last_error_ms: null },
};

/** What `musicfs status` prints for people. */
export function printStatus(stdout: Output, told: StatusResult): void {
  const status = { ...UNTOLD, ...told };
  const { cache, library, reads, scan } = status;
  const supervisor = status.supervisor_pid === null
    ? ""
    : `, supervised by ${status.supervisor_pid}`;
  const isRunning = status.pid !== null;
  printRows(stdout, [
    ["mounted", status.mountpoint === null ? "no" : printable(status.mountpoint)],
    ["daemon", isRunning ? `${status.pid}${supervisor}` : "none"],
    ["take-overs", status.takeovers > 0 ? formatCount(status.takeovers) : undefined],
    ["version", status.version],
    ["up", isRunning ? formatSeconds(status.uptime_s) : undefined],
    [
      "library",
      `${formatCount(library.files)} files in ${formatCount(library.folders)} folders, ` +
      formatSize(library.bytes),
    ],
    ["cache", printable(status.cache_dir) + diskNote(cache)],
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
    ["index", describeIndex(status.index)],
    ["waiting", describeQueues(status.queues)],
    ["tasks", describeTasks(status.tasks)],
    ["faults", describeFaults(status.faults)],
    ...originRows(status),
  ]);
}

/** What is to be known of the cache's disk; nothing while it is well. */
function diskNote(
  { disk_state, disk_used_ratio, degraded_since_ms: since }: StatusResult["cache"],
): string {
  const degraded = `degraded${since === null ? "" : ` since ${formatTime(since)}`}`;
  const used = `its disk is ${Math.floor((disk_used_ratio ?? 1) * 100)} % full`;
  switch (disk_state) {
    case "ok":
      return "";
    case "high":
      return ` (${used})`;
    case "evicting":
      return ` (${used}: it is made smaller)`;
    case "full":
      return ` (${degraded}: ${used}, nothing more is cached)`;
    case "refusing":
      return ` (${degraded}: it refuses writes)`;
  }
}

function describeIndex({ state, set_aside }: StatusResult["index"]): string | undefined {
  if (state === "damaged") return "damaged; it is made again at the next start";
  if (state === "ok") return undefined;
  const where = set_aside === null ? "" : `; the damaged one is ${printable(set_aside)}`;
  return `made again at this start${where}`;
}

function describeQueues(queues: StatusResult["queues"]): string | undefined {
  const { requests, fetches, notifications } = queues;
  if (requests + fetches + notifications === 0) return undefined;
  return `${formatCount(requests)} requests for an origin, ${formatCount(fetches)} fetches, ` +
    `${formatCount(notifications)} changes for the kernel`;
}

/** `flush, scan running; sweep done; watch /music failed (5 restarts)` */
function describeTasks(tasks: readonly TaskStatus[]): string | undefined {
  const states = (["running", "done", "failed"] as const).map((state) => {
    const names = tasks.filter((task) => task.state === state).map(({ name, restarts }) =>
      printable(name) + (restarts > 0 ? ` (${formatCount(restarts)} restarts)` : "")
    );
    return names.length > 0 ? `${names.join(", ")} ${state}` : "";
  });
  return states.filter(Boolean).join("; ") || undefined;
}

function describeFaults(faults: StatusResult["faults"]): string | undefined {
  const { errors, warnings, last_error, last_error_ms } = faults;
  if (errors + warnings === 0) return undefined;
  const counts = `${formatCount(errors)} errors, ${formatCount(warnings)} warnings`;
  if (last_error === null) return counts;
  const when = last_error_ms === null ? "" : ` at ${formatTime(last_error_ms)}`;
  return `${counts}; the last error${when}: ${oneLine(last_error)}`;
}

/** To the second, in UTC. */
function formatTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
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
  const { name, url, state, last_error, state_since_ms, watch, queued } = origin;
  const details = name === url ? [] : [printable(url)];
  if (watch && watch.state !== "idle") details.push(WATCHED[watch.state](watch.folders));
  if (state !== "online" && state !== "unknown" && state_since_ms !== null) {
    details.push(`${state} since ${formatTime(state_since_ms)}`);
  }
  if (queued > 0) details.push(`${formatCount(queued)} requests wait for others to be over`);
  if (last_error !== null) details.push(`last error: ${printable(last_error)}`);
  return details;
}
