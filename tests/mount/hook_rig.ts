import { systemClock } from "../../src/base/clock.ts";
import type { EntryEvent } from "../../src/library/library.ts";
import { GatheredChanges } from "../../src/mount/hook_changes.ts";
import type { HookCall } from "../../src/mount/hook_command.ts";

/** A call of a hook that is told of these events; never ended from outside unless `some` says so. */
export function hookCall(
  events: readonly EntryEvent[],
  some: Partial<HookCall> = {},
): HookCall {
  const changes = new GatheredChanges();
  changes.add(events);
  return {
    batch: changes.batch(),
    mountpoint: "/mnt/music",
    timeoutMs: 30_000,
    environment: { PATH: "/usr/bin:/bin" },
    clock: systemClock,
    signal: new AbortController().signal,
    ...some,
  };
}
