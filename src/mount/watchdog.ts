/**
 * Tells systemd that the mount works (`WatchdogSec=`): each ping is sent only after a request has
 * gone through the mount and back, so that a daemon that runs and serves nobody is replaced, too.
 */

import type { Clock } from "../base/clock.ts";
import { orAborted, within } from "../base/concurrency.ts";
import type { Log } from "../base/log.ts";
import { leaveBehind, probeMount } from "./check_mount.ts";
import { musicfsMountAt } from "./mount_table.ts";

/** Requests, at the least, in the time after which systemd takes the daemon for dead. */
const ASKED_TIMES = 3;

type Env = Readonly<Record<string, string | undefined>>;

/**
 * How often systemd wants to be told, in ms; undefined if it does not, or means another process.
 * Source: sd_watchdog_enabled(3).
 */
export function watchdogLimitMs(env: Env, pid: number): number | undefined {
  const limitUs = Number(env["WATCHDOG_USEC"]);
  const meant = env["WATCHDOG_PID"];
  if (!(limitUs > 0) || (meant && Number(meant) !== pid)) return undefined;
  return limitUs / 1000;
}

/** What a watchdog is made of. */
export interface WatchdogOptions {
  /** From `watchdogLimitMs`. */
  limitMs: number;
  /** Whether a request got through the mount and back within `ms`; never takes longer itself. */
  ask: (ms: number) => Promise<boolean>;
  ping: () => void;
  clock: Clock;
  log: Log;
  signal: AbortSignal;
}

/** Asks and pings until it is told to stop. */
export async function keepWatchdog(options: WatchdogOptions): Promise<void> {
  const { limitMs, ask, ping, clock, log, signal } = options;
  const intervalMs = limitMs / ASKED_TIMES;
  let isAnswered = true;
  for (;;) {
    const was = isAnswered;
    isAnswered = await orAborted(ask(intervalMs), signal);
    if (isAnswered) ping();
    else if (was) log.error("The mount does not answer; systemd will replace this daemon");
    if (isAnswered && !was) log.info("The mount answers again");
    await clock.sleep(intervalMs, signal);
  }
}

/**
 * Whether the musicfs mount at `mountpoint` answers a `statfs` within `ms`. Asked by a child process,
 * which is left behind if it gets no answer: no thread of ours may wait for its own mount.
 *
 * True as well if the mount is not there to be asked: somebody took it away, or mounted over it.
 */
export async function mountAnswers(
  mountpoint: string,
  { ms, clock }: { ms: number; clock: Clock },
): Promise<boolean> {
  if (!musicfsMountAt(mountpoint)) return true;
  const quick = await statSays(mountpoint, { ms, clock });
  if (quick !== undefined) return quick;
  const state = await probeMount(mountpoint, {
    clock,
    limits: { startMs: ms / 2, answerMs: ms / 2 },
  });
  return state === "live" || state === "absent";
}

/**
 * Asks by coreutils' `stat`, which takes 2 ms of a core; musicfs itself takes 70 ms to start.
 *
 * @returns undefined if there is no such program here, or it fails: then it proves nothing
 */
async function statSays(
  mountpoint: string,
  { ms, clock }: { ms: number; clock: Clock },
): Promise<boolean | undefined> {
  try {
    const child = new Deno.Command("stat", {
      args: ["-f", "--", mountpoint],
      cwd: "/",
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const status = await within(child.status, { ms, clock });
    if (status !== undefined) return status.success || undefined;
    leaveBehind(child);
    return false;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
