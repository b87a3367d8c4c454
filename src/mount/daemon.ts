import type { Clock } from "../base/clock.ts";
import { within } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import type { Log } from "../base/log.ts";
import { LogTally } from "../base/log_tally.ts";
import { unmountFuse } from "../fuse/device.ts";
import { ERRNO } from "../fuse/errno.ts";
import { localFolder } from "../origins/open.ts";
import { startBackgroundTasks } from "./background.ts";
import { type Cache, makeCacheFolder, openCache } from "./cache.ts";
import { cacheCommands } from "./commands.ts";
import type { Config } from "./config.ts";
import { serveControl } from "./control.ts";
import { CONTROL_SOCKET } from "./control_protocol.ts";
import { serveMetrics } from "./daemon_metrics.ts";
import { directRootsOf } from "./direct_roots.ts";
import { EventStreams } from "./event_streams.ts";
import { catchFaults } from "./faults.ts";
import { checkFirstSight } from "./first_sight.ts";
import { FuseMount, loadFuseWorker } from "./fuse_mount.ts";
import { holdOpen } from "./hold_open.ts";
import { hasStaleListings } from "./kernel_release.ts";
import { acquireLock } from "./lock.ts";
import { canonicalMountpoint } from "./mountpoint.ts";
import { checkMountpoint } from "./mountpoint_check.ts";
import { kernelReadAheadBytes, raiseReadAhead } from "./read_ahead_setting.ts";
import type { RawOrigins } from "./open_ahead.ts";
import { Pins } from "./pins.ts";
import { registerDaemon, registryPlace } from "./registry.ts";
import { ScanRuns } from "./scan_runs.ts";
import { removeSession, writeSession } from "./session_file.ts";
import { servingDaemon } from "./status.ts";
import { StopSignal } from "./stop_signal.ts";
import { sdNotify } from "./systemd.ts";
import { VERSION } from "./version.ts";

/** How long readers' requests are waited for when the daemon stops, in ms. */
const DRAIN_MS_MAX = 5_000;

/** How long tasks beside the mount may take to stop, and then everything else, in ms. */
const TASKS_MS_MAX = 2_000;
const CLOSE_MS_MAX = 5_000;

/** How long the kernel may believe names and attributes, in s; changes are pushed to it. */
const TTL_S = 3600;

/** What a daemon is given besides its configuration. */
export interface DaemonOptions {
  /** Absolute, without symlinks: as the kernel's mount table will have it. */
  mountpoint: string;
  clock: Clock;
  log: Log;
  env: (name: string) => string | undefined;
  /** Chance in [0, 1). */
  random: () => number;
  /** From `openAhead`. */
  raw?: Promise<RawOrigins>;
  /** Reads the configuration again, for SIGHUP; throws `MusicfsError` if it is wrong now. */
  reload(): Config;
}

/**
 * Mounts, and serves until told to stop.
 *
 * Lock, registry, stale mount, index, mount, `READY=1`: in this order, so that a second daemon is
 * turned away before it touches anything. Throws `MusicfsError` if it cannot start.
 *
 * @returns the exit code
 */
export async function runDaemon(config: Config, given: DaemonOptions): Promise<number> {
  const tally = new LogTally(given.log, given.clock);
  const options = { ...given, log: tally };
  const { clock, log, env } = options;
  const mountpoint = canonicalMountpoint(options.mountpoint);
  const notify = (state: string): boolean => sdNotify(state, { socket: env("NOTIFY_SOCKET") });
  await using stack = new AsyncDisposableStack();
  makeCacheFolder(config.cacheDir);
  const pid = Deno.pid;
  stack.use(acquireLock(config.cacheDir, { pid, supervisor_pid: null, mountpoint }));
  const info = { pid, cache_dir: config.cacheDir, mountpoint };
  stack.use(registerDaemon(info, registryPlace(env)));
  const roots = config.origins.map(({ url }) => localFolder(url)).filter((root) =>
    root !== undefined
  );
  await checkMountpoint(mountpoint, { folders: [config.cacheDir, ...roots], clock });
  const stop = stack.use(new StopSignal(log, () => Deno.exit(1)));
  stack.use(catchFaults({ log, stop, giveUp: () => giveUp(mountpoint) }));
  // Never terminated: that of a thread which blocks in a system call would never end.
  const worker = loadFuseWorker();
  const cache = stack.use(await openCache(config, { ...options, forMount: true }));
  await checkFirstSight(cache, clock);
  cache.library.adoptPublished();
  const mount = await startMount(cache, { mountpoint, worker, options });
  stop.onHangup = () => reload(cache, options);
  const scans = new ScanRuns(cache, clock);
  const stopping = new AbortController();
  stack.defer(() => stopping.abort(new DOMException("musicfs is stopping", "AbortError")));
  const daemon = servingDaemon({ mount, mountpoint, startedMs: clock.monotonic(), tally });
  const pins = Pins.open(config.cacheDir, log);
  const about = { pid, mountpoint, version: VERSION };
  const events = new EventStreams({ cache, scans, clock, daemon: about });
  const commands = cacheCommands({ cache, scans, pins, clock, signal: stopping.signal, daemon });
  stack.use(
    await serveControl({
      path: `${config.cacheDir}/${CONTROL_SOCKET}`,
      commands: { ...commands, unmount: () => Promise.resolve(stop.stop("unmount")) },
      streams: { events: events.stream.bind(events) },
      log,
    }),
  );
  stack.use(serveMetrics(config.metrics, { cache, scans, pins, clock, daemon, log }));
  stopWith(mount, { stop, log });
  log.info(`Mounted at ${mountpoint}`, { cache: config.cacheDir, pid });
  notify(`READY=1\nSTATUS=Mounted at ${mountpoint}`);
  const environment = Deno.env.toObject();
  const parts = { cache, scans, pins, mountpoint, environment, clock, log };
  const tasks = startBackgroundTasks(parts);
  stack.use(tasks);
  daemon.tasks = tasks.states;

  const reason = await stop.stopped;
  const began = clock.monotonic();
  notify(`STOPPING=1\nSTATUS=Stopping: ${reason}`);
  const told = events.stop(reason);
  await within(tasks[Symbol.asyncDispose](), { ms: TASKS_MS_MAX, clock });
  await told;
  await mount.drain(DRAIN_MS_MAX);
  if (reason !== "handover") {
    await mount.unmount();
    await removeSession(config.cacheDir);
  }
  const closed = stack.disposeAsync().then(() => true);
  if (!await within(closed, { ms: CLOSE_MS_MAX, clock })) {
    log.warning("Not everything came to an end in time; the next start looks after it");
  }
  log.info("Stopped", { reason, ms: Math.round(clock.monotonic() - began) });
  return reason === "fault" ? 1 : 0;
}

/** Takes the mount away as far as that can be done at once, and ends. */
function giveUp(mountpoint: string): void {
  unmountFuse(mountpoint, { uid: Deno.uid() ?? 0, detach: true }).finally(() => Deno.exit(1));
}

/** Stops when the FUSE session ends, however it does. */
function stopWith(mount: FuseMount, { stop, log }: { stop: StopSignal; log: Log }): void {
  mount.ended.then(
    (errno) => {
      if (errno !== ERRNO.ENODEV) log.error("The FUSE session ended", { errno });
      stop.stop(errno === ERRNO.ENODEV ? "outside" : "fault");
    },
    (error) => {
      log.error("The FUSE worker failed", { error });
      stop.stop("fault");
    },
  );
}

/** SIGHUP: takes over what can be changed while mounted: the limits of size and bandwidth. */
function reload({ space, bandwidth, log }: Cache, options: DaemonOptions): void {
  failpoint("daemon.reload");
  try {
    const { maxSizeBytes, bwlimitBytes } = options.reload();
    if (maxSizeBytes !== undefined) space.setLimit(maxSizeBytes);
    bandwidth.setRate(bwlimitBytes);
    log.info("Configuration read again; all but max_size and bwlimit waits for the next mount", {
      maxSizeBytes: space.limitBytes,
      bwlimitBytes: bwlimitBytes ?? 0,
    });
  } catch (error) {
    if (!(error instanceof MusicfsError)) throw error;
    log.warning("The configuration is wrong now; everything stays as it is", { error });
  }
}

async function startMount(
  cache: Cache,
  { mountpoint, worker, options }: { mountpoint: string; worker: Worker; options: DaemonOptions },
): Promise<FuseMount> {
  const { config } = cache;
  const uid = Deno.uid() ?? 0;
  const gid = Deno.gid() ?? 0;
  const directRoots = await directRootsOf(cache, options.clock);
  const readAheadBytes = kernelReadAheadBytes(config);
  const mount = await FuseMount.start({
    worker,
    cache,
    mountpoint,
    uid,
    gid,
    allowOther: config.allowOther,
    presentation: {
      uid: config.uid ?? uid,
      gid: config.gid ?? gid,
      umask: config.umask,
      ttlS: TTL_S,
    },
    cacheFolders: !hasStaleListings(Deno.osRelease()),
    directRoots,
    passthrough: directRoots.length > 0 && uid === 0,
    readAheadBytes,
    opened: (version) => {
      cache.reader.opened(version);
      holdOpen(cache, version);
    },
    nonce: 1 + Math.floor(options.random() * 2 ** 20),
    clock: options.clock,
    log: options.log,
  });
  cache.changes.listener = (changes) => mount.tell(changes);
  cache.changes.forgetBytes = (version) => mount.forgetBytes(version);
  await writeSession(config.cacheDir, {
    format: 1,
    mountpoint,
    epoch: cache.opened.index.epoch,
    agreed: await mount.agreed,
    uid,
  });
  if (uid === 0) raiseReadAhead(mountpoint, { bytes: readAheadBytes, log: options.log });
  return mount;
}
