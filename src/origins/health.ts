/** What is known of an origin. */
export type HealthState = "unknown" | "online" | "degraded" | "offline";

/** Whether an origin is on this machine, or behind a network that we speak ourselves. */
export type OriginKind = "local" | "remote";

/** Failures in a row that take an origin offline: a network drops a packet, a disk does not. */
export const FAILURES_MAX: Readonly<Record<OriginKind, number>> = { local: 1, remote: 3 };

/** Calls whose latency counts. */
const LATENCIES_MAX = 15;

/** With fewer latencies than this an origin is not compared: the first is of a new connection. */
const LATENCIES_MIN = 3;

/** A median below this is never slow, in ms. */
const SLOW_MS_MIN = 250;

/** Slow is who takes this many times as long as another origin. */
const SLOW_FACTOR = 4;

/** A slow origin is slow no more below this share of both limits, so that it does not waver. */
const RECOVERED_SHARE = 0.6;

/** What came of one call, as far as the origin's health goes. */
export type Observation =
  /** It answered, if only that there is no such file; `latencyMs` until something came. */
  | { kind: "answered"; latencyMs: number; startedMs: number; nowMs: number }
  /** It could not be asked, or did not answer. */
  | { kind: "failed"; message: string; startedMs: number; nowMs: number }
  /** It refused us altogether: credentials, host key, certificate. An operator must act. */
  | { kind: "denied"; message: string; startedMs: number; nowMs: number };

/** The health of one origin. All times are of one monotonic clock, in ms. */
export interface Health {
  /** Before it is compared with others: see {@linkcode slowOnes}. */
  readonly state: HealthState;
  /** Failures since the last answer that were told apart. */
  readonly failures: number;
  /** When the last of them was seen. */
  readonly failedMs: number;
  /** Whether it is offline because it refused us. */
  readonly isDenied: boolean;
  readonly lastError: string | null;
  /** Latest first; of calls that lay side by side only the first to end. */
  readonly latencies: readonly number[];
  /** When the last of them was seen. */
  readonly latencySeenMs: number;
  readonly medianMs: number | null;
}

export const UNKNOWN_HEALTH: Health = {
  state: "unknown",
  failures: 0,
  failedMs: -Infinity,
  isDenied: false,
  lastError: null,
  latencies: [],
  latencySeenMs: -Infinity,
  medianMs: null,
};

/**
 * The health after an observation. One answer brings an origin back, whatever was before.
 *
 * Calls that began before the last failure was seen fail from the same cause, and count as one with
 * it: sixteen reads over one broken connection are one failure. So are their latencies one: sixteen
 * reads that waited for one new connection say no more than one of them.
 */
export function observe(health: Health, seen: Observation, kind: OriginKind): Health {
  switch (seen.kind) {
    case "answered": {
      const { medianMs, latencySeenMs } = health;
      const online: Health = { ...UNKNOWN_HEALTH, state: "online" };
      if (seen.startedMs < latencySeenMs) {
        return { ...online, latencies: health.latencies, medianMs, latencySeenMs };
      }
      const latencies = [seen.latencyMs, ...health.latencies.slice(0, LATENCIES_MAX - 1)];
      return { ...online, latencies, medianMs: median(latencies), latencySeenMs: seen.nowMs };
    }
    case "failed": {
      const isNew = seen.startedMs >= health.failedMs;
      const failures = health.failures + (isNew ? 1 : 0);
      const isOffline = health.state === "offline" || failures >= FAILURES_MAX[kind];
      const failedMs = isNew ? seen.nowMs : health.failedMs;
      const state = isOffline ? "offline" : "degraded";
      return { ...health, state, failures, failedMs, lastError: seen.message, isDenied: false };
    }
    case "denied": {
      const { message: lastError, nowMs: failedMs } = seen;
      const failures = health.failures + 1;
      return { ...health, state: "offline", failures, failedMs, lastError, isDenied: true };
    }
  }
}

/** What an origin is compared by, in ms; null as long as too little is known. */
export function comparableMs({ latencies, medianMs }: Health): number | null {
  return latencies.length < LATENCIES_MIN ? null : medianMs;
}

/**
 * Which origins are too slow to be asked first: a median of more than 250 ms, and of more than four
 * times that of another. One that was slow stays so until it is well below both.
 *
 * @param medians by name, of those origins that are not offline; null where nothing is known
 */
export function slowOnes(
  medians: ReadonlyMap<string, number | null>,
  before: ReadonlySet<string>,
): Set<string> {
  const slow = new Set<string>();
  for (const [name, ms] of medians) {
    if (ms === null) continue;
    const share = before.has(name) ? RECOVERED_SHARE : 1;
    if (ms <= SLOW_MS_MIN * share) continue;
    const isBehind = medians.entries().some(([other, otherMs]) =>
      other !== name && otherMs !== null && ms > otherMs * SLOW_FACTOR * share
    );
    if (isBehind) slow.add(name);
  }
  return slow;
}

/** The middle of the values; of an even number, the mean of the two in the middle. */
function median(values: readonly number[]): number | null {
  if (values.length === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  const high = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const low = sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
  return (low + high) / 2;
}
