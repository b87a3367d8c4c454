import type { ByteRange } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { Histogram } from "../base/histogram.ts";
import { MusicfsError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import type { Log } from "../base/log.ts";
import { checked, libc } from "../base/posix.ts";
import { ERRNO, errnoOf, readErrnoOf } from "../fuse/errno.ts";
import { folderNeededBy, type Operations } from "../fuse/operations.ts";
import { IN_HEADER_BYTES, OPCODE, OUT_HEADER_BYTES, readU64 } from "../fuse/protocol.ts";
import { DEFERRED, errorReply, type Reply } from "../fuse/reply.ts";
import { nodeOf } from "../fuse/session.ts";
import type { Library } from "../library/library.ts";
import type { Namespace } from "../library/namespace.ts";
import { entryIdOf } from "../library/node_id.ts";
import type { FileReader } from "../reader/file_reader.ts";
import { KernelReadAhead } from "./kernel_read_ahead.ts";
import { LateFailures } from "./late_failures.ts";
import { ReadFailures } from "./read_failures.ts";

/** Why a reader's wait was ended, for the reply. */
const INTERRUPTED = Symbol("interrupted");
const STOPPING = Symbol("stopping");

/** What deferred requests are answered with. */
export interface DeferredParts {
  descriptor: number;
  /** The main thread's own; never the worker's. */
  operations: Operations;
  reply: Reply;
  namespace: Namespace;
  library: Library;
  reader: FileReader;
  clock: Clock;
  log: Log;
}

/**
 * Answers, on the main thread, the requests that need an origin.
 *
 * Each is answered exactly once, whatever happens: with its bytes, with an errno, or with `EINTR`
 * when its reader stopped waiting. No request waits for another.
 */
export class DeferredRequests {
  readonly #parts: DeferredParts;
  readonly #waiting = new Map<string, AbortController>();
  readonly #running = new Set<Promise<void>>();
  /** READs answered here, whatever the answer, from when the main thread had them. */
  readonly reads: Histogram = new Histogram();
  /** READs that were answered with an error, but for those that nobody waited for any more. */
  failedReads = 0;
  readonly #failures: ReadFailures;
  readonly #late: LateFailures;
  readonly #kernelReadAhead: KernelReadAhead;
  #isSilent = false;

  constructor(parts: DeferredParts) {
    this.#parts = parts;
    this.#failures = new ReadFailures(parts);
    this.#late = new LateFailures(parts.clock);
    this.#kernelReadAhead = new KernelReadAhead(parts.clock);
  }

  /** Requests that are not answered yet. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Begins to answer one request, as the worker handed it over. */
  accept(bytes: Uint8Array<ArrayBuffer>): void {
    const request = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const unique = uniqueOf(request.getUint32(8, true), request.getUint32(12, true));
    const controller = new AbortController();
    const { clock } = this.#parts;
    const acceptedAt = clock.monotonic();
    this.#waiting.set(unique, controller);
    const task = this.#answer(request, controller.signal)
      .catch((error) => this.#refuse(request, error, controller.signal))
      .finally(() => {
        this.#waiting.delete(unique);
        this.#running.delete(task);
        if (request.getUint32(4, true) !== OPCODE.READ) return;
        this.reads.observe(clock.monotonic() - acceptedAt);
      });
    this.#running.add(task);
  }

  /** Ends one reader's wait with `EINTR`; what it was waiting for goes on. */
  interrupt(uniqueLow: number, uniqueHigh: number): void {
    this.#waiting.get(uniqueOf(uniqueLow, uniqueHigh))?.abort(INTERRUPTED);
  }

  /** A handle was read elsewhere, from what is here. */
  wentElsewhere(handle: number): void {
    this.#kernelReadAhead.wentElsewhere(handle);
  }

  /** A handle was closed. */
  released(handle: number, version: number): void {
    this.#kernelReadAhead.released(handle);
    this.#parts.reader.release(handle, version);
  }

  /** Resolves when nothing is under way. */
  async drained(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  /** Answers `EIO` to all who still wait. */
  async stop(): Promise<void> {
    for (const controller of this.#waiting.values()) controller.abort(STOPPING);
    await this.drained();
  }

  /** From now on nothing is answered: a successor is sent all that waits, and answers it. */
  fallSilent(): void {
    this.#isSilent = true;
  }

  async #answer(request: DataView, signal: AbortSignal): Promise<void> {
    const { library, operations, reply } = this.#parts;
    const opcode = request.getUint32(4, true);
    failpoint("fuse.deferred");
    if (opcode === OPCODE.READ) return await this.#read(request, signal);
    if (opcode === OPCODE.OPEN) {
      // The file is not as it was listed, or its disk is gone. If it has another version now, the
      // answer is ESTALE, and the kernel looks the name up again.
      await this.#lookAgain(entryIdOf(nodeOf(request)), signal);
    }
    const folder = folderNeededBy(request);
    if (folder !== undefined) await library.ensureListed(folder, { signal });
    const length = operations.answer(request);
    if (length === DEFERRED) return this.#error(request, ERRNO.EIO);
    this.#send(reply.bytes, length);
  }

  async #read(request: DataView, signal: AbortSignal): Promise<void> {
    const { namespace, reader, library, clock, log } = this.#parts;
    const node = nodeOf(request);
    const version = namespace.version(node);
    if (!version) return this.#error(request, ERRNO.ESTALE);
    const handle = readU64(request, IN_HEADER_BYTES);
    const offset = readU64(request, IN_HEADER_BYTES + 8);
    const length = request.getUint32(IN_HEADER_BYTES + 16, true);
    const range = { offset, length };
    const { origin } = version.sources[0];
    const late = this.#late.errnoOf(node, range);
    if (late !== undefined) return this.#error(request, late);
    const beganMs = clock.monotonic();
    const isHere = (range: ByteRange): boolean => reader.isHere(version, range);
    const isWanted = this.#kernelReadAhead.isWanted(handle, range, { isHere, signal });
    if (isWanted !== true && !await isWanted) return this.#error(request, ERRNO.EIO);
    try {
      const bytes = await reader.read(version, range, { signal, handle });
      this.#late.answered(origin);
      this.#send(replyTo(request, bytes), OUT_HEADER_BYTES + bytes.length);
    } catch (error) {
      if (signal.aborted) throw error;
      this.failedReads += 1;
      this.#failures.note({ subject: version.sources[0].path, error });
      this.#late.note(node, range, { origin, errno: readErrnoOf(error), beganMs });
      this.#error(request, readErrnoOf(error));
      if (readErrnoOf(error) !== ERRNO.ESTALE) return;
      await library.refresh(entryIdOf(node), { signal }).catch((cause) =>
        log.warning("Cannot look at a changed file again", { node, error: cause })
      );
    } finally {
      this.#kernelReadAhead.answered(handle, offset);
    }
  }

  /** Asks the origins about one entry; what none of them can say stays as it is known. */
  async #lookAgain(entry: number, signal: AbortSignal): Promise<void> {
    try {
      await this.#parts.library.refresh(entry, { signal });
    } catch (error) {
      if (!(error instanceof MusicfsError)) throw error;
      this.#parts.log.debug("Cannot look at a file again", { entry, error });
    }
  }

  #refuse(request: DataView, error: unknown, signal: AbortSignal): void {
    const interrupted = signal.aborted && signal.reason === INTERRUPTED;
    const errno = interrupted ? ERRNO.EINTR : signal.aborted ? ERRNO.EIO : errnoOf(error);
    if (!signal.aborted) {
      if (request.getUint32(4, true) === OPCODE.READ) this.failedReads += 1;
      const subject = `opcode ${request.getUint32(4, true)} on node ${nodeOf(request)}`;
      this.#failures.note({ subject, error });
    }
    this.#error(request, errno);
  }

  #error(request: DataView, errno: number): void {
    const unique = { low: request.getUint32(8, true), high: request.getUint32(12, true) };
    const bytes = errorReply(unique, errno);
    this.#send(bytes, bytes.length);
  }

  /** `ENOENT` says that nobody waits any more, other failures that the mount is gone. */
  #send(bytes: Uint8Array<ArrayBuffer>, length: number): void {
    if (this.#isSilent) return;
    const sent = checked(libc.write(this.#parts.descriptor, bytes, BigInt(length)));
    if (sent < 0 && sent !== -ERRNO.ENOENT) {
      this.#parts.log.debug("A reply was not taken", { errno: -sent });
    }
  }
}

function uniqueOf(low: number, high: number): string {
  return `${high.toString(16)}:${low.toString(16)}`;
}

/** A whole reply, header and body, that succeeds. */
function replyTo(request: DataView, body: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(OUT_HEADER_BYTES + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint32(8, request.getUint32(8, true), true);
  view.setUint32(12, request.getUint32(12, true), true);
  bytes.set(body, OUT_HEADER_BYTES);
  return bytes;
}
