/** What a supervising parent does when its daemon has ended; values in, values out. */

import { GIVEN_UP } from "./exit_codes.ts";

/** A daemon that served for so long did not die of the mount that it took over, in ms. */
export const SETTLED_MS = 2_000;

/**
 * Successors in a row that ended sooner, after which the parent itself gives the mount up. One more
 * than a daemon counts to on the disk: the one that is to see that count must have had its turn.
 */
export const FAILURES_MAX = 6;

/** How a daemon ended. */
export interface End {
  /** Exit code; 128 + n if signal n ended it; null if nobody knows: it was not our child. */
  code: number | null;
  /** Whether a signal ended it, or nobody knows. */
  isDeath: boolean;
  /** Whether it was started in the place of another. */
  isSuccessor: boolean;
  /** How long it answered, in ms; undefined if it never said that it did. */
  servedMs: number | undefined;
  /** Whether it said that this end was meant. */
  isMeant: boolean;
}

/** What the parent knows beside that. */
export interface Standing {
  /** Whether any daemon ever said that it answered. */
  everReady: boolean;
  /** Whether the descriptor of a mount is held. */
  isHolding: boolean;
  /** Whether somebody told the parent to end: SIGTERM or SIGINT. */
  isStopAsked: boolean;
  /** Successors in a row, without this one, that ended before they had settled. */
  failures: number;
}

/** What follows; `detaches`: what may be left of the mount is taken away first. */
export type Verdict =
  | { then: "start"; failures: number }
  | { then: "giveUp" }
  | { then: "exit"; code: number; detaches: boolean };

/** Decides what follows the end of a daemon. */
export function judge(end: End, standing: Standing): Verdict {
  const { everReady, isHolding, isStopAsked } = standing;
  const code = end.code ?? 0;
  if (end.isMeant) return { then: "exit", code, detaches: end.isDeath || code !== 0 };
  if (code === GIVEN_UP) return { then: "exit", code, detaches: isHolding };
  if (isStopAsked) return { then: "exit", code: everReady ? 0 : code, detaches: true };
  // There was nothing to take over any more, and it said so.
  if (code === 0 && !end.isDeath && end.servedMs === undefined) {
    return { then: "exit", code, detaches: isHolding };
  }
  if (!everReady && !(isHolding && end.isDeath)) return { then: "exit", code, detaches: isHolding };
  const hasSettled = (end.servedMs ?? 0) >= SETTLED_MS;
  const failures = hasSettled || !end.isSuccessor ? 0 : standing.failures + 1;
  return failures >= FAILURES_MAX ? { then: "giveUp" } : { then: "start", failures };
}
