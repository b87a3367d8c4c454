/**
 * How a file is opened beneath a folder, so that no link and no `..` on the way leads out of it:
 * `openat2(2)`. Source: the uapi headers openat2.h and unistd.h of Linux 6.1.
 */
import { O_CLOEXEC, O_NONBLOCK, O_RDONLY } from "../base/posix.ts";

/** The system call's number, on x86-64 and arm64. */
export const OPENAT2 = 437n;

/** Bytes of `struct open_how`. */
export const OPEN_HOW_BYTES = 24n;

const RESOLVE_NO_MAGICLINKS = 0x02n;
const RESOLVE_BENEATH = 0x08n;

/** `struct open_how`: flags, mode, resolve. A FIFO put in a file's place must not block the open. */
export function openHow(): Uint8Array<ArrayBuffer> {
  const flags = BigInt(O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  const how = BigUint64Array.of(flags, 0n, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
  return new Uint8Array(how.buffer);
}
