import type { Clock } from "../base/clock.ts";
import { failpoint } from "../base/failpoint.ts";
import { FUSE_READ_BYTES_MAX } from "../base/limits.ts";
import { checked, libc, O_NONBLOCK, O_RDWR } from "../base/posix.ts";
import { ERRNO } from "./errno.ts";
import { negotiate, type Negotiated, writeInitOut } from "./negotiation.ts";
import { resend } from "./notify.ts";
import type { Operations } from "./operations.ts";
import { IN_HEADER_BYTES, INIT_OUT_BYTES, OPCODE, OUT_HEADER_BYTES, readU64 } from "./protocol.ts";
import { DEFERRED, type Reply } from "./reply.ts";
import { SpinningRead } from "./spinning_read.ts";

/** The longest request: a WRITE that is refused, and its header. */
const REQUEST_BYTES_MAX = FUSE_READ_BYTES_MAX + 4096;

/** How often what the worker noticed is told to the main thread, in ms. */
const REPORT_INTERVAL_MS = 1000;

const POLLIN = 1;
const WAIT_WITHOUT_END = -1;
const F_SETFL = 4;

/** What the loop tells the thread that started it, and asks of the parts it works with. */
export interface SessionHooks {
  /** INIT was answered; comes once in a mount's life. */
  initialized(agreed: Negotiated): void;
  /** A request that needs an origin, as it came; whoever finishes it writes its reply. */
  deferred(request: Uint8Array<ArrayBuffer>): void;
  /** The reader of a deferred request no longer waits. */
  interrupted(uniqueLow: number, uniqueHigh: number): void;
  /** A request whose answer threw; it was answered `EIO`. */
  failed(opcode: number, error: unknown): void;
  /** The index may have changed: let go of what was read from an older state. */
  refresh(): void;
  /** Nothing to do for now: let go of the snapshot, so that no old page is kept. */
  idle(): void;
  /** Nothing to do for a second: let go of what is only kept for speed. */
  longIdle(): void;
  /** A READ was answered here, `ms` after it was read. */
  answeredRead(request: DataView, ms: number): void;
  /** Whether what was noticed should be told soon. */
  isReportUrgent(): boolean;
  /** Comes once a second while there are requests, and as soon as it is urgent. */
  report(): void;
  /** Commits to the index so far. */
  generation(): number;
}

export interface SessionOptions {
  descriptor: number;
  operations: Operations;
  reply: Reply;
  hooks: SessionHooks;
  clock: Clock;
  passthrough: boolean;
  /** Bytes that the kernel may read ahead of a reader. */
  readAheadBytes: number;
  /** Where the `unique` of the request in hand is noted, in two halves: others see what was lost. */
  inHand: Uint32Array;
  /**
   * Whether a predecessor may have read requests that it did not answer. They are asked for before
   * anything is read, so that no more than one request can have been counted and not answered.
   */
  asksForOwed: boolean;
  /** With more than one, a request that is about to come may be waited for without sleeping. */
  cores: number;
}

/**
 * Reads requests from `/dev/fuse` and answers them, one at a time, until the mount is gone.
 *
 * It blocks its thread, which therefore never receives messages. It never waits for anything but
 * the next request.
 *
 * @returns the errno that ended it: `ENODEV` when the filesystem was unmounted
 */
export function serveSession(options: SessionOptions): number {
  return new Session(options).serve();
}

class Session {
  readonly #request = new Uint8Array(REQUEST_BYTES_MAX);
  readonly #poll = new Uint8Array(8);
  readonly #spin: SpinningRead;
  readonly #options: SessionOptions;
  #generation = -1;
  #reportedAt: number;
  #unreported = false;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#reportedAt = options.clock.monotonic();
    this.#spin = new SpinningRead(options.cores);
    const poll = new DataView(this.#poll.buffer);
    poll.setInt32(0, options.descriptor, true);
    poll.setInt16(4, POLLIN, true);
  }

  serve(): number {
    const { descriptor } = this.#options;
    libc.fcntl(descriptor, F_SETFL, BigInt(O_RDWR | O_NONBLOCK));
    if (this.#options.asksForOwed) this.#askForOwed();
    for (;;) {
      const length = this.#next();
      if (length >= IN_HEADER_BYTES) {
        this.#handle(length);
        this.#reportIfDue();
      } else if (length !== -ERRNO.EINTR && length !== -ERRNO.EAGAIN && length !== -ERRNO.ENOENT) {
        return length < 0 ? -length : ERRNO.EIO;
      }
    }
  }

  /** The one notification that this thread may send: it waits for no page. */
  #askForOwed(): void {
    const message = resend();
    libc.write(this.#options.descriptor, message, BigInt(message.length));
  }

  /** The next request's length, or `-errno`; waits for it, without a snapshot of the index. */
  #next(): number {
    const length = this.#spin.read(() => this.#read());
    if (length !== -ERRNO.EAGAIN) return length;
    const { hooks, clock } = this.#options;
    hooks.idle();
    if (this.#unreported) {
      const sinceMs = clock.monotonic() - this.#reportedAt;
      const waitMs = hooks.isReportUrgent() ? 0 : Math.max(0, REPORT_INTERVAL_MS - sinceMs);
      if (this.#wait(waitMs)) return this.#read();
      this.#report();
      hooks.longIdle();
    }
    this.#wait(WAIT_WITHOUT_END);
    return this.#read();
  }

  #read(): number {
    const request = this.#request;
    return checked(libc.read(this.#options.descriptor, request, BigInt(request.length)));
  }

  /** Whether a request came within `ms`. */
  #wait(ms: number): boolean {
    return libc.poll(this.#poll, 1n, Math.ceil(ms)) > 0;
  }

  #reportIfDue(): void {
    const { clock, hooks } = this.#options;
    const isDue = clock.monotonic() - this.#reportedAt >= REPORT_INTERVAL_MS;
    if (isDue || hooks.isReportUrgent()) this.#report();
  }

  #report(): void {
    this.#reportedAt = this.#options.clock.monotonic();
    this.#unreported = false;
    this.#options.hooks.report();
  }

  #handle(length: number): void {
    const request = new DataView(this.#request.buffer, 0, length);
    const opcode = request.getUint32(4, true);
    this.#takeInHand(request.getUint32(8, true), request.getUint32(12, true));
    failpoint("fuse.request");
    this.#answer(request, opcode);
    this.#takeInHand(0, 0);
  }

  #takeInHand(uniqueLow: number, uniqueHigh: number): void {
    const { inHand } = this.#options;
    inHand[0] = uniqueLow;
    inHand[1] = uniqueHigh;
  }

  #answer(request: DataView, opcode: number): void {
    const { operations, reply, hooks, clock } = this.#options;
    if (opcode === OPCODE.INIT) return this.#initialize(request);
    if (opcode === OPCODE.INTERRUPT) {
      const at = IN_HEADER_BYTES;
      return hooks.interrupted(request.getUint32(at, true), request.getUint32(at + 4, true));
    }
    const generation = hooks.generation();
    if (generation !== this.#generation) {
      this.#generation = generation;
      hooks.refresh();
    }
    this.#unreported = true;
    const readAt = opcode === OPCODE.READ ? clock.monotonic() : 0;
    let answer: number;
    try {
      failpoint("fuse.answer");
      answer = operations.answer(request);
    } catch (error) {
      hooks.failed(opcode, error);
      answer = reply.error(ERRNO.EIO);
    }
    if (answer > 0) {
      this.#send(answer);
      if (opcode === OPCODE.READ) hooks.answeredRead(request, clock.monotonic() - readAt);
    } else if (answer === DEFERRED) hooks.deferred(this.#request.slice(0, request.byteLength));
  }

  #initialize(request: DataView): void {
    const { reply, hooks, passthrough, readAheadBytes } = this.#options;
    reply.begin(request.getUint32(8, true), request.getUint32(12, true));
    const agreed = negotiate(request, { passthrough, readAheadBytes });
    if (!agreed) {
      this.#send(reply.error(ERRNO.EINVAL));
      return;
    }
    writeInitOut(reply.view, OUT_HEADER_BYTES, agreed);
    this.#send(reply.done(INIT_OUT_BYTES));
    hooks.initialized(agreed);
  }

  /** `ENOENT` means that the reader is gone, and any other failure that the mount is. */
  #send(length: number): void {
    libc.write(this.#options.descriptor, this.#options.reply.bytes, BigInt(length));
  }
}

/** The node that a request is about. */
export function nodeOf(request: DataView): number {
  return readU64(request, 16);
}
