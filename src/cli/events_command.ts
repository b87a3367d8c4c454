import { MusicfsError } from "../base/errors.ts";
import { DaemonEndedError } from "../mount/control_client.ts";
import type { DaemonEvent } from "../mount/daemon_events.ts";
import type { CacheCommandOptions } from "./cache_command.ts";
import { oneLine, printable } from "./output.ts";
import { formatCount, formatSeconds, formatSize } from "./quantities.ts";
import { callServingDaemon } from "./reach_cache.ts";

/**
 * `musicfs events`: each event on a line until Ctrl-C, a closed pipe or the daemon's end in order,
 * which all are exit code 0. A connection that broke is not.
 */
export async function runEvents(
  { config, context, json }: Omit<CacheCommandOptions, "log">,
): Promise<number> {
  const { stdout } = context;
  const enough = new AbortController();
  const stop = (): void => enough.abort();
  let hasStopped = false;
  const onProgress = (progress: unknown): void => {
    const { events }: { events: DaemonEvent[] } = Object(progress);
    hasStopped ||= events.some(({ event }) => event === "stopping");
    stdout.write(events.map((event) => json ? `${JSON.stringify(event)}\n` : line(event)).join(""));
    if (stdout.isGone) stop();
  };
  Deno.addSignalListener("SIGINT", stop);
  Deno.addSignalListener("SIGTERM", stop);
  try {
    await callServingDaemon(config, "events", { context, onProgress, signal: enough.signal });
  } catch (error) {
    if (enough.signal.aborted || (hasStopped && error instanceof DaemonEndedError)) return 0;
    if (!(error instanceof DaemonEndedError)) throw error;
    throw new MusicfsError("unavailable", "The daemon ended without a word; see its log", {
      op: "events.follow",
      subject: config.cacheDir,
      cause: error,
    });
  } finally {
    Deno.removeSignalListener("SIGINT", stop);
    Deno.removeSignalListener("SIGTERM", stop);
  }
  return 0;
}

function line(event: DaemonEvent): string {
  const [what, words] = describe(event);
  return `${new Date(event.time_ms).toISOString()}  ${what.padEnd(9)}  ${words}\n`;
}

/** What it is about, and a sentence. */
function describe(event: DaemonEvent): [what: string, words: string] {
  switch (event.event) {
    case "connected":
      return ["connected", `to daemon ${event.pid} at ${printable(event.mountpoint)}`];
    case "added":
    case "changed":
    case "removed":
      return [event.event, printable(event.path)];
    case "moved":
      return ["moved", `${printable(event.from)} -> ${printable(event.path)}`];
    case "origin_up":
    case "origin_degraded":
    case "origin_down":
      return ["origin", `${printable(event.origin)} ${describeHealth(event)}`];
    case "evicted":
      return ["evicted", describeEvicted(event)];
    case "scan_begun":
      return ["scan", `of ${printable(event.origin)} begun`];
    case "scan_ended":
      return ["scan", `of ${printable(event.origin)} ${describeScan(event)}`];
    case "lost":
      return ["lost", `${formatCount(event.count)} events: they are read too slowly`];
    case "stopping":
      return ["stopping", `the daemon ends: ${event.reason}`];
    default:
      // Of a daemon that is newer than this program.
      return ["other", printable(JSON.stringify(event))];
  }
}

type Event<Name extends DaemonEvent["event"]> = Extract<DaemonEvent, { event: Name }>;

function describeHealth(
  event: Event<"origin_up"> | Event<"origin_degraded"> | Event<"origin_down">,
): string {
  if (event.event === "origin_up") {
    return event.offline_s > 0 ? `is up again after ${formatSeconds(event.offline_s)}` : "is up";
  }
  const state = event.event === "origin_down" ? "is down" : "is slow or fails";
  return event.reason === null ? state : `${state}: ${oneLine(event.reason)}`;
}

function describeEvicted({ chunks, extents, bytes }: Event<"evicted">): string {
  return `${formatCount(chunks)} chunks, ${formatCount(extents)} extents, ${formatSize(bytes)}`;
}

function describeScan(scan: Event<"scan_ended">): string {
  if (scan.state === "interrupted") return "interrupted";
  const counts = (["added", "changed", "moved", "gone"] as const)
    .map((kind) => `${formatCount(scan[kind])} ${kind}`).join(", ");
  const held = scan.held_deletions > 0
    ? `, ${formatCount(scan.held_deletions)} deletions held`
    : "";
  const error = scan.error === null ? "" : `: ${oneLine(scan.error)}`;
  const seen = `${formatCount(scan.files)} files in ${formatCount(scan.folders)} folders`;
  const took = formatSeconds(scan.seconds);
  return `${scan.state}, ${seen}, ${counts}${held} (${took})${error}`;
}
