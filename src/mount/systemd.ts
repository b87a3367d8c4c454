import { addressOf, checked, libc } from "../base/posix.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_NOSIGNAL = 0x4000;

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
    return sendWith(descriptor, { address, bytes, descriptors }) === bytes.length;
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

/**
 * One `sendmsg(2)`: `struct msghdr` (56 bytes) with an `iovec` and, for descriptors, a `cmsghdr`
 * (16 bytes) and their numbers. Source: recv(2), cmsg(3), on 64-bit Linux.
 *
 * @returns bytes sent, or `-errno`
 */
function sendWith(
  socket: number,
  message: {
    address: Uint8Array<ArrayBuffer>;
    bytes: Uint8Array<ArrayBuffer>;
    descriptors: readonly number[];
  },
): number {
  const { address, bytes, descriptors } = message;
  const vector = new Uint8Array(
    new BigUint64Array([addressOf(bytes), BigInt(bytes.length)]).buffer,
  );
  const control = new Uint8Array(16 + Math.ceil(descriptors.length / 2) * 8);
  const controlView = new DataView(control.buffer);
  controlView.setBigUint64(0, BigInt(16 + descriptors.length * 4), true);
  controlView.setInt32(8, SOL_SOCKET, true);
  controlView.setInt32(12, SCM_RIGHTS, true);
  descriptors.forEach((descriptor, at) => controlView.setInt32(16 + at * 4, descriptor, true));
  const hasControl = descriptors.length > 0;
  const header = new BigUint64Array([
    addressOf(address),
    BigInt(address.length),
    addressOf(vector),
    1n,
    hasControl ? addressOf(control) : 0n,
    hasControl ? BigInt(control.length) : 0n,
    0n,
  ]);
  const sent = checked(libc.sendmsg(socket, new Uint8Array(header.buffer), MSG_NOSIGNAL));
  // Only addresses were passed: whoever is named here is not collected before the call is done.
  const passed = [address, bytes, vector, control];
  return passed.length > 0 ? sent : 0;
}
