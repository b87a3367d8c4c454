import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { LinkedAbort } from "../origins/linked_abort.ts";
import type { Cache } from "./cache.ts";
import type { HookConfig } from "./config.ts";
import { type HookCall, type HookFailure, runHookCommand } from "./hook_command.ts";
import { requestHook, shownWebUrl } from "./hook_request.ts";
import { HookSchedule } from "./hook_schedule.ts";
import type { ScanRuns } from "./scan_runs.ts";

/** What a timer takes, in ms. */
const SLEEP_MS_MAX = 2 ** 31 - 1;

/** What hooks work on. */
export interface HookParts {
  cache: { library: Pick<Cache["library"], "listen">; changes: { readonly hasTold: boolean } };
  scans: Pick<ScanRuns, "listen" | "status">;
  mountpoint: string;
  environment: Readonly<Record<string, string>>;
  clock: Clock;
  log: Log;
  /** Ends the task, and what it runs, with its reason. */
  signal: AbortSignal;
  /** Default: really. */
  run?: (hook: HookConfig, call: HookCall) => Promise<HookFailure | undefined>;
}

/**
 * Runs one hook whenever the library has changed, as {@linkcode HookSchedule} has it. Nothing that
 * serves requests waits for it, so it may use the mount. Ends with the signal's reason only.
 */
export async function keepHook(hook: HookConfig, parts: HookParts): Promise<never> {
  const { cache, scans, clock, signal } = parts;
  const isFirst = (): boolean => scans.status().last_complete_ms === null;
  const schedule = new HookSchedule({ ...hook, awaitsScan: isFirst() });
  // What readers listed, or an index that was found beside the music, while the mount was made.
  if (cache.changes.hasTold) schedule.missed(clock.monotonic());
  let wake = (): void => undefined;
  const ends = [
    cache.library.listen((events) => {
      schedule.changed(events, clock.monotonic());
      wake();
    }),
    scans.listen(({ results }) => {
      if (results) schedule.scanEnded();
      else schedule.scanBegan({ isFirst: isFirst() });
      wake();
    }),
  ];
  try {
    for (;;) {
      signal.throwIfAborted();
      const waitMs = Math.min(schedule.dueMs() - clock.monotonic(), SLEEP_MS_MAX);
      if (waitMs <= 0) {
        await runOnce(hook, { parts, schedule });
        continue;
      }
      using nap = new LinkedAbort(signal);
      wake = () => nap.abort("over");
      // Ended early by a change, or by the end: both are looked at above.
      await clock.sleep(waitMs, nap.signal).catch(() => undefined);
    }
  } finally {
    for (const end of ends) end();
  }
}

/** How a hook is called in the log: an argument or an option may be a secret. */
export function hookName(hook: HookConfig): string {
  return "url" in hook ? shownWebUrl(hook.url) : hook.command[0] ?? "";
}

async function runOnce(
  hook: HookConfig,
  { parts, schedule }: { parts: HookParts; schedule: HookSchedule },
): Promise<void> {
  const { clock, log, run = really } = parts;
  const began = clock.monotonic();
  const batch = schedule.begin(began);
  const { added, changed, moved, removed } = batch;
  const counts = { added, changed, moved, removed };
  let isDone = false;
  try {
    const failure = await run(hook, { ...parts, timeoutMs: hook.timeoutMs, batch });
    isDone = failure === undefined;
    const ms = Math.round(clock.monotonic() - began);
    if (isDone) log.info("Ran a hook", { hook: hookName(hook), ...counts, ms });
    else log.warning("A hook failed", { hook: hookName(hook), ...failure, ms });
  } finally {
    schedule.end({ isDone });
  }
}

function really(hook: HookConfig, call: HookCall): Promise<HookFailure | undefined> {
  return "url" in hook ? requestHook(hook, call) : runHookCommand(hook.command, call);
}
