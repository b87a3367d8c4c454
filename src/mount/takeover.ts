/**
 * Taking over the mount of a daemon that died, or that left for us: its `/dev/fuse` descriptor was
 * kept by somebody else meanwhile, and its readers are still waiting for their answers.
 */

import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { libc } from "../base/posix.ts";
import { detachMount } from "./check_mount.ts";
import { musicfsMountAt } from "./mount_table.ts";
import { keepSession, readSession, type SessionRecord } from "./session_file.ts";

/** A daemon that served for so long did not die of the mount it took over, in ms. */
export const SETTLED_MS = 2_000;

/** After so many that died sooner, one after another, the mount is given up. */
export const QUICK_DEATHS_MAX = 5;

/** How long what a predecessor locked is waited for, in ms: it ends, with all its threads. */
const LOCKED_MS_MAX = 20_000;
const LOCKED_RETRY_MS = 10;

const POLLIN = 1;
const POLLERR = 8;

/** A mount that can be gone on with. */
export interface Heritage {
  descriptor: number;
  session: SessionRecord;
}

/** What became of the mount whose descriptor was kept. */
export type Legacy =
  | { kind: "alive"; heritage: Heritage }
  /** Somebody unmounted it while no daemon was there. */
  | { kind: "unmounted" }
  /** Too many daemons died of it. */
  | { kind: "hopeless"; deaths: number }
  /** It cannot be gone on with; why. */
  | { kind: "lost"; why: string };

/** Looks at a descriptor that was kept. The mount is left as it is. */
export async function inspectLegacy(
  descriptor: number,
  { mountpoint, cacheDir }: { mountpoint: string; cacheDir: string },
): Promise<Legacy> {
  if (isOver(descriptor)) {
    return musicfsMountAt(mountpoint)
      ? { kind: "lost", why: "the kernel ended it" }
      : { kind: "unmounted" };
  }
  const session = await readSession(cacheDir);
  if (!session) return { kind: "lost", why: "what was agreed on for it is not known" };
  if (session.mountpoint !== mountpoint) {
    return { kind: "lost", why: `it was made at ${session.mountpoint}` };
  }
  if (!session.agreed.resend) return { kind: "lost", why: "the kernel is older than 6.9" };
  if (session.quickDeaths >= QUICK_DEATHS_MAX) {
    return { kind: "hopeless", deaths: session.quickDeaths };
  }
  return { kind: "alive", heritage: { descriptor, session } };
}

/** Whether the connection behind a `/dev/fuse` descriptor has ended. */
function isOver(descriptor: number): boolean {
  const poll = new Uint8Array(8);
  const view = new DataView(poll.buffer);
  view.setInt32(0, descriptor, true);
  view.setInt16(4, POLLIN, true);
  return libc.poll(poll, 1n, 0) > 0 && (view.getInt16(6, true) & POLLERR) !== 0;
}

/** Takes a mount away that nobody can go on with; its readers get errors. */
export async function abandon(
  descriptor: number,
  { mountpoint, clock }: { mountpoint: string; clock: Clock },
): Promise<void> {
  // First: while the descriptor is open, whoever touches the mount waits for an answer.
  libc.close(descriptor);
  if (musicfsMountAt(mountpoint)) await detachMount(mountpoint, clock);
}

/**
 * Counts the deaths of successors in the session's record: one before each tries, none after it has
 * served for `SETTLED_MS`.
 */
export class DeathCount {
  constructor(readonly options: { cacheDir: string; clock: Clock; log: Log }) {}

  /** Counts this attempt as a death, until `settle` or `forgive` takes it back. */
  async begin(session: SessionRecord): Promise<SessionRecord> {
    const { takeovers, quickDeaths } = session;
    const next = { ...session, takeovers: takeovers + 1, quickDeaths: quickDeaths + 1 };
    await keepSession(next, this.options);
    return next;
  }

  /** Takes the count back once this daemon has served for long enough; ends early with `signal`. */
  async settle(session: SessionRecord, signal: AbortSignal): Promise<void> {
    await this.options.clock.sleep(SETTLED_MS, signal);
    await this.forgive(session);
  }

  /** Takes the count back: this end is meant. */
  async forgive(session: SessionRecord): Promise<void> {
    await keepSession({ ...session, quickDeaths: 0 }, this.options);
  }
}

/**
 * Does what needs something that the predecessor has locked: its lock goes with the last of its
 * threads, a moment after others were told of its end.
 */
export async function onceUnlocked<T>(take: () => T, clock: Clock): Promise<T> {
  const until = clock.monotonic() + LOCKED_MS_MAX;
  for (;;) {
    try {
      return take();
    } catch (error) {
      if (!(error instanceof MusicfsError) || error.code !== "unavailable") throw error;
      if (clock.monotonic() >= until) throw error;
    }
    await clock.sleep(LOCKED_RETRY_MS);
  }
}
