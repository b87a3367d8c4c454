/** What a daemon tells Prometheus. The names are a contract with other programs. */

import type { OriginStatus, StatusResult, TaskStatus } from "./cache_commands.ts";
import type { Family, Sample } from "./exposition.ts";
import type { Pins } from "./pins.ts";
import { type ServingDaemon, statusOf, type StatusParts } from "./status.ts";

/** Files that were evicted, and their bytes on disk, from when `note` was first called. */
export class Evictions {
  readonly counts = { chunk: 0, extent: 0 };
  readonly bytes = { chunk: 0, extent: 0 };

  /** As `Space.onEvict` tells of them. */
  note(kind: "chunk" | "extent", diskBytes: number): void {
    this.counts[kind] += 1;
    this.bytes[kind] += diskBytes;
  }
}

type NameAndHelp = readonly [name: string, help: string];

/** What the process itself takes. */
export interface ProcessFigures {
  residentBytes: number;
  openDescriptors: number;
  descriptorsMax: number;
}

/** What there is to be told of. */
export interface MetricParts extends StatusParts {
  daemon: ServingDaemon;
  pins: Pins;
  evictions: Evictions;
}

/** All figures of a daemon, as they are now. */
export function metricsOf(parts: MetricParts, figures: ProcessFigures): Family[] {
  const status = statusOf(parts, parts.pins);
  return [
    gauge(["musicfs_build_info", "1, with the version that runs"], [
      { labels: { version: status.version }, value: 1 },
    ]),
    ...readFamilies(parts, status),
    ...originFamilies(parts, status),
    ...cacheFamilies(parts, status),
    ...queueFamilies(status),
    ...libraryFamilies(status),
    ...healthFamilies(status),
    ...processFamilies(parts, { status, figures }),
  ];
}

function readFamilies(
  { cache, daemon }: MetricParts,
  { reads, open_handles }: StatusResult,
): Family[] {
  const { counters, deferredReads } = daemon.mount;
  const stats = cache.reader.stats();
  const from = (source: string, value: number): Sample => ({ labels: { source }, value });
  return [
    counter(["musicfs_read_bytes_total", "Bytes given to readers, by where they were"], [
      from("cache", reads.from_cache_bytes),
      from("direct", counters.directBytes),
      from("origin", stats.originBytes),
    ]),
    {
      name: "musicfs_read_duration_seconds",
      help: "Time from a READ to its answer: worker, what is here; main, what is fetched",
      type: "histogram",
      samples: [
        { labels: { thread: "worker" }, histogram: counters.reads },
        { labels: { thread: "main" }, histogram: deferredReads.durations },
      ],
    },
    counter(["musicfs_read_failures_total", "READs answered with an error"], [
      { value: deferredReads.failed },
    ]),
    counter(["musicfs_corrupt_chunks_total", "Chunks that were not what their name says"], [
      { value: stats.corruptChunks },
    ]),
    counter(["musicfs_passthrough_opens_total", "Opens whose READs the kernel answers by itself"], [
      { value: reads.passthrough_opens },
    ]),
    gauge(["musicfs_open_handles", "Files that are open"], [{ value: open_handles }]),
  ];
}

const STATES = ["online", "degraded", "offline", "unknown"] as const;

function originFamilies({ cache: { guarded } }: MetricParts, { origins }: StatusResult): Family[] {
  const calls = guarded.flatMap(({ name: origin, counters }) => [
    { labels: { origin, operation: "read" }, value: counters.calls },
    { labels: { origin, operation: "list" }, value: counters.lists },
    { labels: { origin, operation: "stat" }, value: counters.stats },
  ]);
  const errors = guarded.flatMap(({ name: origin, counters: { errorsByCode } }) =>
    Object.entries(errorsByCode).map(([kind, value]) => ({ labels: { origin, kind }, value }))
  );
  const states = origins.flatMap(({ name: origin, state: now }) =>
    STATES.map((state) => ({ labels: { origin, state }, value: Number(state === now) }))
  );
  const each = (value: (origin: OriginStatus) => number): Sample[] =>
    origins.map((origin) => ({ labels: { origin: origin.name }, value: value(origin) }));
  return [
    gauge(
      ["musicfs_origin_up", "0 while an origin is offline"],
      each(({ state }) => Number(state !== "offline")),
    ),
    gauge(["musicfs_origin_state", "1 for the state that an origin is in"], states),
    counter(
      ["musicfs_origin_read_bytes_total", "Bytes that came from an origin"],
      each(
        ({ bytes_read }) => bytes_read,
      ),
    ),
    counter(["musicfs_origin_requests_total", "What an origin was asked for"], calls),
    counter(
      ["musicfs_origin_errors_total", "Requests that failed, by what they failed of"],
      errors,
    ),
    {
      name: "musicfs_origin_request_duration_seconds",
      help: "Time that one attempt at a read or stat took at an origin, also if it failed",
      type: "histogram",
      samples: guarded.map(({ name, durations }) => ({
        labels: { origin: name },
        histogram: durations,
      })),
    },
    gauge(
      ["musicfs_origin_queued_requests", "Requests that wait for others to be over"],
      each(
        ({ queued }) => queued,
      ),
    ),
  ];
}

function cacheFamilies({ evictions }: MetricParts, { cache, index }: StatusResult): Family[] {
  const { counts, bytes } = evictions;
  const byKind = (of: Evictions["counts"]): Sample[] =>
    Object.entries(of).map(([kind, value]) => ({ labels: { kind }, value }));
  return [
    gauge(["musicfs_cache_used_bytes", "Bytes on disk that count"], [{ value: cache.used_bytes }]),
    gauge(["musicfs_cache_limit_bytes", "Bytes the cache may take"], [{
      value: cache.limit_bytes,
    }]),
    gauge(["musicfs_cache_pinned_bytes", "Bytes on disk that are never evicted"], [
      { value: cache.pinned_bytes },
    ]),
    gauge(["musicfs_cache_chunks", "Chunks on disk"], [{ value: cache.chunks }]),
    gauge(["musicfs_cache_chunk_bytes", "Bytes of all chunks"], [{ value: cache.chunk_bytes }]),
    gauge(["musicfs_cache_referenced_bytes", "What the chunks would take without deduplication"], [
      { value: cache.referenced_bytes },
    ]),
    gauge(["musicfs_cache_degraded", "1 while nothing more is cached: the disk refuses writes"], [
      { value: Number(cache.degraded) },
    ]),
    gauge(
      ["musicfs_cache_disk_used_ratio", "The part of the cache's disk that is in use, by all"],
      [
        ...(cache.disk_used_ratio === null ? [] : [{ value: cache.disk_used_ratio }]),
      ],
    ),
    gauge(["musicfs_index_damaged", "1 if the next start will make the index anew"], [
      { value: Number(index.state === "damaged") },
    ]),
    counter(
      ["musicfs_evicted_files_total", "Files that were evicted from the cache"],
      byKind(counts),
    ),
    counter(["musicfs_evicted_bytes_total", "Bytes on disk of what was evicted"], byKind(bytes)),
  ];
}

function queueFamilies({ queues }: StatusResult): Family[] {
  return [
    gauge(["musicfs_waiting_requests", "Requests of readers that wait for an origin"], [
      { value: queues.requests },
    ]),
    gauge(["musicfs_fetches_in_flight", "Ranges of files that are on their way"], [
      { value: queues.fetches },
    ]),
    gauge(["musicfs_queued_notifications", "Changes that the kernel has not been told of yet"], [
      { value: queues.notifications },
    ]),
  ];
}

function libraryFamilies({ library, scan }: StatusResult): Family[] {
  const last = scan.last_complete_ms;
  return [
    gauge(["musicfs_library_files", "Files in the library"], [{ value: library.files }]),
    gauge(["musicfs_library_folders", "Folders in the library"], [{ value: library.folders }]),
    gauge(["musicfs_library_bytes", "Bytes of all files in the library"], [{
      value: library.bytes,
    }]),
    gauge(["musicfs_scan_running", "1 while origins are scanned"], [
      { value: Number(scan.state === "running") },
    ]),
    gauge(["musicfs_scan_held", "1 while deletions wait for a second scan that agrees"], [
      { value: Number(scan.state === "held") },
    ]),
    gauge(["musicfs_scan_failed", "1 if the last scan failed"], [
      { value: Number(scan.state === "failed") },
    ]),
    gauge(["musicfs_scan_last_complete_timestamp_seconds", "When the last complete scan ended"], [
      ...(last === null ? [] : [{ value: last / 1000 }]),
    ]),
  ];
}

function healthFamilies({ tasks, faults, takeovers }: StatusResult): Family[] {
  // Of several tasks of one name (two hooks alike) the figures are those of all.
  const names = [...new Set(tasks.map(({ name }) => name))];
  const named = (task: string): TaskStatus[] => tasks.filter(({ name }) => name === task);
  return [
    counter(["musicfs_takeovers_total", "Daemons that took this mount over from another"], [
      { value: takeovers },
    ]),
    counter(
      ["musicfs_task_restarts_total", "Times that a task was started again"],
      names.map((task) => ({
        labels: { task },
        value: named(task).reduce((sum, { restarts }) => sum + restarts, 0),
      })),
    ),
    gauge(
      ["musicfs_task_failed", "1 for a task that was given up"],
      names.map((task) => ({
        labels: { task },
        value: Number(named(task).some(({ state }) => state === "failed")),
      })),
    ),
    counter(["musicfs_log_messages_total", "Messages that need a look, by level"], [
      { labels: { level: "warning" }, value: faults.warnings },
      { labels: { level: "error" }, value: faults.errors },
    ]),
  ];
}

function processFamilies(
  { clock }: MetricParts,
  { status, figures }: { status: StatusResult; figures: ProcessFigures },
): Family[] {
  return [
    gauge(["musicfs_uptime_seconds", "Time since the daemon started"], [{
      value: status.uptime_s,
    }]),
    gauge(["process_start_time_seconds", "When the daemon started"], [
      { value: clock.now() / 1000 - status.uptime_s },
    ]),
    gauge(["process_resident_memory_bytes", "Memory that is resident"], [
      { value: figures.residentBytes },
    ]),
    gauge(["process_open_fds", "Open descriptors"], [{ value: figures.openDescriptors }]),
    gauge(["process_max_fds", "Most descriptors that may be open"], [
      { value: figures.descriptorsMax },
    ]),
  ];
}

function counter([name, help]: NameAndHelp, samples: readonly Sample[]): Family {
  return { name, help, type: "counter", samples };
}

function gauge([name, help]: NameAndHelp, samples: readonly Sample[]): Family {
  return { name, help, type: "gauge", samples };
}
