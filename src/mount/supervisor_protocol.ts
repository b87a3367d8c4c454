/**
 * What a daemon and its supervising parent tell each other: JSON, one object a message, over a
 * socket pair of `SOCK_SEQPACKET`.
 *
 * Either may be of a newer version than the other, for the executable may be replaced between two
 * daemons: what is not known is passed over, and what is known never changes its meaning.
 */

import { type Message, receiveMessage, receiveNow, sendMessage } from "../base/descriptors.ts";

/** Names, in a daemon's environment, the descriptor of its socket to the parent. */
export const SUPERVISOR_VARIABLE = "MUSICFS_SUPERVISOR";

/** The hidden command of a parent that a daemon starts in the place of one that was killed. */
export const SUPERVISE_COMMAND = "__supervise";

/** Longest message, in bytes: a path of 4 KiB with every byte of it escaped. */
const MESSAGE_BYTES_MAX = 32 * 1024;

/** How the daemon before this one ended. */
export interface Predecessor {
  pid: number;
  /** Exit code; 128 + n if signal n ended it; null if nobody knows. */
  code: number | null;
}

/** Parent to daemon: the first message, and the only one. With the descriptor of a mount, if any. */
export interface Greeting {
  type: "begin";
  /** null for the first daemon. */
  predecessor: Predecessor | null;
}

/**
 * Daemon to parent.
 *
 * - `hold`: keep the descriptor that comes with it; it is that of the mount at `mountpoint`.
 * - `release`: close it.
 * - `ready`: from now on a death is answered with a successor.
 * - `stopping`: the end that comes is meant.
 */
export type Report =
  | { type: "hold"; mountpoint: string }
  | { type: "release" | "ready" | "stopping" };

/** A message, and the descriptor that came with it, which is the receiver's own. */
export interface Received {
  report: Partial<Record<string, unknown>>;
  descriptor: number | undefined;
}

/**
 * Sends without waiting.
 *
 * @returns bytes sent, or `-errno`
 */
export function tell(
  socket: number,
  message: Greeting | Report,
  descriptor?: number,
): number {
  return sendMessage(socket, {
    bytes: new TextEncoder().encode(JSON.stringify(message)),
    descriptors: descriptor === undefined ? [] : [descriptor],
    waits: false,
  });
}

/** Waits for the next message; undefined once the other side has ended. */
export async function hear(socket: number): Promise<Received | undefined> {
  const message = await receiveMessage(socket, MESSAGE_BYTES_MAX);
  return message && decoded(message);
}

/** The message that is there already; undefined without one. */
export function heard(socket: number): Received | undefined {
  const message = receiveNow(socket, MESSAGE_BYTES_MAX);
  return message && decoded(message);
}

function decoded({ bytes, descriptor }: Message): Received {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return { report: typeof value === "object" && value !== null ? { ...value } : {}, descriptor };
  } catch (error) {
    if (error instanceof SyntaxError) return { report: {}, descriptor };
    throw error;
  }
}
