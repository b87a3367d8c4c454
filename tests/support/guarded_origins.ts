import type { Clock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { type GuardedOrigin, guardOrigin } from "../../src/origins/guarded.ts";
import { HealthMonitor } from "../../src/origins/health_monitor.ts";
import type { Origin } from "../../src/origins/origin.ts";

/** Origins guarded as local ones, and what watches them: the part of a fetcher's options. */
export function guardedOrigins(
  origins: readonly Origin[],
  clock: Clock,
): { origins: ReadonlyMap<string, GuardedOrigin>; health: HealthMonitor } {
  const health = new HealthMonitor({ clock, log: silentLog, random: () => 0.5 });
  const guarded = origins.map((origin) => guardOrigin(origin, { kind: "local", clock, health }));
  return { origins: new Map(guarded.map((origin) => [origin.name, origin])), health };
}
