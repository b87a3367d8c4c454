/**
 * `musicfs doctor`: looks at what a mount needs, and says what to do about what is missing.
 *
 * What a fact means is decided by pure functions in `doctor_*.ts`, which are given the fact; only
 * `doctor_checks.ts` looks at the machine.
 */

import type { Clock } from "../base/clock.ts";
import { within } from "../base/concurrency.ts";

/** Longest that a check may take, unless it names its own limit, in ms. */
const CHECK_MS_MAX = 5_000;

/** What a check found. */
export interface Finding {
  /** `warning`: it works, and could work better or is about to fail; `skipped`: not of concern. */
  state: "ok" | "warning" | "failed" | "skipped";
  /** What was found, on one line; no secret may be in it. */
  found: string;
  /** A command or a setting; null if there is nothing to do. */
  remedy: string | null;
}

/** One thing to look at. */
export interface Check {
  name: string;
  /** Ms after which it is left behind. */
  limitMs?: number;
  /** What to say then; default: that it gave no answer. */
  late?: Finding;
  /** What it throws is taken for a failure, with the error's message. */
  look(signal: AbortSignal): Promise<Finding> | Finding;
}

/** A check's name and what it found. */
export interface CheckResult extends Finding {
  name: string;
}

export function ok(found: string): Finding {
  return { state: "ok", found, remedy: null };
}

export function warning(found: string, remedy: string): Finding {
  return { state: "warning", found, remedy };
}

export function failed(found: string, remedy: string): Finding {
  return { state: "failed", found, remedy };
}

export function skipped(found: string): Finding {
  return { state: "skipped", found, remedy: null };
}

/**
 * Runs all checks side by side, each within its limit; the results in the order of the checks.
 *
 * It never hangs: what takes longer is told to end, and left behind.
 */
export async function examine(
  checks: readonly Check[],
  { clock }: { clock: Clock },
): Promise<CheckResult[]> {
  return await Promise.all(checks.map(async (check) => {
    const stop = new AbortController();
    const ms = check.limitMs ?? CHECK_MS_MAX;
    const finding = await within(lookOf(check, stop.signal), { ms, clock });
    stop.abort(new DOMException("The check has taken too long", "AbortError"));
    return { name: check.name, ...finding ?? check.late ?? noAnswer(ms) };
  }));
}

async function lookOf({ look }: Check, signal: AbortSignal): Promise<Finding> {
  try {
    return await look(signal);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return failed(message, "see what the message says; if it is a bug, report it");
  }
}

function noAnswer(ms: number): Finding {
  return failed(`no answer within ${ms / 1000} s`, "see what hangs: disks, network, processes");
}
