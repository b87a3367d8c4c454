import type { Clock } from "../base/clock.ts";
import { orAborted } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { nodeIdOf } from "../library/node_id.ts";
import type { YoungFile } from "../library/young_files.ts";
import type { Cache } from "./cache.ts";
import { type ComparedCache, confirmContent, hasSameEnds } from "./compare_content.ts";

/** Wait before an origin is asked again that did not answer, in ms. */
const AGAIN_MS = 10_000;

/** What confirming needs of a cache. */
export type YoungCache = ComparedCache & Pick<Cache, "fetcher">;

/** What confirming needs. */
export interface ConfirmParts {
  cache: YoungCache;
  clock: Clock;
  log: Log;
  signal: AbortSignal;
}

/**
 * Compares what was read of files that were listed a moment after they were written, once their
 * time can no longer hide an edit. Throws the signal's reason.
 */
export async function confirmYoung({ cache, clock, log, signal }: ConfirmParts): Promise<never> {
  const { young } = cache.library;
  for (;;) {
    let anyLeft = false;
    for (const file of await young.next(signal)) {
      if (await confirm(cache, file, { log, signal })) continue;
      young.again(file);
      anyLeft = true;
    }
    if (anyLeft) await clock.sleep(AGAIN_MS, signal);
  }
}

/** Whether nothing is open any more; false if the origin could not say. */
async function confirm(
  cache: YoungCache,
  { origin: number, path, version: text }: YoungFile,
  { log, signal }: { log: Log; signal: AbortSignal },
): Promise<boolean> {
  const { namespace, guarded } = cache;
  const name = namespace.identityOf(number);
  const origin = guarded.find((origin) => origin.name === name);
  const entry = namespace.find(path);
  const version = entry && namespace.version(nodeIdOf(entry.id, entry.sequence));
  if (!origin || !version) return true;
  const [source] = version.sources;
  if (source.origin !== name || source.version !== text) return true;
  try {
    // What was asked for before the second was over may come only now.
    await orAborted(cache.fetcher.landed(version.id), signal);
    const isDerived = cache.manifests.donors.isDerived(version.id);
    const how = isDerived ? { compare: hasSameEnds } : {};
    const isChanged = await confirmContent(cache, version, { origin, signal, ...how });
    if (isChanged) log.info("A file was edited within the second it was listed in", { path });
    return true;
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof MusicfsError)) throw error;
    return !error.retryable;
  }
}
