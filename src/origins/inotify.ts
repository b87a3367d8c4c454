/**
 * The kernel's notifications of changes in folders, over FFI.
 *
 * `Deno.watchFs` would do more than is wanted and less than is needed: it tells of every open and
 * read, loses events when nobody takes them (Deno 2.6 without saying so), walks the tree by itself,
 * and needs a worker of 14 MiB to keep up (docs/decisions/0014-own-inotify.md).
 */

import { checked, cString, holding } from "../base/posix.ts";

const symbols = Deno.dlopen("libc.so.6", {
  inotify_init1: { parameters: ["i32"], result: "i32" },
  inotify_add_watch: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  addWaiting: {
    name: "inotify_add_watch",
    parameters: ["i32", "buffer", "u32"],
    result: "i32",
    nonblocking: true,
  },
  inotify_rm_watch: { parameters: ["i32", "i32"], result: "i32" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32", nonblocking: true },
  read: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
}).symbols;

/** Source: include/uapi/linux/inotify.h, Linux 6.1; the flags of the calls are those of `open`. */
export const IN_MODIFY = 0x2;
export const IN_ATTRIB = 0x4;
export const IN_CLOSE_WRITE = 0x8;
export const IN_MOVED_FROM = 0x40;
export const IN_MOVED_TO = 0x80;
export const IN_CREATE = 0x100;
export const IN_DELETE = 0x200;
export const IN_MOVE_SELF = 0x800;
export const IN_UNMOUNT = 0x2000;
export const IN_Q_OVERFLOW = 0x4000;
export const IN_IGNORED = 0x8000;
export const IN_ISDIR = 0x40000000;
const IN_ONLYDIR = 0x01000000;
const IN_DONT_FOLLOW = 0x02000000;
/** Nothing is told of files that have no name any more. */
const IN_EXCL_UNLINK = 0x04000000;

/** What a folder is watched for. Who only reads in it is of no interest, ourselves above all. */
const WATCHED = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE |
  IN_DELETE | IN_MOVE_SELF | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK;

const NONBLOCK = 0o4000;
const CLOEXEC = 0o2000000;
const POLLIN = 1;

export const ENOSPC = 28;
const EBADF = 9;

/** Bytes taken at once: 1,000 events and more. */
const READ_BYTES = 64 * 1024;

/** `struct inotify_event` without its name, in host byte order. */
const HEADER_BYTES = 16;

/** One event. */
export interface InotifyEvent {
  /** The watch that it is of; -1 for an overflow. */
  watch: number;
  mask: number;
  /** Within the watched folder; "" if it is about that itself. */
  name: string;
}

/** Reads what a read of an inotify descriptor filled. The rest of a torn event is left out. */
export function* decodeEvents(bytes: Uint8Array): Iterable<InotifyEvent> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at + HEADER_BYTES <= bytes.length;) {
    const length = view.getUint32(at + 12, true);
    const end = at + HEADER_BYTES + length;
    if (end > bytes.length) return;
    const padded = bytes.subarray(at + HEADER_BYTES, end);
    const nameBytes = padded.indexOf(0);
    const name = length === 0 ? "" : decoder.decode(padded.subarray(0, nameBytes));
    yield { watch: view.getInt32(at, true), mask: view.getUint32(at + 4, true), name };
    at = end;
  }
}

const decoder = new TextDecoder();

/** An inotify instance. Its events wait in a queue of the kernel's, which is bounded. */
export class Inotify {
  readonly #descriptor: number;
  /** An eventfd: written to, it ends the wait. */
  readonly #wake: number;
  readonly #buffer = new Uint8Array(READ_BYTES);
  #waiting: Promise<unknown> = Promise.resolve();
  /** Calls of `add` that the disk has not answered. */
  #adding = 0;
  #closed = false;
  /** Whether only those calls keep the descriptor open. */
  #isOver = false;

  private constructor(descriptor: number, wake: number) {
    this.#descriptor = descriptor;
    this.#wake = wake;
  }

  /** An instance, or `-errno`: EMFILE where this user has too many of them. */
  static open(): Inotify | number {
    const descriptor = checked(symbols.inotify_init1(NONBLOCK | CLOEXEC));
    if (descriptor < 0) return descriptor;
    const wake = checked(symbols.eventfd(0, NONBLOCK | CLOEXEC));
    if (wake >= 0) return new Inotify(descriptor, wake);
    symbols.close(descriptor);
    return wake;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /**
   * Watches a folder from now on; the watch's number, the one it has if it is watched, or `-errno`.
   *
   * The disk is asked on a thread of Deno's pool, for it may be slow.
   */
  async add(path: string): Promise<number> {
    if (this.#closed) return -EBADF;
    const name = cString(path);
    this.#adding += 1;
    try {
      const watch = await holding([name], symbols.addWaiting(this.#descriptor, name, WATCHED));
      if (watch >= 0 || this.#closed) return watch;
      // The reason is lost with the thread; the disk has the answer at hand by now.
      return checked(symbols.inotify_add_watch(this.#descriptor, name, WATCHED));
    } finally {
      this.#adding -= 1;
      this.#closeIdle();
    }
  }

  /** Ends a watch; one that is not there is left alone. */
  remove(watch: number): void {
    symbols.inotify_rm_watch(this.#descriptor, watch);
  }

  /** Resolves when there are events, or the instance is closed. Takes one thread of Deno's pool. */
  async ready(): Promise<void> {
    const polled = new Uint8Array(16);
    const view = new DataView(polled.buffer);
    for (const [i, descriptor] of [this.#descriptor, this.#wake].entries()) {
      view.setInt32(i * 8, descriptor, true);
      view.setInt16(i * 8 + 4, POLLIN, true);
    }
    const waiting = holding([polled], symbols.poll(polled, 2n, -1));
    this.#waiting = waiting;
    await waiting;
  }

  /** Takes events that wait, without waiting for more; empty if there are none. */
  take(): Iterable<InotifyEvent> {
    if (this.#closed) return [];
    const bytes = symbols.read(this.#descriptor, this.#buffer, BigInt(READ_BYTES));
    return bytes <= 0 ? [] : decodeEvents(this.#buffer.subarray(0, bytes));
  }

  /** Ends all watches. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    symbols.write(this.#wake, new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]), 8n);
    await this.#waiting;
    symbols.close(this.#wake);
    this.#isOver = true;
    this.#closeIdle();
  }

  /** A descriptor that a thread still holds is not closed: its number would name something else. */
  #closeIdle(): void {
    if (!this.#isOver || this.#adding > 0) return;
    this.#isOver = false;
    symbols.close(this.#descriptor);
  }
}
