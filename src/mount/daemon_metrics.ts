import { libc } from "../base/posix.ts";
import type { Log } from "../base/log.ts";
import type { MetricsAddress } from "./config.ts";
import { exposition } from "./exposition.ts";
import { Evictions, type MetricParts, metricsOf, type ProcessFigures } from "./metrics.ts";
import { MetricsServer } from "./metrics_server.ts";

const RLIMIT_NOFILE = 7;

/** Serves a daemon's figures at `address` until it is disposed of; without one, nothing happens. */
export function serveMetrics(
  address: MetricsAddress | undefined,
  parts: Omit<MetricParts, "evictions"> & { log: Log },
): AsyncDisposable {
  const stack = new AsyncDisposableStack();
  if (address === undefined) return stack;
  const { cache, clock, log } = parts;
  const evictions = new Evictions();
  stack.defer(cache.space.onEvict((kind, _id, diskBytes) => evictions.note(kind, diskBytes)));
  const text = async (): Promise<string> =>
    exposition(metricsOf({ ...parts, evictions }, await processFigures()));
  stack.use(new MetricsServer({ address, text, clock, log }));
  return stack;
}

/** What the process takes now. */
export async function processFigures(): Promise<ProcessFigures> {
  let openDescriptors = -1; // The folder itself is open meanwhile.
  for await (const _ of Deno.readDir("/proc/self/fd")) openDescriptors += 1;
  const limits = new BigUint64Array(2);
  libc.getrlimit(RLIMIT_NOFILE, new Uint8Array(limits.buffer));
  const { rss: residentBytes } = Deno.memoryUsage();
  return { residentBytes, openDescriptors, descriptorsMax: Number(limits[0]) };
}
