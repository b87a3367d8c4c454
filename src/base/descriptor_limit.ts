/** How many descriptors this process may have, and has. */
import { libc } from "./posix.ts";

const RLIMIT_NOFILE = 7;

/** Most that is asked for, whatever the hard limit: as many as systemd gives to its own services. */
const WANTED_MAX = 524_288n;

/** What a kernel starts programs with when nobody says otherwise. */
const USUAL = 1024n;

/**
 * Parts of the limit that may be in use for one thing. Nearly half is left for the rest: Deno and the
 * index take 45, origins' connections up to 40. It must never come to the last one: Deno 2.9.6 panics
 * where it loads a module then (`stacker` cannot read /proc/self/maps).
 */
const SHARES = {
  /** Chunk files that were read lately. */
  chunks: 1 / 5,
  /** Files of local disks that readers have open. */
  direct: 1 / 4,
  /** Files that a local origin keeps open. */
  origin: 1 / 16,
  /** Clients of the control socket. */
  control: 1 / 16,
} as const;

/** How many descriptors may be in use for one thing; at least one. */
export function descriptorsFor(use: keyof typeof SHARES): number {
  return Math.max(1, Math.floor(descriptorLimit() * SHARES[use]));
}

/** Descriptors that this process may have at once. */
export function descriptorLimit(): number {
  return Number(limits()[0]);
}

/**
 * Raises the soft limit, which is low for the sake of programs that use `select(2)`, as far as it
 * goes. The executable needs it; `deno run` does it by itself.
 *
 * @returns the limit that holds now
 */
export function raiseDescriptorLimit(): number {
  const [soft, hard] = limits();
  const wanted = hard < WANTED_MAX ? hard : WANTED_MAX;
  if (wanted <= soft) return Number(soft);
  const raised = new BigUint64Array([wanted, hard]);
  const failed = libc.setrlimit(RLIMIT_NOFILE, new Uint8Array(raised.buffer)) !== 0;
  return Number(failed ? soft : wanted);
}

/** Descriptors that this process could have after {@linkcode raiseDescriptorLimit}. */
export function descriptorLimitMax(): number {
  const [, hard] = limits();
  return Number(hard < WANTED_MAX ? hard : WANTED_MAX);
}

/** Descriptors that are open; 1 ms for 10,000. */
export async function countDescriptors(): Promise<number> {
  let count = -1; // The folder itself is open meanwhile.
  for await (const _ of Deno.readDir("/proc/self/fd")) count += 1;
  return count;
}

/** Soft and hard limit. */
function limits(): [bigint, bigint] {
  const both = new BigUint64Array(2);
  if (libc.getrlimit(RLIMIT_NOFILE, new Uint8Array(both.buffer)) !== 0) return [USUAL, USUAL];
  return [both[0] ?? USUAL, both[1] ?? USUAL];
}
