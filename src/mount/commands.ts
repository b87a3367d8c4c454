import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import { collectGarbage as giveMemoryBack } from "../base/memory.ts";
import { sameHash } from "../chunking/chunk_hash.ts";
import { sweep } from "../store/sweep.ts";
import { type BadChunk, verifyStore } from "../store/verify.ts";
import type { Cache } from "./cache.ts";
import type {
  CacheCommands,
  GcOptions,
  GcResult,
  ScanOptions,
  ScanResult,
  VerifyOptions,
  VerifyResult,
} from "./cache_commands.ts";
import { listPins, pin, type PinParts, unpin, warm } from "./pin_commands.ts";
import { Pins } from "./pins.ts";
import type { ScanRuns } from "./scan_runs.ts";
import { type ServingDaemon, statusOf } from "./status.ts";
import { verifyExtents } from "./verify_extents.ts";

/** Paths that `verify` names. */
const PATHS_MAX = 1_000;

/** What commands work on. */
export interface CommandParts {
  cache: Cache;
  scans: ScanRuns;
  /** Those that `keepPins` has, too; default: read from the cache's folder. */
  pins?: Pins;
  clock: Clock;
  /** Ends what a command is doing. */
  signal: AbortSignal;
  /** undefined when a command runs without a daemon. */
  daemon: ServingDaemon | undefined;
}

/** The commands of an open cache; the same for the daemon and without one. */
export function cacheCommands(parts: CommandParts): CacheCommands {
  const { cache, clock, signal } = parts;
  const pins = parts.pins ?? Pins.open(cache.config.cacheDir, cache.log);
  const pinParts: PinParts = {
    cache,
    clock,
    signal,
    pins,
    reader: cache.reader,
  };
  return {
    gc: (options) => collectGarbage(parts, options),
    scan: (options) => scan(parts, options),
    verify: (options) => verify(parts, options),
    warm: (options) => warm(pinParts, options),
    pin: (options) => pin(pinParts, options),
    unpin: (options) => unpin(pinParts, options),
    pins: () => listPins(pinParts),
    status: () => Promise.resolve(statusOf(parts, pins)),
  };
}

async function collectGarbage(
  { cache, clock, signal }: CommandParts,
  { maxSizeBytes, dryRun }: GcOptions,
): Promise<GcResult> {
  const { cacheIndex, space, manifests, config } = cache;
  const limitBytes = maxSizeBytes ?? space.limitBytes;
  cacheIndex.flush();
  const before = space.usedBytes();
  const log = cache.log;
  const swept = await sweep({
    cacheDir: config.cacheDir,
    cacheIndex,
    clock,
    log,
    dropUnreferenced: true,
    dryRun,
    signal,
  });
  const orphans = swept.torn + swept.unreferenced;
  const orphanBytes = swept.tornBytes + swept.unreferencedBytes;
  const evicted = await space.evictTo(dryRun ? limitBytes + orphanBytes : limitBytes, {
    dryRun,
    signal,
  });
  if (!dryRun) manifests.prune({ all: true });
  const freed = evicted.chunkBytes + evicted.extentBytes + orphanBytes;
  return {
    dry_run: dryRun,
    limit_bytes: limitBytes,
    used_bytes_before: before,
    used_bytes_after: dryRun ? Math.max(0, before - freed) : space.usedBytes(),
    evicted_chunks: evicted.chunks,
    evicted_chunk_bytes: evicted.chunkBytes,
    evicted_extents: evicted.extents,
    evicted_extent_bytes: evicted.extentBytes,
    orphans,
    orphan_bytes: orphanBytes,
    pinned_bytes: cacheIndex.totals().pinnedBytes,
  };
}

async function scan({ scans, signal }: CommandParts, options: ScanOptions): Promise<ScanResult> {
  const origins = await scans.run({ ...options, signal });
  giveMemoryBack();
  return { origins };
}

async function verify(
  { cache, clock, signal }: CommandParts,
  { repair, onProgress }: VerifyOptions,
): Promise<VerifyResult> {
  const { config, cacheIndex, namespace } = cache;
  const began = clock.monotonic();
  const paths = new Set<string>();
  const addPath = (path: string): void => {
    if (paths.size < PATHS_MAX) paths.add(path);
  };
  cacheIndex.flush();
  const report = await verifyStore({
    cacheDir: config.cacheDir,
    hash: cache.hash,
    cacheIndex,
    signal,
    onBad: ({ owner }) => {
      const path = namespace.version(owner)?.sources[0].path;
      if (path !== undefined) addPath(path);
    },
    ...(repair ? { repair: (chunk) => repairChunk(cache, chunk, signal) } : {}),
    onProgress: (now) =>
      onProgress?.({
        checked_chunks: now.checked,
        total_chunks: now.total,
        checked_bytes: now.bytes,
        bad_chunks: now.corrupt + now.missing,
      }),
  });
  const extents = await verifyExtents(cache, { repair, onBad: addPath, signal });
  return {
    checked_chunks: report.checked,
    checked_bytes: report.bytes,
    bad_chunks: report.corrupt,
    missing_chunks: report.missing,
    bad_extent_blocks: extents.bad,
    repaired_chunks: report.repaired,
    repaired_extent_blocks: extents.repaired,
    paths: [...paths].toSorted(),
    seconds: (clock.monotonic() - began) / 1000,
  };
}

/** Reads the chunk's range anew: the reader finds it bad, fetches it and puts it back. */
async function repairChunk(
  { namespace, manifests, reader, store }: Cache,
  { hash, owner }: BadChunk,
  signal: AbortSignal,
): Promise<boolean> {
  const version = namespace.version(owner);
  const list = manifests.list(owner);
  if (!version || !list) {
    store.delete(hash);
    return false;
  }
  const at = Array.from({ length: list.count }, (_, i) => i).findIndex((i) =>
    sameHash(list.hash(i), hash)
  );
  if (at < 0) return false;
  const range = { offset: list.start(at), length: list.length(at) };
  try {
    await reader.read(version, range, { signal, handle: 0 });
    return true;
  } catch (error) {
    if (error instanceof MusicfsError) return false;
    throw error;
  }
}
