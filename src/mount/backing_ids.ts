import { libc, O_CREAT, O_RDWR, O_TRUNC, openFile, pwriteFully } from "../base/posix.ts";
import { writeU64 } from "../fuse/protocol.ts";

/** Node id as u64, backing id as u32, 4 bytes of nothing. A node id of 0 marks a free slot. */
const SLOT_BYTES = 16;

/**
 * Which backing id the kernel was given for which open node, in a file that outlives the daemon: a
 * successor must name the same id when the node is opened once more, or the kernel answers `EIO`.
 *
 * Written with one `pwrite` before the OPEN is answered; it is of no use after a reboot, so it is
 * never synced.
 */
export class BackingIds implements Disposable {
  readonly #descriptor: number;
  readonly #slots = new Map<number, number>();
  readonly #free: number[] = [];
  #end = 0;

  /** Begins an empty file: for a fresh mount, whose kernel side knows no ids. */
  constructor(path: string) {
    this.#descriptor = openFile(path, O_RDWR | O_CREAT | O_TRUNC);
  }

  /** Notes that `node` is open in passthrough; false if that cannot be kept. */
  add(node: number, backingId: number): boolean {
    const slot = this.#free.pop() ?? this.#end++;
    this.#slots.set(node, slot);
    return this.#write(slot, node, backingId);
  }

  remove(node: number): void {
    const slot = this.#slots.get(node);
    if (slot === undefined) return;
    this.#slots.delete(node);
    this.#free.push(slot);
    this.#write(slot, 0, 0);
  }

  [Symbol.dispose](): void {
    libc.close(this.#descriptor);
  }

  #write(slot: number, node: number, backingId: number): boolean {
    const record = new Uint8Array(SLOT_BYTES);
    const view = new DataView(record.buffer);
    writeU64(view, 0, node);
    view.setUint32(8, backingId, true);
    return pwriteFully(this.#descriptor, record, slot * SLOT_BYTES) === SLOT_BYTES;
  }
}
