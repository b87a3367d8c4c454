import { resolve } from "node:path";
import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { StatusResult } from "../mount/cache_commands.ts";
import { callDaemon } from "../mount/control_client.ts";
import { CONTROL_SOCKET } from "../mount/control_protocol.ts";
import { canonicalMountpoint } from "../mount/mountpoint.ts";
import { findDaemon, registryPlace } from "../mount/registry.ts";
import type { CacheCommandOptions } from "./cache_command.ts";
import type { CliContext } from "./context.ts";
import { oneLine, type Output } from "./output.ts";
import { parseDuration } from "./quantities.ts";
import { printStatus } from "./status_text.ts";
import { UsageError } from "./usage_error.ts";

const INTERVAL_MS = 2_000;
const INTERVAL_MS_MIN = 100;

/** Longest wait for a daemon's answer, in ms: one that hangs is to be told of. */
const ANSWER_MS_MAX = 5_000;

/** Puts the cursor home and clears what is below it. */
const CLEAR = "\x1b[H\x1b[J";

/** Throws {@linkcode UsageError} if `text` is no interval. */
export function watchIntervalMs(text: string | undefined): number {
  if (text === undefined) return INTERVAL_MS;
  const ms = parseDuration(text);
  if (ms !== undefined && ms >= INTERVAL_MS_MIN) return ms;
  throw new UsageError(`--interval cannot be "${text}": write a duration like 2s, at least 100ms`, {
    subject: "--interval",
  });
}

/**
 * `musicfs status --watch`: the status again and again, until Ctrl-C or until nobody reads it, which
 * are exit code 0. A daemon that is away is told of, and waited for.
 *
 * Only a daemon is asked: opening the cache would turn one away that starts in this moment.
 */
export async function watchStatus(
  options: CacheCommandOptions & { mountpoint: string | undefined; intervalMs: number },
): Promise<number> {
  const { context, json, intervalMs } = options;
  const { stdout, clock } = context;
  const enough = new AbortController();
  const stop = (): void => enough.abort();
  Deno.addSignalListener("SIGINT", stop);
  Deno.addSignalListener("SIGTERM", stop);
  try {
    const show = json ? showJson : showText;
    while (!enough.signal.aborted && stdout.isGone !== true) {
      const seen = await look(options, enough.signal);
      if (enough.signal.aborted) break;
      show(seen, { stdout, nowMs: clock.now() });
      await clock.sleep(intervalMs, enough.signal).catch(() => undefined);
    }
  } finally {
    Deno.removeSignalListener("SIGINT", stop);
    Deno.removeSignalListener("SIGTERM", stop);
  }
  return 0;
}

/** What a look came to: a status, or why there is none. */
type Seen = { status: StatusResult } | { error: string };

/** Where it is shown, and when it was seen. */
interface Shown {
  stdout: Output;
  nowMs: number;
}

/** One object a line. */
function showJson(seen: Seen, { stdout, nowMs }: Shown): void {
  const told = "status" in seen ? seen.status : { pid: null, error: seen.error };
  stdout.write(`${JSON.stringify({ time_ms: nowMs, ...told })}\n`);
}

/** On a terminal each in the place of the last one, elsewhere one below the other. */
function showText(seen: Seen, { stdout, nowMs }: Shown): void {
  let text = `${new Date(nowMs).toISOString().slice(0, 19)}Z\n`;
  const page = { ...stdout, write: (part: string): void => void (text += part) };
  if ("status" in seen) printStatus(page, seen.status);
  else text += `${oneLine(seen.error)}; waiting\n`;
  stdout.write(stdout.isTerminal ? CLEAR + text : `${text}\n`);
}

async function look(
  { config, context, mountpoint }: CacheCommandOptions & { mountpoint: string | undefined },
  signal: AbortSignal,
): Promise<Seen> {
  const cacheDir = mountpoint === undefined ? config.cacheDir : cacheDirAt(mountpoint, context);
  if (cacheDir === undefined) return { error: `No musicfs daemon serves ${mountpoint}` };
  const late = new AbortController();
  const both = AbortSignal.any([signal, late.signal]);
  const asked = callDaemon(`${cacheDir}/${CONTROL_SOCKET}`, "status", { signal: both }).then(
    (result): Seen => ({ status: result as StatusResult }),
    (error): Seen => {
      if (error instanceof MusicfsError) return { error: error.message };
      if (both.aborted) return { error: "" };
      throw error;
    },
  );
  try {
    return await Promise.race([asked, noAnswer(context.clock, both)]);
  } finally {
    late.abort();
  }
}

async function noAnswer(clock: Clock, signal: AbortSignal): Promise<Seen> {
  await clock.sleep(ANSWER_MS_MAX, signal).catch(() => undefined);
  return { error: `The daemon does not answer within ${ANSWER_MS_MAX / 1000} s` };
}

function cacheDirAt(mountpoint: string, context: CliContext): string | undefined {
  const path = canonicalMountpoint(resolve(context.cwd, mountpoint));
  return findDaemon(path, registryPlace(context.env))?.cache_dir;
}
