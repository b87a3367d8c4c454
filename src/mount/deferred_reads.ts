import { IN_HEADER_BYTES, OPCODE, readU64 } from "../fuse/protocol.ts";

/** Handles that are remembered; the main thread has long answered what is older. */
const HANDLES_MAX = 256;

/**
 * The worker's memory of which handles have a READ at the main thread, so that it can tell when their
 * reader turns out to be elsewhere: the main thread does not see what the worker answers.
 */
export class DeferredReads {
  /** End of the READ that was handed over, by handle; the oldest first. */
  readonly #ends = new Map<number, number>();

  /** A request was handed over. */
  deferred(bytes: Uint8Array<ArrayBuffer>): void {
    const request = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (request.getUint32(4, true) !== OPCODE.READ) return;
    const { handle, offset } = read(request);
    this.#ends.delete(handle);
    this.#ends.set(handle, offset + request.getUint32(IN_HEADER_BYTES + 16, true));
    const [oldest] = this.#ends.keys();
    if (this.#ends.size > HANDLES_MAX && oldest !== undefined) this.#ends.delete(oldest);
  }

  /** A READ was answered here: its handle, if it has another one elsewhere at the main thread. */
  elsewhere(request: DataView): number | undefined {
    if (this.#ends.size === 0) return undefined;
    const { handle, offset } = read(request);
    const end = this.#ends.get(handle);
    if (end === undefined) return undefined;
    this.#ends.delete(handle);
    return offset === end ? undefined : handle;
  }
}

function read(request: DataView): { handle: number; offset: number } {
  return {
    handle: readU64(request, IN_HEADER_BYTES),
    offset: readU64(request, IN_HEADER_BYTES + 8),
  };
}
