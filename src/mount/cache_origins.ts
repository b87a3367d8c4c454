/** The origins of a cache: opened, called ahead where nothing can be shown without them, guarded. */

import type { HashName } from "../chunking/chunk_hash.ts";
import { type FindPublished, HIDDEN_ALWAYS } from "../library/library.ts";
import { BandwidthLimit } from "../origins/bandwidth.ts";
import { FolderWatch } from "../origins/folder_watch.ts";
import { type GuardedOrigin, guardOrigin } from "../origins/guarded.ts";
import { HealthMonitor } from "../origins/health_monitor.ts";
import { localFolder } from "../origins/open.ts";
import type { Origin } from "../origins/origin.ts";
import { WatchedFolders } from "../origins/watched_folders.ts";
import type { CacheOptions } from "./cache.ts";
import type { Config } from "./config.ts";
import { directRootsOf } from "./direct_roots.ts";
import type { RawOrigin } from "./open_ahead.ts";
import { PublishedIndexes } from "./published_indexes.ts";

/** Where music comes from, and what is known of it. */
export interface Far {
  /** As they were opened, the preferred one first. */
  origins: readonly Origin[];
  /** The same, for single attempts: capped, limited in time and bandwidth, counted. */
  guarded: readonly GuardedOrigin[];
  /** The watches of local folders; none for a command, nor where that is configured. */
  watches: readonly FolderWatch[];
  health: HealthMonitor;
  bandwidth: BandwidthLimit;
  /** What was published beside the music. */
  published: PublishedIndexes;
  /** The names among that, of an origin that is not on a disk of this machine. */
  findPublished: FindPublished;
}

/** Guards the origins, and watches them. */
export function openOrigins(
  config: Config,
  { options, stack, raw, hash }: {
    options: CacheOptions;
    stack: AsyncDisposableStack;
    raw: readonly RawOrigin[];
    hash: HashName;
  },
): Far {
  const { clock, log } = options;
  const health = stack.use(new HealthMonitor(options));
  const bandwidth = new BandwidthLimit(config.bwlimitBytes, clock);
  const watches: FolderWatch[] = [];
  const hidden = new Set([...config.exclude, HIDDEN_ALWAYS]);
  const guarded = raw.map(({ origin, url }) => {
    const root = localFolder(url);
    const kind = root === undefined ? "remote" : "local";
    const guards = { kind, clock, health, bandwidth } as const;
    if (root === undefined || !options.forMount || !config.watch) {
      return guardOrigin(origin, guards);
    }
    const watch = stack.use(new FolderWatch({ name: origin.name, root, hidden, clock, log }));
    watches.push(watch);
    return guardOrigin(new WatchedFolders(origin, watch), guards);
  });
  const origins = raw.map(({ origin }) => origin);
  const watched = guarded.map((origin, i) => ({ origin, url: raw[i]?.url ?? "" }));
  const isUp = health.isUp.bind(health);
  const published = stack.use(new PublishedIndexes({ origins: watched, isUp, hash, clock, log }));
  const findPublished: FindPublished = async (name, signal) => {
    // Such a disk is listed as fast as an index is read.
    const direct = await directRootsOf({ config }, clock);
    if (direct.some(({ origin }) => origin === name)) return undefined;
    return await published.names(name, signal);
  };
  return { origins, guarded, watches, health, bandwidth, published, findPublished };
}
