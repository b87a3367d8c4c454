/**
 * Finds out whether a musicfs mount is alive, and detaches it when its daemon is dead.
 *
 * A dead mount (`ENOTCONN`) and one whose daemon is only being replaced must not be mistaken for
 * each other: the first is in the way of the next mount, the second has readers waiting in it.
 */

import type { Clock } from "../base/clock.ts";
import { within } from "../base/concurrency.ts";
import { cString, holding, libc } from "../base/posix.ts";
import { canonicalMountpoint } from "./mountpoint.ts";
import { type MountEntry, musicfsMountAt, musicfsPaths, readMountTable } from "./mount_table.ts";
import { selfCommand } from "./self_command.ts";
import { type MountOwner, PROBE_READY } from "./statfs_probe.ts";

/**
 * - `absent`: nothing of ours is mounted there.
 * - `live`: it answers.
 * - `unanswered`: no answer in time; somebody may hold the descriptor, a successor may come.
 * - `stale`: the daemon and everybody who held the descriptor are gone.
 */
export type MountState = "absent" | "live" | "unanswered" | "stale";

/** What was found at a path, and whether it was detached. */
export interface MountReport {
  /** As it was asked for; from the mount table when all mounts were. */
  path: string;
  state: MountState;
  detached: boolean;
}

/** How long a probe may take. */
export interface ProbeLimits {
  /** From starting the child until it is ready to ask, in ms. */
  startMs: number;
  /** From then until `statfs` returned, in ms. */
  answerMs: number;
}

/** Limits when a person or a timer asks. */
export const PATIENT_LIMITS: ProbeLimits = { startMs: 5_000, answerMs: 5_000 };

/** Limits in `ExecStopPost`: every restart of the unit waits for it. */
export const SYSTEMD_LIMITS: ProbeLimits = { startMs: 2_000, answerMs: 200 };

const ECONNABORTED = 103;
const ENOTCONN = 107;

const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

/** Mounts of one path looked at, one on top of or after the other, before it is left as it is. */
const STACKED_MAX = 16;

/** How to look, and what may be done about what is found. */
export interface CheckOptions {
  clock: Clock;
  limits: ProbeLimits;
  /** Report only. */
  dryRun: boolean;
  /** Detach a mount that does not answer: systemd says that its daemon hung (`SERVICE_RESULT`). */
  detachUnanswered: boolean;
}

/** Checks every musicfs mount of this process's mount table, all at once. */
export async function checkAllMounts(options: CheckOptions): Promise<MountReport[]> {
  const paths = musicfsPaths(readMountTable());
  return (await Promise.all(paths.map((path) => checkMount(path, options)))).flat();
}

/**
 * Checks what is mounted at `path`: one report, or one more for each stale mount that lay on top.
 *
 * Detaches only what is stale, or unanswered with `detachUnanswered`, and only mounts of musicfs.
 */
export async function checkMount(path: string, options: CheckOptions): Promise<MountReport[]> {
  const canonical = canonicalMountpoint(path);
  const reports: MountReport[] = [];
  for (let depth = 0; depth < STACKED_MAX; depth += 1) {
    const state = await probeMount(canonical, options);
    if (state === "absent" && reports.length > 0) break;
    const isInTheWay = state === "stale" || (state === "unanswered" && options.detachUnanswered);
    const detached = isInTheWay && !options.dryRun && await detachMount(canonical, options.clock);
    reports.push({ path, state, detached });
    if (!detached) break;
  }
  return reports;
}

/** Whether the reports leave a mount in the way: exit code 1 of `check-mount`. */
export function leavesStale(reports: readonly MountReport[]): boolean {
  return reports.some((report) => report.state === "stale" && !report.detached);
}

/** The line that `check-mount` prints. */
export function reportLine({ path, state, detached }: MountReport): string {
  return `${path}: ${state}${detached ? " (detached)" : ""}`;
}

/**
 * Detaches stale musicfs mounts at `path`, so that a mount can be made there.
 *
 * @returns what is there now: `absent` or `live` or `unanswered`, or `stale` if it could not be
 * detached
 */
export async function clearStaleMount(
  path: string,
  options: { clock: Clock; limits?: ProbeLimits },
): Promise<MountState> {
  const reports = await checkMount(path, {
    clock: options.clock,
    limits: options.limits ?? PATIENT_LIMITS,
    dryRun: false,
    detachUnanswered: false,
  });
  const last = reports.at(-1);
  return last === undefined || last.detached ? "absent" : last.state;
}

/** Asks the musicfs mount at `path`, a canonical path, through a child process. */
export async function probeMount(
  path: string,
  options: { clock: Clock; limits: ProbeLimits },
): Promise<MountState> {
  let mount = musicfsMountAt(path);
  for (let attempt = 0; mount && attempt < STACKED_MAX; attempt += 1) {
    const errno = await statfsInChild(path, { ...options, owner: ownerOf(mount) });
    const now = musicfsMountAt(path);
    // Unmounted or mounted over in the meantime: the answer was another's.
    if (now?.id !== mount.id) {
      mount = now;
      continue;
    }
    if (errno === ENOTCONN) return "stale";
    // The daemon died under this very request: what is left of it shows at the next.
    if (errno === ECONNABORTED) continue;
    return errno === undefined ? "unanswered" : "live";
  }
  return mount ? "unanswered" : "absent";
}

/**
 * Takes a musicfs mount out of the tree; who has it open keeps it.
 *
 * @returns whether it is gone
 */
export async function detachMount(path: string, clock: Clock): Promise<boolean> {
  const before = musicfsMountAt(path);
  if (!before) return true;
  const name = cString(path);
  if (Deno.uid() === 0) await holding([name], libc.umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW));
  else await runFusermount(["-u", "-z", "--", path], clock);
  return !readMountTable().some((mount) => mount.id === before.id);
}

/** As root: the ids that FUSE lets through. Others can only ask as themselves. */
function ownerOf(mount: MountEntry): MountOwner | undefined {
  if (Deno.uid() !== 0 || mount.userId === undefined || mount.userId === 0) return undefined;
  return { uid: mount.userId, gid: mount.groupId ?? mount.userId };
}

/**
 * The errno of `statfs(path)`, 0 for success; undefined if there was no answer in time.
 *
 * A child that does not answer is told to end and left behind: while its request lies with the
 * daemon it cannot, and whoever waited for it would hang as well.
 */
export async function statfsInChild(
  path: string,
  options: { clock: Clock; limits: ProbeLimits; owner: MountOwner | undefined },
): Promise<number | undefined> {
  const { clock, limits, owner } = options;
  const [program, ...words] = selfCommand();
  const ids = owner ? [String(owner.uid), String(owner.gid)] : [];
  const child = new Deno.Command(program, {
    args: [...words, "__statfs", path, ...ids],
    cwd: "/",
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let told = "";
  const readUntil = async (isEnough: () => boolean): Promise<boolean> => {
    while (!isEnough()) {
      const { value, done } = await reader.read();
      if (done) return false;
      told += value;
    }
    return true;
  };
  const isReady = await within(readUntil(() => told.includes(PROBE_READY)), {
    ms: limits.startMs,
    clock,
  });
  const answered = isReady === true &&
    await within(readUntil(() => told.endsWith("\n")), { ms: limits.answerMs, clock });
  if (answered === true) {
    await child.status;
    return Number(told.slice(PROBE_READY.length));
  }
  leaveBehind(child);
  reader.cancel().catch(() => undefined);
  return undefined;
}

/** Tells a child to end and waits for it no longer: in a request to a dead daemon it cannot. */
export function leaveBehind(child: Deno.ChildProcess): void {
  child.unref();
  try {
    child.kill("SIGKILL");
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // It has just ended.
  }
}

/** Longest wait for `fusermount3`, in ms: it only makes a system call. */
const FUSERMOUNT_MS_MAX = 5_000;

/** Runs `fusermount3`; whether it said that it did what was asked. */
export async function runFusermount(args: readonly string[], clock: Clock): Promise<boolean> {
  try {
    const child = new Deno.Command("fusermount3", {
      args: [...args],
      cwd: "/",
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const status = await within(child.status, { ms: FUSERMOUNT_MS_MAX, clock });
    if (status === undefined) leaveBehind(child);
    return status?.success === true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
