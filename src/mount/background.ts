import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { collectGarbage } from "../base/memory.ts";
import { openChunkHash } from "../chunking/chunk_hash.ts";
import { placeOf } from "../origins/open.ts";
import { markIndexSuspect } from "../store/index_files.ts";
import { childProbe } from "../store/probe_child.ts";
import { checkSample } from "../store/sample_check.ts";
import { sweep } from "../store/sweep.ts";
import type { Cache } from "./cache.ts";
import type { OriginScanResult } from "./cache_commands.ts";
import { confirmYoung } from "./confirm_young.ts";
import { watchDescriptors } from "./descriptor_watch.ts";
import type { ScanRuns } from "./scan_runs.ts";
import { hookName, keepHook } from "./hooks.ts";
import { keepPins } from "./keep_pins.ts";
import type { Pins } from "./pins.ts";
import { selfCommand } from "./self_command.ts";
import { keepStatus } from "./status_line.ts";
import { SupervisedTasks } from "./supervised.ts";
import { sdNotify } from "./systemd.ts";
import { WatchedOrigins } from "./watch_origins.ts";
import { keepWatchdog, mountAnswers, watchdogLimitMs } from "./watchdog.ts";

/** How often the disk is looked at, last uses are written and lists without chunks dropped, in ms. */
const FLUSH_MS = 5_000;

/** An origin that was away for less is not scanned again at once, in ms: it missed nothing. */
const SCAN_AFTER_MS = 5_000;

/** How long after the start some chunks are looked at, in ms. */
const SAMPLE_AFTER_MS = 10_000;

/** Time between the names that were taken from an index and the scan that checks them, in ms. */
const SCAN_AFTER_ADOPTED_MS = 1_000;

/** Bytes fetched after which the next quiet moment is used to give memory back. */
const COLLECT_BYTES_MIN = 32 * 1024 * 1024;

/** What tasks beside the mount work on. */
export interface BackgroundParts {
  cache: Cache;
  scans: ScanRuns;
  pins: Pins;
  /** What hooks are given of the daemon. */
  mountpoint: string;
  environment: Readonly<Record<string, string>>;
  clock: Clock;
  /** Chance in [0, 1). */
  random: () => number;
  log: Log;
}

/** Starts all that goes on beside serving requests. */
export function startBackgroundTasks(parts: BackgroundParts): SupervisedTasks {
  const { cache, pins, clock, log } = parts;
  const tasks = new SupervisedTasks(clock, log);
  tellSystemd(parts, tasks);
  // Before the first scan, which they are to hear of.
  for (const hook of cache.config.hooks) {
    tasks.start(`hook ${hookName(hook)}`, (signal) => keepHook(hook, { ...parts, signal }));
  }
  tasks.start("flush", (signal) => flushRegularly(parts, signal));
  tasks.start("descriptors", (signal) => watchDescriptors({ clock, log, signal }));
  tasks.start("sweep", (signal) => sweepOnce(parts, signal));
  tasks.start("sample", (signal) => checkSampleOnce(parts, signal));
  // Before the first scan: what it lists is watched from then on.
  const watched = new WatchedOrigins({
    ...parts,
    scan: (origin, signal) => scanAndTell(parts, { origins: [origin], signal }),
  });
  for (const [name, watch] of watched.tasks()) tasks.start(name, watch);
  tasks.start("scan", (signal) => scanRegularly(parts, { watched, signal }));
  tasks.start("young", (signal) => confirmYoung({ ...parts, signal }));
  tasks.start("pins", (signal) => keepPins({ ...parts, pins, reader: cache.reader, signal }));
  if (cache.guarded.length > 1) tasks.start("prove", (signal) => proveContent(cache, signal));
  cache.health.start();
  if (cache.opened.probeLater) tasks.start("probe", () => probeIndex(parts));
  return tasks;
}

/** Status and watchdog, as far as systemd wants to hear of them. */
function tellSystemd(parts: BackgroundParts, tasks: SupervisedTasks): void {
  const { mountpoint, environment, clock } = parts;
  const socket = environment["NOTIFY_SOCKET"];
  if (!socket) return;
  const notify = (state: string): boolean => sdNotify(state, { socket });
  const tell = (line: string): boolean => notify(`STATUS=${line}`);
  tasks.start(
    "status",
    (signal) => keepStatus({ ...parts, tasks: tasks.states, tell, signal }),
  );
  const limitMs = watchdogLimitMs(environment, Deno.pid);
  if (limitMs === undefined) return;
  const ask = (ms: number): Promise<boolean> => mountAnswers(mountpoint, { ms, clock });
  const ping = (): boolean => notify("WATCHDOG=1");
  tasks.start("watchdog", (signal) => keepWatchdog({ ...parts, limitMs, ask, ping, signal }));
}

async function flushRegularly(
  { cache, clock }: BackgroundParts,
  signal: AbortSignal,
): Promise<void> {
  let collectedAt = 0;
  let before = 0;
  for (;;) {
    await clock.sleep(FLUSH_MS, signal);
    const level = cache.space.look();
    cache.disk.keepWatch({ hasRoom: level === "ok" || level === "high" });
    cache.cacheIndex.flush();
    cache.manifests.prune();
    let fetched = 0;
    for (const { bytes } of cache.fetcher.counters().values()) fetched += bytes;
    const isQuiet = fetched === before;
    before = fetched;
    if (!isQuiet || fetched - collectedAt < COLLECT_BYTES_MIN) continue;
    collectedAt = fetched;
    collectGarbage();
  }
}

/** Makes files and index agree after whatever ended the last daemon. */
async function sweepOnce(parts: BackgroundParts, signal: AbortSignal): Promise<void> {
  const { cache, clock, log } = parts;
  const { cacheIndex, config } = cache;
  const swept = await sweep({ cacheDir: config.cacheDir, cacheIndex, clock, log, signal });
  if (swept.adopted + swept.dropped + swept.torn > 0) {
    log.info("The cache was set right after an unclean end", { ...swept });
  }
}

/** Looks at some chunks, when whoever waited for the mount has what he wanted. */
async function checkSampleOnce(parts: BackgroundParts, signal: AbortSignal): Promise<void> {
  const { cache, clock, random, log } = parts;
  await clock.sleep(SAMPLE_AFTER_MS, signal);
  const { checked, bad } = await checkSample({
    ...cache,
    hashBytes: cache.hash.bytes,
    random,
    signal,
  });
  if (bad === 0) return;
  log.warning(
    "Chunks of the cache are damaged or missing. Check the disk; to fetch all that is: " +
      "musicfs verify --repair",
    { cache: cache.config.cacheDir, damaged: bad, of: checked },
  );
}

async function scanRegularly(
  parts: BackgroundParts,
  { watched, signal }: { watched: WatchedOrigins; signal: AbortSignal },
): Promise<void> {
  const { cache, clock } = parts;
  let early = new AbortController();
  using _listening = onReturn(cache, () => early.abort());
  // Who waited for the first names walks through them now; a scan would only be in the way.
  if (await cache.library.adopted(signal)) await clock.sleep(SCAN_AFTER_ADOPTED_MS, signal);
  for (;;) {
    early = new AbortController();
    watched.scanned(await scanAndTell(parts, { skipUnchanged: timedOrigins(cache), signal }));
    await cache.published.lookAgain(signal);
    const either = AbortSignal.any([signal, early.signal]);
    // An origin that is back is looked at now, the end of the daemon by the next scan.
    await clock.sleep(cache.config.pollIntervalMs, either).catch(() => signal.throwIfAborted());
  }
}

/** Origins that are polled and whose folders have times: local ones are watched, S3 has none. */
function timedOrigins({ config }: Cache): string[] {
  return config.origins.filter(({ url }) => placeOf(url) === "sftp").map(({ name }) => name);
}

/** Scans the origins, by name, or all of them. */
async function scanAndTell(
  { scans, log }: BackgroundParts,
  options: {
    origins?: readonly string[];
    skipUnchanged?: readonly string[];
    signal: AbortSignal;
  },
): Promise<OriginScanResult[]> {
  const results = await scans.run({ ...options, checksum: false, acceptDeletions: false });
  for (const result of results) {
    const { name, state, files, added, changed, moved, gone, held_deletions, error } = result;
    if (state === "failed") log.warning("An origin could not be scanned", { name, error });
    else if (state === "held") {
      log.warning(
        "Most of an origin's files are gone; they stay until it is confirmed. If that is meant: " +
          "musicfs scan --accept-deletions",
        { name, files: held_deletions },
      );
    } else log.info("Scanned", { name, files, added, changed, moved, gone });
  }
  collectGarbage();
  return results;
}

/** Has what an origin missed while it was offline made good as soon as it is back. */
function onReturn({ health, library }: Cache, scan: () => void): Disposable {
  const stop = health.onChange(({ name, was, state, offlineMs }) => {
    if (was !== "offline" || state === "offline") return;
    library.originIsBack(name);
    if (offlineMs >= SCAN_AFTER_MS) scan();
  });
  return { [Symbol.dispose]: stop };
}

/** Finds out which origins hold the same bytes, so that one can stand in for another. */
async function proveContent({ library, guarded }: Cache, signal: AbortSignal): Promise<void> {
  // Whatever names the chunks: these hashes are kept, and compared with those of other years.
  const hash = await openChunkHash("xxh128");
  await library.prove({ origins: guarded, digest: (bytes) => hash.digest(bytes), signal });
}

/** Finds damage that the quick check at the start cannot see; the next start then rebuilds. */
async function probeIndex({ cache, clock, log }: BackgroundParts): Promise<void> {
  const dir = `${cache.config.cacheDir}/index`;
  const result = await childProbe(selfCommand(), clock)(dir);
  if (result === "ok") return;
  markIndexSuspect(dir);
  log.error("The index is damaged. It is rebuilt at the next start", { fault: result.bad });
}
