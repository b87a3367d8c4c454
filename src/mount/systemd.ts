import {
  AF_UNIX,
  sendMessage,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  unixAddress,
} from "../base/descriptors.ts";
import { checked, libc } from "../base/posix.ts";

/** Descriptors the kernel takes in one message (`SCM_MAX_FD`). */
const DESCRIPTORS_MAX = 253;

/** Where to tell systemd, and what to hand it. */
export interface NotifyOptions {
  /** `$NOTIFY_SOCKET`: an absolute path, or `@` and an abstract name; undefined: nobody listens. */
  socket: string | undefined;
  /** Handed over with the message: with `FDSTORE=1` systemd keeps them beyond our death. */
  descriptors?: readonly number[];
}

/**
 * Tells systemd what `state` says: lines like `READY=1` or `STATUS=…`. Source: sd_notify(3).
 *
 * Never waits and never throws: a service manager that does not listen is no reason to stop.
 *
 * @returns whether the message was taken
 */
export function sdNotify(state: string, options: NotifyOptions): boolean {
  const { socket, descriptors = [] } = options;
  const address = socket === undefined ? undefined : unixAddress(socket);
  if (address === undefined || descriptors.length > DESCRIPTORS_MAX) return false;
  const descriptor = checked(libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (descriptor < 0) return false;
  try {
    const bytes = new TextEncoder().encode(state);
    const message = { address, bytes, descriptors, waits: true };
    return sendMessage(descriptor, message) === bytes.length;
  } finally {
    libc.close(descriptor);
  }
}
