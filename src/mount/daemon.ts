import type { Clock } from "../base/clock.ts";
import { within } from "../base/concurrency.ts";
import { raiseDescriptorLimit } from "../base/descriptor_limit.ts";
import { failpoint } from "../base/failpoint.ts";
import type { Log } from "../base/log.ts";
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
import { EventStreams } from "./event_streams.ts";
import { enter, type EnterOptions } from "./enter.ts";
import { catchFaults } from "./faults.ts";
import { FdStore, listenDescriptor } from "./fd_store.ts";
import { FuseMount } from "./fuse_mount.ts";
import { acquireLock, type LockInfo } from "./lock.ts";
import { canonicalMountpoint } from "./mountpoint.ts";
import { LogTally } from "../base/log_tally.ts";
import type { RawOrigins } from "./open_ahead.ts";
import { Pins } from "./pins.ts";
import { reload } from "./reload.ts";
import { registerDaemon, registryPlace } from "./registry.ts";
import { handoverCommands } from "./replace.ts";
import { ScanRuns } from "./scan_runs.ts";
import { type MadeMount, startMount } from "./start_mount.ts";
import { loadFuseWorker } from "./serving_worker.ts";
import { removeSession } from "./session_file.ts";
import type { ServingDaemon } from "./status.ts";
import { type StopReason, StopSignal } from "./stop_signal.ts";
import type { SupervisorLink } from "./supervisor_link.ts";
import { sdNotify } from "./systemd.ts";
import { DeathCount, type Heritage, onceUnlocked } from "./takeover.ts";
import { VERSION } from "./version.ts";

/** How long readers' requests are waited for when the daemon stops, in ms. */
const DRAIN_MS_MAX = 5_000;

/** How long tasks beside the mount may take to stop, and then everything else, in ms. */
const TASKS_MS_MAX = 2_000;
const CLOSE_MS_MAX = 5_000;

/** How long answers that are on their way are waited for when a successor comes, in ms. */
const LEAVE_MS_MAX = 500;

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
  /** The parent that holds the mount. */
  supervisor?: SupervisorLink | undefined;
  /** The descriptor of a mount to take over. Default: what systemd kept. */
  inherited?: number | undefined;
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
  const { clock, log, env, supervisor } = options;
  const mountpoint = canonicalMountpoint(options.mountpoint);
  const { cacheDir } = config;
  const holder = supervisor ?? FdStore.open(env, Deno.pid);
  const inherited = options.inherited ?? listenDescriptor(env, Deno.pid);
  forgetListening();
  raiseDescriptorLimit();
  makeCacheFolder(cacheDir);
  await using owned = new AsyncDisposableStack();
  const lockInfo = (parent: number | null): LockInfo => ({
    pid: Deno.pid,
    supervisor_pid: parent,
    mountpoint,
  });
  const take = async <T extends Disposable>(what: () => T): Promise<T> =>
    owned.use(inherited === undefined ? what() : await onceUnlocked(what, clock));
  const lock = await take(() => acquireLock(cacheDir, lockInfo(supervisor?.pid ?? null)));
  if (supervisor) supervisor.onReplaced = (parent) => lock.update(lockInfo(parent));
  const info = { pid: Deno.pid, cache_dir: cacheDir, mountpoint };
  await take(() => registerDaemon(info, registryPlace(env)));
  const folders = config.origins.map(({ url }) => localFolder(url)).filter((root) =>
    root !== undefined
  );
  const parts: EnterOptions = { mountpoint, cacheDir, folders, holder, clock, log };
  const entered = await enter(inherited, parts);
  if ("exitCode" in entered) return entered.exitCode;
  const { heritage } = entered;
  const { reason, isLeft } = await serve(config, { options, parts, tally, heritage });
  // A successor waits for the locks: they go with the last thread that could still read a request.
  if (isLeft) owned.move();
  return reason === "fault" ? 1 : 0;
}

/** systemd's passing of descriptors is for this process, not for the hooks that it starts. */
function forgetListening(): void {
  for (const name of ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]) Deno.env.delete(name);
}

/** How a daemon's service ended. */
interface Served {
  reason: StopReason;
  /** Whether the mount was left to a successor. */
  isLeft: boolean;
}

/** Serves the mount from the opening of the cache until the end. */
async function serve(
  config: Config,
  { options, parts, tally, heritage }: {
    options: DaemonOptions;
    parts: EnterOptions;
    tally: LogTally;
    heritage: Heritage | undefined;
  },
): Promise<Served> {
  const { clock, log, supervisor } = options;
  const { holder } = parts;
  await using stack = new AsyncDisposableStack();
  const stop = stack.use(new StopSignal(log, () => Deno.exit(1)));
  stack.use(catchFaults({ log, stop, giveUp: () => giveUp(parts) }));
  // Never terminated: that of a thread which blocks in a system call would never end.
  const worker = loadFuseWorker();
  const deaths = new DeathCount(parts);
  const heir = heritage && { ...heritage, session: await deaths.begin(heritage.session) };
  if (heir) failpoint("daemon.takeover");
  const takenOver = heir?.session.epoch;
  const cache = stack.use(await openCache(config, { ...options, forMount: true, takenOver }));
  const made = await startMount(cache, { worker, heritage: heir, parts, options });
  const { mount, session } = made;
  const attended = await attend(cache, { made, parts, options, tally, stop });
  stack.use(attended);
  stop.onHangup = () => {
    failpoint("daemon.reload");
    reload({ cache, log, read: options.reload, startGivenUp: attended.startGivenUp });
  };
  stopWith(mount, { stop, log });
  if (heir) deaths.settle(session, attended.signal).catch(() => undefined);

  const reason = await stop.stopped;
  const began = clock.monotonic();
  // After a fault, too, if the descriptor is kept: a successor will do better.
  const isLeft = reason === "handover" || (reason === "fault" && made.isHeld);
  if (!isLeft) supervisor?.stopping();
  await attended.end(reason);
  if (isLeft) {
    await mount.leave(LEAVE_MS_MAX);
    if (reason === "handover") await deaths.forgive(session);
  } else {
    holder?.release();
    await mount.drain(DRAIN_MS_MAX);
    await mount.unmount();
    await removeSession(parts.cacheDir);
  }
  const closed = stack.disposeAsync().then(() => true);
  if (!await within(closed, { ms: CLOSE_MS_MAX, clock })) {
    log.warning("Not everything came to an end in time; the next start looks after it");
  }
  log.info("Stopped", { reason, ms: Math.round(clock.monotonic() - began) });
  return { reason, isLeft };
}

/** What goes on beside serving requests. */
interface Attended extends AsyncDisposable {
  /** Aborted when all of it is to end. */
  signal: AbortSignal;
  /** Starts tasks again that were given up; their names. */
  startGivenUp: () => readonly string[];
  /** Ends what must have ended before the mount does; the rest ends with the disposal. */
  end(reason: StopReason): Promise<void>;
}

/** Tells that the mount is there, listens to commands, and starts what goes on in the background. */
async function attend(
  cache: Cache,
  { made, parts, options, tally, stop }: {
    made: MadeMount;
    parts: EnterOptions;
    options: DaemonOptions;
    tally: LogTally;
    stop: StopSignal;
  },
): Promise<Attended> {
  const { clock, log, env, supervisor } = options;
  const { mountpoint, cacheDir } = parts;
  const { mount, session } = made;
  const notify = (state: string): boolean => sdNotify(state, { socket: env("NOTIFY_SOCKET") });
  await using stack = new AsyncDisposableStack();
  const stopping = new AbortController();
  stack.defer(() => stopping.abort(new DOMException("musicfs is stopping", "AbortError")));
  const scans = new ScanRuns(cache, clock);
  const pins = Pins.open(cacheDir, log);
  const about = { pid: Deno.pid, mountpoint, version: VERSION };
  const events = new EventStreams({ cache, scans, clock, daemon: about });
  const daemon: ServingDaemon = {
    mount,
    mountpoint,
    startedMs: clock.monotonic(),
    tally,
    takeovers: session.takeovers,
    supervisorPid: () => supervisor?.pid ?? null,
    tasks: [],
  };
  const commands = cacheCommands({ cache, scans, pins, clock, signal: stopping.signal, daemon });
  stack.use(
    await serveControl({
      path: `${cacheDir}/${CONTROL_SOCKET}`,
      commands: { ...commands, unmount: () => Promise.resolve(stop.stop("unmount")) },
      streams: {
        events: events.stream.bind(events),
        ...handover(made, { parts, options, stop }),
      },
      log,
    }),
  );
  stack.use(serveMetrics(cache.config.metrics, { cache, scans, pins, clock, daemon, log }));
  tellMounted(log, { made, parts });
  supervisor?.ready();
  notify(`READY=1\nSTATUS=Mounted at ${mountpoint}`);
  const around = { mountpoint, environment: Deno.env.toObject(), random: options.random };
  const tasks = startBackgroundTasks({ ...around, cache, scans, pins, clock, log });
  stack.use(tasks);
  daemon.tasks = tasks.states;
  const owned = stack.move();
  return {
    signal: stopping.signal,
    startGivenUp: () => tasks.startGivenUp(),
    end: async (reason) => {
      notify(`STOPPING=1\nSTATUS=Stopping: ${reason}`);
      const told = events.stop(reason);
      await within(tasks[Symbol.asyncDispose](), { ms: TASKS_MS_MAX, clock });
      await told;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** What `mount --replace` asks of this daemon. */
function handover(
  { mount, session }: MadeMount,
  { parts, options, stop }: { parts: EnterOptions; options: DaemonOptions; stop: StopSignal },
): ReturnType<typeof handoverCommands> {
  return handoverCommands({
    descriptor: mount.descriptor,
    canResend: session.agreed.resend,
    leave: () => {
      options.supervisor?.stopping();
      parts.holder?.release();
      stop.stop("handover");
    },
  });
}

function tellMounted(
  log: Log,
  { made, parts }: { made: MadeMount; parts: EnterOptions },
): void {
  const { mountpoint, cacheDir, holder } = parts;
  const { takeovers, agreed } = made.session;
  const what = takeovers > 0 ? `Took over the mount at ${mountpoint}` : `Mounted at ${mountpoint}`;
  log.info(what, { cache: cacheDir, pid: Deno.pid, ...(takeovers > 0 ? { takeovers } : {}) });
  if (!agreed.resend) {
    log.warning("This kernel is older than 6.9: if musicfs dies, readers get errors once");
  } else if (holder && !made.isHeld) {
    log.warning("Nobody holds the mount beside musicfs: if it dies, readers get errors once", {
      holder: holder.kind,
    });
  }
}

/** Ends at once; takes the mount away before, as far as that can be done, if nobody holds it. */
function giveUp({ mountpoint, holder }: EnterOptions): void {
  if (holder) Deno.exit(1);
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
