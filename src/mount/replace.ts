/**
 * `musicfs mount --replace`: the descriptor of a live mount goes from the daemon that serves it to
 * another one, in two steps. The old daemon serves on until the new one has it in safe hands and
 * says so; whoever dies before that changes nothing.
 */

import * as v from "valibot";
import { dirname } from "node:path";
import {
  AF_UNIX,
  receiveNow,
  sendMessage,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  unixAddress,
} from "../base/descriptors.ts";
import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import { checked, libc } from "../base/posix.ts";
import { callDaemon, DaemonEndedError, NoDaemonError } from "./control_client.ts";
import type { ControlHandler } from "./control.ts";
import { CONTROL_SOCKET, withSocketName } from "./control_protocol.ts";
import { type DaemonInfo, findDaemon, type RegistryPlace } from "./registry.ts";

/** Control commands of the old daemon: send the descriptor; end without unmounting. */
const HANDOVER = "handover";
const LEAVE = "leave";

/** Longest wait for each of its answers, in ms. */
const ANSWER_MS_MAX = 10_000;

/** Times that a daemon which dies meanwhile is looked for again, as its successor. */
const ATTEMPTS_MAX = 3;

/** How long a dead daemon's successor is waited for, in ms. */
const SUCCESSOR_MS_MAX = 5_000;
const SUCCESSOR_POLL_MS = 20;

const MESSAGE_BYTES_MAX = 64;

const HandoverSchema = v.strictObject({ socket: v.string() });

/** What the new side works with. */
export interface ReplaceOptions {
  /** As the kernel's mount table has it. */
  mountpoint: string;
  cacheDir: string;
  place: RegistryPlace;
  clock: Clock;
  /** Has the descriptor kept before the old daemon lets go of it. */
  keep: (descriptor: number) => void;
}

/**
 * Takes the mount over from the daemon that serves it, and has that one leave.
 *
 * Throws `MusicfsError` if it has another cache or does not hand over; it serves on then.
 *
 * @returns the descriptor, close-on-exec, or undefined if no daemon lives there
 */
export async function takeFromLive(options: ReplaceOptions): Promise<number | undefined> {
  let daemon = findDaemon(options.mountpoint, options.place);
  for (let attempt = 0; daemon !== undefined && attempt < ATTEMPTS_MAX; attempt += 1) {
    await requireSameCache(daemon, options.cacheDir);
    const { descriptor, hasLeft } = await takeFrom(daemon, options);
    if (hasLeft) return descriptor;
    const successor = await successorOf(daemon, options);
    if (successor === undefined) return descriptor;
    if (descriptor !== undefined) libc.close(descriptor);
    daemon = successor;
  }
  return undefined;
}

/** @returns no descriptor, or one without its having left, if the daemon died meanwhile */
async function takeFrom(
  daemon: DaemonInfo,
  { cacheDir, clock, keep }: ReplaceOptions,
): Promise<{ descriptor: number | undefined; hasLeft: boolean }> {
  let descriptor: number | undefined;
  try {
    descriptor = await receiveFrom(daemon, { cacheDir, clock });
    keep(descriptor);
    await call(daemon, LEAVE, { clock });
    return { descriptor, hasLeft: true };
  } catch (error) {
    if (error instanceof NoDaemonError || error instanceof DaemonEndedError) {
      return { descriptor, hasLeft: false };
    }
    if (descriptor !== undefined) libc.close(descriptor);
    throw error;
  }
}

/** The descriptor that the daemon sends to a socket of ours, which nobody else can write to. */
async function receiveFrom(
  daemon: DaemonInfo,
  { cacheDir, clock }: { cacheDir: string; clock: Clock },
): Promise<number> {
  const path = `${cacheDir}/handover-${Deno.pid}.sock`;
  const socket = await bindPrivately(path);
  try {
    await call(daemon, HANDOVER, { clock, args: { socket: path } });
    const descriptor = receiveNow(socket, MESSAGE_BYTES_MAX)?.descriptor;
    if (descriptor !== undefined) return descriptor;
    throw cannotReplace(daemon.mountpoint, `daemon ${daemon.pid} sent no descriptor`);
  } finally {
    libc.close(socket);
    await Deno.remove(path).catch(() => undefined);
  }
}

/** Throws with what to do about it if the daemon is of a version that does not hand over. */
async function call(
  daemon: DaemonInfo,
  command: string,
  { clock, args }: { clock: Clock; args?: unknown },
): Promise<void> {
  const late = new AbortController();
  const timer = new AbortController();
  const reason = cannotReplace(daemon.mountpoint, `daemon ${daemon.pid} does not answer`);
  clock.sleep(ANSWER_MS_MAX, timer.signal).then(() => late.abort(reason), () => undefined);
  try {
    const path = `${daemon.cache_dir}/${CONTROL_SOCKET}`;
    await callDaemon(path, command, { args: args ?? {}, signal: late.signal });
  } catch (error) {
    if (!(error instanceof MusicfsError) || error.code !== "invalid") throw error;
    throw cannotReplace(
      daemon.mountpoint,
      `daemon ${daemon.pid} is of a version that cannot hand its mount over; ` +
        `run "musicfs unmount ${daemon.mountpoint}" first`,
      error,
    );
  } finally {
    timer.abort();
  }
}

/** The daemon that took the place of one that died, once it is there. */
async function successorOf(
  { pid }: DaemonInfo,
  { mountpoint, place, clock }: ReplaceOptions,
): Promise<DaemonInfo | undefined> {
  const until = clock.monotonic() + SUCCESSOR_MS_MAX;
  while (clock.monotonic() < until) {
    const found = findDaemon(mountpoint, place);
    if (found && found.pid !== pid) return found;
    await clock.sleep(SUCCESSOR_POLL_MS);
  }
  return undefined;
}

async function requireSameCache(daemon: DaemonInfo, cacheDir: string): Promise<void> {
  const [theirs, ours] = await Promise.all([realPath(daemon.cache_dir), realPath(cacheDir)]);
  if (theirs === ours) return;
  throw cannotReplace(
    daemon.mountpoint,
    `daemon ${daemon.pid} has its cache in ${theirs}, not in ${ours}; name it with --cache-dir`,
  );
}

async function realPath(path: string): Promise<string> {
  try {
    return await Deno.realPath(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return path;
    throw error;
  }
}

/** A socket of datagrams at `path`, which nobody else can open. */
async function bindPrivately(path: string): Promise<number> {
  await Deno.remove(path).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
  const socket = checked(libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const bound = socket < 0 ? socket : await withSocketName(path, (name) => {
    const address = unixAddress(name);
    const before = Deno.umask(0o177);
    try {
      return address ? checked(libc.bind(socket, address, address.length)) : -1;
    } finally {
      Deno.umask(before);
    }
  });
  if (bound >= 0) return socket;
  if (socket >= 0) libc.close(socket);
  throw cannotReplace(dirname(path), `no socket can be made at ${path}, errno ${-bound}`);
}

/** Sends a descriptor to the socket at `path`; whether it was taken. */
export async function handOver(descriptor: number, path: string): Promise<boolean> {
  const socket = checked(libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (socket < 0) return false;
  try {
    const bytes = new TextEncoder().encode("mount");
    return await withSocketName(path, (name) => {
      const address = unixAddress(name);
      const descriptors = [descriptor];
      return address !== undefined &&
        sendMessage(socket, { bytes, address, descriptors, waits: false }) === bytes.length;
    });
  } finally {
    libc.close(socket);
  }
}

/** What a daemon offers whoever comes to replace it: control commands. */
export function handoverCommands(mount: {
  /** Of `/dev/fuse`. */
  descriptor: number;
  /** Whether the kernel asks a successor again for what was not answered. */
  canResend: boolean;
  /** Ends the daemon without unmounting; nobody is to start another in its place. */
  leave: () => void;
}): Record<typeof HANDOVER | typeof LEAVE, ControlHandler> {
  let isOffered = false;
  return {
    handover: async (args) => {
      const parsed = v.safeParse(HandoverSchema, args);
      if (!parsed.success) throw refusal("the request is of another version");
      if (!mount.canResend) {
        throw refusal('the kernel is older than 6.9; run "musicfs unmount" first');
      }
      isOffered = await handOver(mount.descriptor, parsed.output.socket);
      if (!isOffered) throw refusal(`${parsed.output.socket} took nothing`);
      return {};
    },
    leave: () => {
      if (!isOffered) throw refusal("nobody has it yet");
      mount.leave();
      return Promise.resolve({});
    },
  };
}

function refusal(why: string): MusicfsError {
  return new MusicfsError("unavailable", `Cannot hand the mount over: ${why}`, {
    op: "replace.handover",
    subject: CONTROL_SOCKET,
  });
}

function cannotReplace(mountpoint: string, why: string, cause?: unknown): MusicfsError {
  return new MusicfsError("unavailable", `Cannot replace the daemon at ${mountpoint}: ${why}`, {
    op: "replace.take",
    subject: mountpoint,
    cause,
  });
}
