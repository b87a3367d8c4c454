import { AF_UNIX, sendMessage, SOCK_CLOEXEC, SOCK_DGRAM } from "../base/descriptors.ts";
import { checked, libc } from "../base/posix.ts";

/** Bytes of `sun_path`; one is kept for the NUL of a path. Source: unix(7). */
const SOCKET_NAME_BYTES_MAX = 107;

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
  const address = socket === undefined ? undefined : socketAddress(socket);
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

/** `struct sockaddr_un`, cut to the name's length, as abstract names need it. */
function socketAddress(socket: string): Uint8Array<ArrayBuffer> | undefined {
  const isAbstract = socket.startsWith("@");
  if (!isAbstract && !socket.startsWith("/")) return undefined;
  const name = new TextEncoder().encode(socket);
  if (name.length > SOCKET_NAME_BYTES_MAX) return undefined;
  const address = new Uint8Array(2 + name.length + (isAbstract ? 0 : 1));
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(name, 2);
  if (isAbstract) address[2] = 0;
  return address;
}
