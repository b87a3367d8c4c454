import type { Clock } from "../base/clock.ts";
import type { LogTally } from "../base/log_tally.ts";
import { shownUrl } from "../origins/shown_url.ts";
import { isIndexSuspect } from "../store/index_files.ts";
import type { Cache } from "./cache.ts";
import type { OriginStatus, StatusResult, TaskStatus } from "./cache_commands.ts";
import type { FuseMount } from "./fuse_mount.ts";
import type { Pins } from "./pins.ts";
import type { ScanRuns } from "./scan_runs.ts";
import { VERSION } from "./version.ts";

/** The daemon around a cache, as others are told of it; its parts come and go while it runs. */
export interface ServingDaemon {
  readonly mount: FuseMount;
  readonly mountpoint: string;
  /** On the monotonic clock. */
  readonly startedMs: number;
  /** Through which all is logged. */
  readonly tally: LogTally;
  /** The parent that holds the mount for it, now; null without one. */
  readonly supervisorPid: () => number | null;
  /** Daemons that took the mount over from another since it was made. */
  readonly takeovers: number;
  /** Empty until they are started. */
  tasks: readonly TaskStatus[];
}

/** What there is to be told of. */
export interface StatusParts {
  cache: Cache;
  scans: ScanRuns;
  clock: Clock;
  /** undefined when a command runs without a daemon. */
  daemon: ServingDaemon | undefined;
}

/** What `musicfs status` shows of an open cache, and of the daemon that has it. */
export function statusOf({ cache, scans, clock, daemon }: StatusParts, pins: Pins): StatusResult {
  const { config, fetcher, namespace, store, space, cacheIndex, disk, reader } = cache;
  const totals = cacheIndex.totals();
  const counters = daemon?.mount.counters;
  const mainBytes = reader.stats();
  const origins = originStates(cache, scans);
  const originBytes = origins.reduce((sum, origin) => sum + origin.bytes_read, 0);
  return {
    pid: daemon ? Deno.pid : null,
    supervisor_pid: daemon?.supervisorPid() ?? null,
    mountpoint: daemon?.mountpoint ?? null,
    cache_dir: config.cacheDir,
    version: VERSION,
    uptime_s: daemon ? (clock.monotonic() - daemon.startedMs) / 1000 : 0,
    origins,
    library: namespace.totals(),
    cache: {
      mode: config.cache,
      used_bytes: space.usedBytes(),
      limit_bytes: space.limitBytes,
      chunks: totals.chunks,
      chunk_bytes: totals.chunkBytes,
      referenced_bytes: totals.referencedBytes,
      dedup_ratio: totals.chunkBytes > 0 ? totals.referencedBytes / totals.chunkBytes : 1,
      extent_bytes: store.stats().extentBytes,
      pinned_bytes: totals.pinnedBytes,
      pins: pins.size,
      disk_state: disk.state === "degraded" ? "refusing" : space.look(),
      degraded: !disk.writable,
      disk_used_ratio: space.usedRatio ?? null,
      degraded_since_ms: disk.degradedSinceMs ?? space.fullSinceMs,
    },
    reads: {
      from_cache_bytes: (counters?.cacheBytes ?? 0) + mainBytes.cacheBytes,
      from_origin_bytes: (counters?.directBytes ?? 0) + originBytes,
      passthrough_opens: counters?.passthroughOpens ?? 0,
    },
    open_handles: counters?.handles ?? 0,
    scan: scans.status(),
    index: indexStatus(cache),
    queues: {
      requests: daemon?.mount.waiting ?? 0,
      fetches: fetcher.flights,
      notifications: daemon?.mount.untold ?? 0,
    },
    takeovers: daemon?.takeovers ?? 0,
    tasks: (daemon?.tasks ?? []).map((task) => ({ ...task })),
    faults: faultStatus(daemon?.tally),
  };
}

function indexStatus({ config, opened }: Cache): StatusResult["index"] {
  const isSuspect = isIndexSuspect(`${config.cacheDir}/index`);
  const { setAside } = opened;
  return {
    state: isSuspect ? "damaged" : setAside === undefined ? "ok" : "rebuilt",
    set_aside: setAside ?? null,
  };
}

function faultStatus(tally: LogTally | undefined): StatusResult["faults"] {
  return {
    warnings: tally?.warnings ?? 0,
    errors: tally?.errors ?? 0,
    last_error: tally?.lastError ?? null,
    last_error_ms: tally?.lastErrorMs ?? null,
  };
}

function originStates(
  { config, fetcher, health, watches, guarded }: Cache,
  scans: ScanRuns,
): OriginStatus[] {
  const counters = fetcher.counters();
  return config.origins.map(({ name, url }) => {
    const known = health.of(name);
    const watch = watches.find((watch) => watch.name === name);
    return {
      name,
      url: shownUrl(url),
      state: known.state !== "unknown" ? known.state : scans.stateOf(name),
      latency_ms: known.latencyMs,
      bytes_read: counters.get(name)?.bytes ?? 0,
      errors: counters.get(name)?.errors ?? 0,
      last_error: known.lastError?.replace(/\s+/g, " ") ?? null,
      state_since_ms: known.sinceMs || null,
      watch: watch ? { state: watch.state, folders: watch.folders } : null,
      queued: guarded.find((origin) => origin.name === name)?.queued ?? 0,
    };
  });
}
