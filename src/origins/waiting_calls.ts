/**
 * System calls on a disk that may hang, each on a thread of Deno's pool.
 *
 * What failed gives undefined, and the reason is lost with the thread; `Deno.lstat` tells it. The
 * pool has 32 threads for the whole process (measured, Deno 2.9.6) and a call on a dead NAS never
 * returns, so whoever calls these bounds how many are under way.
 */

import {
  checked,
  cString,
  holding,
  libc,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
} from "../base/posix.ts";
import { OPEN_HOW_BYTES, OPENAT2, openHow } from "./open_beneath.ts";

const waiting = Deno.dlopen("libc.so.6", {
  open: { parameters: ["buffer", "i32", "u32"], result: "i32", nonblocking: true },
  close: { parameters: ["i32"], result: "i32", nonblocking: true },
  statfs: { parameters: ["buffer", "buffer"], result: "i32", nonblocking: true },
  openat2: {
    name: "syscall",
    parameters: ["i64", "i32", "buffer", "buffer", "usize"],
    result: "i64",
    nonblocking: true,
  },
}).symbols;

/** Source: the uapi headers fcntl.h and stat.h of Linux 6.1. */
export const AT_FDCWD = -100;
export const AT_EMPTY_PATH = 0x1000;
export const STATX_BASIC = 0x7ff;
export const STATX_BYTES = 256;
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;

/** Whether the kernel can open beneath a folder; older ones and some sandboxes cannot. */
export function canOpenBeneath(): boolean {
  const path = cString(".");
  const how = openHow();
  const result = libc.openat2(OPENAT2, AT_FDCWD, path, how, OPEN_HOW_BYTES);
  const descriptor = checked(Number(result));
  if (descriptor < 0) return false;
  libc.close(descriptor);
  return true;
}

/**
 * Opens `path` for reading, beneath `root`: no link and no `..` on the way leads out of it.
 *
 * The root is opened anew each time: a descriptor that is kept would show what lay there before a
 * NAS was mounted, and keep one from being unmounted.
 */
export async function openBeneath(root: string, path: string): Promise<number | undefined> {
  const rootName = cString(root);
  const folder = await holding(
    [rootName],
    waiting.open(rootName, O_PATH | O_DIRECTORY | O_CLOEXEC, 0),
  );
  if (folder < 0) return undefined;
  try {
    return await openWith(openHow(), path, folder);
  } finally {
    await waiting.close(folder);
  }
}

/** `openat2(2)` with `how`, a `struct open_how`; a relative path starts at `folder`. */
export async function openWith(
  how: Uint8Array<ArrayBuffer>,
  path: string,
  folder: number = AT_FDCWD,
): Promise<number | undefined> {
  const name = cString(path);
  const call = waiting.openat2(OPENAT2, folder, name, how, OPEN_HOW_BYTES);
  const descriptor = Number(await holding([name, how], call));
  return descriptor < 0 ? undefined : descriptor;
}

/** Opens a path for reading, wherever its links lead. */
export async function openPath(
  path: string,
  { isFolder = false }: { isFolder?: boolean } = {},
): Promise<number | undefined> {
  const name = cString(path);
  const flags = O_RDONLY | O_CLOEXEC | (isFolder ? O_DIRECTORY : O_NONBLOCK);
  const descriptor = await holding([name], waiting.open(name, flags, 0));
  return descriptor < 0 ? undefined : descriptor;
}

export async function closeDescriptor(descriptor: number): Promise<void> {
  await waiting.close(descriptor);
}

/** Size and time of an open regular file; undefined for everything else. */
export async function sizeAndTime(
  descriptor: number,
): Promise<{ size: number; mtimeNs: bigint } | undefined> {
  const buffer = new Uint8Array(STATX_BYTES);
  const flags = AT_EMPTY_PATH;
  const name = cString("");
  const result = await holding(
    [name, buffer],
    libc.statxWaiting(descriptor, name, flags, STATX_BASIC, buffer),
  );
  const view = new DataView(buffer.buffer);
  if (result !== 0 || (view.getUint16(28, true) & S_IFMT) !== S_IFREG) return undefined;
  return {
    size: Number(view.getBigUint64(40, true)),
    mtimeNs: view.getBigInt64(112, true) * 1_000_000_000n + BigInt(view.getUint32(120, true)),
  };
}

/**
 * Fills `into` from `offset` on, or until the file ends.
 *
 * @returns bytes read, or undefined if the disk refused
 */
export async function preadWaitingFully(
  descriptor: number,
  into: Uint8Array<ArrayBuffer>,
  offset: number,
): Promise<number | undefined> {
  let done = 0;
  while (done < into.length) {
    const rest = done === 0 ? into : into.subarray(done);
    const at = BigInt(offset + done);
    const n = await holding(
      [rest],
      libc.preadWaiting(descriptor, rest, BigInt(rest.length), at),
    );
    if (n < 0) return undefined;
    if (n === 0) break;
    done += n;
  }
  return done;
}

/** The magic number of the filesystem that holds a path, as in linux/magic.h. */
export async function filesystemType(path: string): Promise<number | undefined> {
  const buffer = new Uint8Array(120);
  const name = cString(path);
  const result = await holding([name, buffer], waiting.statfs(name, buffer));
  if (result !== 0) return undefined;
  return Number(new DataView(buffer.buffer).getBigInt64(0, true) & 0xffffffffn);
}
