import type { Clock } from "../base/clock.ts";
import type { Cache } from "./cache.ts";
import type { TaskStatus } from "./cache_commands.ts";

/** How often it is looked at whether there is something new to tell, in ms. */
const LOOK_MS = 5_000;

/** What systemd's `STATUS=` tells of. */
export interface StatusFacts {
  mountpoint: string;
  /** Names of origins that do not answer. */
  offline: readonly string[];
  /** Names of tasks that failed too often. */
  givenUp: readonly string[];
  /** Whether the cache's disk refuses writes. */
  isDegraded: boolean;
}

/** What `systemctl status` shows of a daemon: one line, and only what is not well is named. */
export function statusLine({ mountpoint, offline, givenUp, isDegraded }: StatusFacts): string {
  const parts = [`Mounted at ${mountpoint}`];
  if (offline.length > 0) parts.push(`offline: ${offline.join(", ")}`);
  if (isDegraded) parts.push("the cache disk takes no writes");
  if (givenUp.length > 0) parts.push(`given up: ${givenUp.join(", ")}`);
  // deno-lint-ignore no-control-regex -- A line break would begin another message to systemd.
  return parts.join("; ").replaceAll(/[\x00-\x1f]/g, "?");
}

/** Tells systemd the status whenever it has changed, until it is told to stop. */
export async function keepStatus(options: {
  cache: Pick<Cache, "config" | "health" | "disk">;
  tasks: readonly TaskStatus[];
  mountpoint: string;
  tell: (line: string) => void;
  clock: Clock;
  signal: AbortSignal;
}): Promise<void> {
  const { cache, tasks, mountpoint, tell, clock, signal } = options;
  const { config, health, disk } = cache;
  const line = (): string =>
    statusLine({
      mountpoint,
      offline: config.origins.map(({ name }) => name).filter((name) => !health.isUp(name)),
      givenUp: tasks.filter(({ state }) => state === "failed").map(({ name }) => name),
      isDegraded: !disk.writable,
    });
  let told = statusLine({ mountpoint, offline: [], givenUp: [], isDegraded: false });
  const look = (): void => {
    const now = line();
    if (now === told) return;
    tell(now);
    told = now;
  };
  const stop = health.onChange(look);
  try {
    for (;;) {
      look();
      await clock.sleep(LOOK_MS, signal);
    }
  } finally {
    stop();
  }
}
