import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { statPath } from "../base/posix.ts";
import type {
  CacheCommands,
  ScanProgress,
  VerifyProgress,
  WarmProgress,
} from "../mount/cache_commands.ts";
import type { Config } from "../mount/config.ts";
import { callDaemon, NoDaemonError } from "../mount/control_client.ts";
import { CONTROL_SOCKET } from "../mount/control_protocol.ts";
import { acquireLock, LockHeldError, readLockInfo } from "../mount/lock.ts";
import type { CliContext } from "./context.ts";

/** How long a daemon that holds the lock may take to open its socket, in ms: it opens the index. */
const SOCKET_MS_MAX = 10_000;

const SOCKET_RETRY_MS = 100;

/**
 * Runs `use` with the cache's commands: in this process under the cache's lock, or in the daemon
 * that holds it.
 *
 * `mayCreate`: make the cache if there is none. Throws `not_found` without it, and
 * {@linkcode LockHeldError} if another command has the cache.
 */
export async function reachCache<T>(
  config: Config,
  options: {
    context: CliContext;
    log: Log;
    mayCreate: boolean;
    /** Throws if the configuration will not do for opening the cache here. */
    require?: () => void;
  },
  use: (commands: CacheCommands, daemon: { mountpoint: string | undefined }) => Promise<T>,
): Promise<T> {
  const { context, log, mayCreate } = options;
  await findFolder(config.cacheDir, mayCreate);
  const lock = lockOrHeld(config.cacheDir);
  if (lock instanceof LockHeldError) {
    const mountpoint = lock.holder?.mountpoint ?? undefined;
    return await use(remoteCommands(config.cacheDir, { context, held: lock }), { mountpoint });
  }
  using _lock = lock;
  options.require?.();
  const { clock, env, random } = context;
  await using commands = await context.openCache(config, { clock, env, log, random });
  return await use(commands, { mountpoint: undefined });
}

/**
 * Has the daemon that serves the cache run a command that needs one; waits for its socket while it
 * starts.
 *
 * Throws `not_found` if there is no cache, or nobody serves it.
 */
export async function callServingDaemon(
  config: Config,
  command: string,
  options: {
    context: CliContext;
    onProgress: (progress: unknown) => void;
    signal: AbortSignal;
  },
): Promise<unknown> {
  const { cacheDir } = config;
  const { context: { clock }, onProgress, signal } = options;
  await findFolder(cacheDir, false);
  const end = clock.monotonic() + SOCKET_MS_MAX;
  for (;;) {
    try {
      return await callDaemon(`${cacheDir}/${CONTROL_SOCKET}`, command, { onProgress, signal });
    } catch (error) {
      if (!(error instanceof NoDaemonError)) throw error;
      // The lock is not tried: that would turn away a daemon that starts in this moment.
      const holder = readLockInfo(cacheDir);
      const isStarting = holder !== undefined && holder.mountpoint !== null && isAlive(holder.pid);
      if (!isStarting || clock.monotonic() >= end) throw noDaemon(cacheDir, error);
      await clock.sleep(SOCKET_RETRY_MS, signal);
    }
  }
}

function noDaemon(cacheDir: string, cause: unknown): MusicfsError {
  const message =
    `No daemon serves the cache ${cacheDir}; mount first, or name its folder with --cache-dir`;
  return new MusicfsError("not_found", message, { op: "cache.find", subject: cacheDir, cause });
}

function isAlive(pid: number): boolean {
  return typeof statPath(`/proc/${pid}`) !== "number";
}

/** The commands of the daemon that has the cache in `cacheDir`, over its control socket. */
export function remoteCommands(
  cacheDir: string,
  options: { context: CliContext; held: LockHeldError | undefined },
): CacheCommands {
  const call = async <T>(
    command: string,
    args: unknown,
    { onProgress, signal }: {
      onProgress?: (progress: unknown) => void;
      signal?: AbortSignal | undefined;
    } = {},
  ): Promise<T> => {
    const socket = `${cacheDir}/${CONTROL_SOCKET}`;
    const { clock } = options.context;
    const end = clock.monotonic() + SOCKET_MS_MAX;
    for (;;) {
      try {
        return await callDaemon(socket, command, {
          args,
          ...(onProgress ? { onProgress } : {}),
          ...(signal ? { signal } : {}),
        }) as T;
      } catch (error) {
        // Another command has the cache, and will never listen.
        const isDaemon = options.held?.holder === undefined ||
          options.held.holder.mountpoint !== null;
        if (!(error instanceof NoDaemonError)) throw error;
        if (!isDaemon || clock.monotonic() >= end) throw options.held ?? error;
        await clock.sleep(SOCKET_RETRY_MS);
      }
    }
  };
  return {
    gc: (args) => call("gc", args),
    scan: ({ onProgress, ...args }) =>
      call("scan", args, { onProgress: (progress) => onProgress?.(progress as ScanProgress) }),
    verify: ({ onProgress, ...args }) =>
      call("verify", args, { onProgress: (progress) => onProgress?.(progress as VerifyProgress) }),
    warm: ({ paths, signal, onProgress }) =>
      call("warm", { paths }, {
        signal,
        onProgress: (progress) => onProgress?.(progress as WarmProgress),
      }),
    pin: ({ paths, signal, onProgress }) =>
      call("pin", { paths }, {
        signal,
        onProgress: (progress) => onProgress?.(progress as WarmProgress),
      }),
    unpin: ({ paths }) => call("unpin", { paths }),
    pins: () => call("pins", {}),
    status: () => call("status", {}),
  };
}

function lockOrHeld(cacheDir: string): Disposable | LockHeldError {
  try {
    return acquireLock(cacheDir, { pid: Deno.pid, supervisor_pid: null, mountpoint: null });
  } catch (error) {
    if (error instanceof LockHeldError) return error;
    throw error;
  }
}

async function findFolder(cacheDir: string, mayCreate: boolean): Promise<void> {
  const context = { op: "cache.find", subject: cacheDir };
  try {
    if (mayCreate) await Deno.mkdir(cacheDir, { recursive: true, mode: 0o700 });
    else await Deno.stat(cacheDir);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound && !mayCreate) {
      throw new MusicfsError(
        "not_found",
        `There is no cache at ${cacheDir}; name another folder with --cache-dir, or mount first`,
        { ...context, cause },
      );
    }
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new MusicfsError("unavailable", `Cannot use the cache folder ${cacheDir}: ${why}`, {
      ...context,
      cause,
    });
  }
}
