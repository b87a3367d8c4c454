/** Waits between rounds over all sources, in ms; the last one repeats. */
const WAITS_MS = [100, 500, 2_000] as const;

/** Waits vary by up to this share in both directions, so that readers do not retry in step. */
const JITTER = 0.25;

/**
 * How long to wait after round `round` (from 0) failed, in ms.
 *
 * @param chance in [0, 1)
 */
export function retryWaitMs(round: number, chance: number): number {
  const wait = WAITS_MS[Math.min(round, WAITS_MS.length - 1)] ?? 2_000;
  return wait * (1 - JITTER + 2 * JITTER * chance);
}
