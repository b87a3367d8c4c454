/**
 * Messages over Unix sockets and the descriptors that go with them, `SCM_RIGHTS`, one at most.
 * Source: unix(7), recv(2), cmsg(3), on 64-bit Linux.
 */

import { addressOf, checked, holding, libc } from "./posix.ts";

export const AF_UNIX = 1;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_SEQPACKET = 5;
export const SOCK_CLOEXEC = 0o2000000;

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
const SHUT_RDWR = 2;

const F_SETFD = 2;
const F_DUPFD_CLOEXEC = 1030;
const FD_CLOEXEC = 1n;
const LOWEST_DESCRIPTOR = 3n;

/** `struct msghdr`, and a control message with room for one descriptor: the kernel drops others. */
const MSGHDR_BYTES = 56;
const CONTROL_BYTES = 24;

/** Calls in a row that fail before a socket is taken for ended: their errno is lost on a thread. */
const FAILURES_MAX = 3;

/** What goes over a socket at once. */
export interface Message {
  bytes: Uint8Array<ArrayBuffer>;
  /** Handed over with it; the receiver's own, close-on-exec. */
  descriptor?: number | undefined;
}

/** Bytes of `sun_path`; one is kept for the NUL of a path. */
const SOCKET_NAME_BYTES_MAX = 107;

/**
 * `struct sockaddr_un` of an absolute path, or of `@` and an abstract name, cut to its length, as
 * abstract names need it; undefined for what is neither or too long.
 */
export function unixAddress(socket: string): Uint8Array<ArrayBuffer> | undefined {
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

/** Two connected sockets, both close-on-exec; or `-errno`. */
export function socketPair(type: number): [ours: number, theirs: number] | number {
  const pair = new Int32Array(2);
  const bytes = new Uint8Array(pair.buffer);
  const result = checked(libc.socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, bytes));
  const [ours = -1, theirs = -1] = pair;
  return result < 0 ? result : [ours, theirs];
}

/** Whether children inherit the descriptor. */
export function setInherited(descriptor: number, isInherited: boolean): void {
  libc.fcntl(descriptor, F_SETFD, isInherited ? 0n : FD_CLOEXEC);
}

/** Another descriptor of the same file, close-on-exec; or `-errno`. */
export function duplicate(descriptor: number): number {
  return checked(libc.fcntl(descriptor, F_DUPFD_CLOEXEC, LOWEST_DESCRIPTOR));
}

/** Ends what waits on a socket, on both sides; what is on its way can still be received. */
export function shutDown(socket: number): void {
  libc.shutdown(socket, SHUT_RDWR);
}

/**
 * One `sendmsg(2)`.
 *
 * @returns bytes sent, or `-errno`; with `waits` false `-EAGAIN` where the other side takes none now
 */
export function sendMessage(
  socket: number,
  message: {
    bytes: Uint8Array<ArrayBuffer>;
    descriptors?: readonly number[] | undefined;
    /** A `sockaddr`, for sockets that are not connected. */
    address?: Uint8Array<ArrayBuffer> | undefined;
    waits: boolean;
  },
): number {
  const { bytes, descriptors = [], address } = message;
  const vector = vectorOf(bytes);
  const control = rightsOf(descriptors);
  const hasControl = descriptors.length > 0;
  const header = new BigUint64Array([
    address ? addressOf(address) : 0n,
    BigInt(address?.length ?? 0),
    addressOf(vector),
    1n,
    hasControl ? addressOf(control) : 0n,
    hasControl ? BigInt(control.length) : 0n,
    0n,
  ]);
  const flags = MSG_NOSIGNAL | (message.waits ? 0 : MSG_DONTWAIT);
  const sent = checked(libc.sendmsg(socket, new Uint8Array(header.buffer), flags));
  // Only addresses were passed: whoever is named here is not collected before the call is done.
  const passed = [address, bytes, vector, control];
  return passed.length > 0 ? sent : 0;
}

/** Waits for a message; undefined when the other side has closed. */
export async function receiveMessage(
  socket: number,
  bytesMax: number,
): Promise<Message | undefined> {
  for (let failures = 0; failures < FAILURES_MAX; failures += 1) {
    const room = new Room(bytesMax);
    const received = await holding(
      room.buffers,
      libc.recvmsg(socket, room.header, MSG_CMSG_CLOEXEC),
    );
    if (received >= 0) return received === 0 ? undefined : room.message(received);
  }
  return undefined;
}

/** The message that is there already; undefined if there is none, or `socket` is no such socket. */
export function receiveNow(socket: number, bytesMax: number): Message | undefined {
  const flags = MSG_CMSG_CLOEXEC | MSG_DONTWAIT;
  for (let failures = 0; failures < FAILURES_MAX; failures += 1) {
    const room = new Room(bytesMax);
    const received = libc.recvmsgNow(socket, room.header, flags);
    if (received >= 0) return received === 0 ? undefined : room.message(received);
  }
  return undefined;
}

/** Where the kernel writes a message. */
class Room {
  readonly header: Uint8Array<ArrayBuffer>;
  readonly buffers: readonly Uint8Array[];
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #control = new Uint8Array(CONTROL_BYTES);

  constructor(bytesMax: number) {
    this.#bytes = new Uint8Array(bytesMax);
    const vector = vectorOf(this.#bytes);
    const header = new BigUint64Array(MSGHDR_BYTES / 8);
    header[2] = addressOf(vector);
    header[3] = 1n;
    header[4] = addressOf(this.#control);
    header[5] = BigInt(CONTROL_BYTES);
    this.header = new Uint8Array(header.buffer);
    this.buffers = [this.header, vector, this.#bytes, this.#control];
  }

  message(length: number): Message {
    const view = new DataView(this.#control.buffer);
    const hasDescriptor = view.getBigUint64(0, true) >= 20n;
    return {
      bytes: this.#bytes.slice(0, length),
      descriptor: hasDescriptor ? view.getInt32(16, true) : undefined,
    };
  }
}

/** `struct iovec`. */
function vectorOf(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new BigUint64Array([addressOf(bytes), BigInt(bytes.length)]).buffer);
}

/** `struct cmsghdr`, 16 bytes, and the descriptors' numbers. */
function rightsOf(descriptors: readonly number[]): Uint8Array<ArrayBuffer> {
  const control = new Uint8Array(16 + Math.ceil(descriptors.length / 2) * 8);
  const view = new DataView(control.buffer);
  view.setBigUint64(0, BigInt(16 + descriptors.length * 4), true);
  view.setInt32(8, SOL_SOCKET, true);
  view.setInt32(12, SCM_RIGHTS, true);
  descriptors.forEach((descriptor, at) => view.setInt32(16 + at * 4, descriptor, true));
  return control;
}
