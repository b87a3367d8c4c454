import { resolve } from "node:path";
import { MusicfsError } from "../base/errors.ts";
import { cString, libc } from "../base/posix.ts";
import { clearStaleMount, runFusermount } from "../mount/check_mount.ts";
import { callDaemon, NoDaemonError } from "../mount/control_client.ts";
import { CONTROL_SOCKET } from "../mount/control_protocol.ts";
import { readLockInfo } from "../mount/lock.ts";
import { musicfsMountAt } from "../mount/mount_table.ts";
import { canonicalMountpoint } from "../mount/mountpoint.ts";
import { type DaemonInfo, findDaemon, registryPlace } from "../mount/registry.ts";
import type { CliContext } from "./context.ts";

/** Longest wait for a daemon to drain its reads and end, in ms; its own limit is shorter. */
const STOP_MS_MAX = 30_000;

/** Longest wait for a daemon's answer to the request itself, in ms. */
const ANSWER_MS_MAX = 5_000;

const POLL_MS = 20;

/** `musicfs unmount`: returns when the mount is gone and its daemon has ended. */
export async function runUnmount(
  options: { mountpoint: string; cacheDir: string | undefined },
  context: CliContext,
): Promise<number> {
  const path = canonicalMountpoint(resolve(context.cwd, options.mountpoint));
  const daemon = findDaemon(path, registryPlace(context.env)) ??
    daemonOfCache(options.cacheDir, path);
  if (daemon) {
    await askToStop(daemon, context);
    await waitUntilStopped(daemon, context);
    return 0;
  }
  const mount = musicfsMountAt(path);
  if (!mount) {
    throw new MusicfsError("not_found", `Nothing of musicfs is mounted at ${path}`, {
      op: "unmount.find",
      subject: path,
    });
  }
  const state = await clearStaleMount(path, { clock: context.clock });
  if (state === "absent") return 0;
  // A daemon nobody knows of: it ends when its mount is taken away.
  if (Deno.uid() === 0) await libc.umount2(cString(path), 0);
  else await runFusermount(["-u", "--", path], context.clock);
  if (!musicfsMountAt(path)) return 0;
  throw new MusicfsError(
    "unavailable",
    `Cannot unmount ${path}: it is in use, or not yours; close what is open in it, ` +
      `or detach it with "umount -l ${path}"`,
    { op: "unmount.umount", subject: path },
  );
}

/** Who the lock of a cache says serves the mountpoint, if that process is there. */
function daemonOfCache(cacheDir: string | undefined, mountpoint: string): DaemonInfo | undefined {
  const info = cacheDir === undefined ? undefined : readLockInfo(cacheDir);
  if (!info || cacheDir === undefined || info.mountpoint !== mountpoint) return undefined;
  return isRunning(info.pid) ? { pid: info.pid, cache_dir: cacheDir, mountpoint } : undefined;
}

/** Over the control socket; with SIGTERM if nobody answers there. */
async function askToStop(daemon: DaemonInfo, { clock }: CliContext): Promise<void> {
  const late = new AbortController();
  const timer = new AbortController();
  const limit = clock.sleep(ANSWER_MS_MAX, timer.signal)
    .then(() => late.abort(new Error("no answer")), () => undefined);
  try {
    await callDaemon(`${daemon.cache_dir}/${CONTROL_SOCKET}`, "unmount", { signal: late.signal });
  } catch (error) {
    if (error instanceof MusicfsError && error.code === "denied") throw error;
    const isSilent = late.signal.aborted || error instanceof NoDaemonError;
    if (isSilent && isRunning(daemon.pid)) terminate(daemon);
    else if (!(error instanceof MusicfsError)) throw error;
  } finally {
    timer.abort();
    await limit;
  }
}

function terminate(daemon: DaemonInfo): void {
  try {
    Deno.kill(daemon.pid, "SIGTERM");
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw new MusicfsError("denied", `Cannot stop musicfs daemon ${daemon.pid}: not yours`, {
      op: "unmount.signal",
      subject: daemon.mountpoint,
      cause: error,
    });
  }
}

async function waitUntilStopped(daemon: DaemonInfo, { clock }: CliContext): Promise<void> {
  const end = clock.monotonic() + STOP_MS_MAX;
  while (clock.monotonic() < end) {
    if (!isRunning(daemon.pid)) {
      const state = await clearStaleMount(daemon.mountpoint, { clock });
      if (state === "absent" || state === "live") return;
      break;
    }
    await clock.sleep(POLL_MS);
  }
  throw new MusicfsError(
    "timed_out",
    `musicfs daemon ${daemon.pid} has not given up ${daemon.mountpoint} yet; ` +
      `look at its log, or end it with "kill -9 ${daemon.pid}" and run "musicfs check-mount"`,
    { op: "unmount.wait", subject: daemon.mountpoint },
  );
}

/** Whether the process is there and no mere zombie. Source: proc_pid_stat(5), the third field. */
function isRunning(pid: number): boolean {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    return stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3) !== "Z";
  } catch (error) {
    if (error instanceof Error) return false; // No such process, or it is just going.
    throw error;
  }
}
