import { countDescriptors, descriptorLimit } from "../base/descriptor_limit.ts";
import type { Log } from "../base/log.ts";
import type { MetricsAddress } from "./config.ts";
import { exposition } from "./exposition.ts";
import { Evictions, type MetricParts, metricsOf, type ProcessFigures } from "./metrics.ts";
import { MetricsServer } from "./metrics_server.ts";

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
  return {
    residentBytes: Deno.memoryUsage().rss,
    openDescriptors: await countDescriptors(),
    descriptorsMax: descriptorLimit(),
  };
}
