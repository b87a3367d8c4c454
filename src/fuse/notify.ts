import { holding, libc } from "../base/posix.ts";
import { NOTIFY, OUT_HEADER_BYTES, writeU64 } from "./protocol.ts";

const encoder = new TextEncoder();

/** `struct fuse_notify_inval_inode_out`: all cached pages, attributes and listings of a node. */
export function invalidateNode(node: number): Uint8Array<ArrayBuffer> {
  const { bytes, view } = message(NOTIFY.INVAL_INODE, 24);
  writeU64(view, OUT_HEADER_BYTES, node);
  return bytes;
}

/** The same for attributes alone: a negative offset leaves the pages. */
export function invalidateAttributes(node: number): Uint8Array<ArrayBuffer> {
  const bytes = invalidateNode(node);
  new DataView(bytes.buffer).setBigInt64(OUT_HEADER_BYTES + 8, -1n, true);
  return bytes;
}

/** `struct fuse_notify_inval_entry_out`: one name in a folder, also one known to be missing. */
export function invalidateEntry(folderNode: number, name: string): Uint8Array<ArrayBuffer> {
  const nameBytes = encoder.encode(name);
  const { bytes, view } = message(NOTIFY.INVAL_ENTRY, 16 + nameBytes.length + 1);
  writeU64(view, OUT_HEADER_BYTES, folderNode);
  view.setUint32(OUT_HEADER_BYTES + 8, nameBytes.length, true);
  bytes.set(nameBytes, OUT_HEADER_BYTES + 16);
  return bytes;
}

/** Asks for every request that a predecessor read and did not answer (Linux 6.9 and later). */
export function resend(): Uint8Array<ArrayBuffer> {
  return message(NOTIFY.RESEND, 0).bytes;
}

/** `struct fuse_out_header` of a notification: the code stands where the error would, unique is 0. */
function message(code: number, bodyBytes: number): {
  bytes: Uint8Array<ArrayBuffer>;
  view: DataView;
} {
  const bytes = new Uint8Array(OUT_HEADER_BYTES + bodyBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setInt32(4, code, true);
  return { bytes, view };
}

/**
 * Sends notifications one after another on a thread of Deno's pool: the kernel may make the sender
 * wait for a page whose READ this very process still owes.
 *
 * What the kernel does not know (`ENOENT`) needs no invalidation; a mount that is gone needs none
 * either. So results are not looked at.
 */
export class Notifier {
  #tail: Promise<void> = Promise.resolve();
  #queued = 0;

  constructor(readonly descriptor: number) {}

  /** Calls of `send` that are not over. */
  get queued(): number {
    return this.#queued;
  }

  /** Resolves when all of `messages`, and what was sent before, has been handed to the kernel. */
  send(messages: Iterable<Uint8Array<ArrayBuffer>>): Promise<void> {
    const sent = this.#tail.then(async () => {
      for (const bytes of messages) {
        const length = BigInt(bytes.length);
        await holding([bytes], libc.writeWaiting(this.descriptor, bytes, length));
      }
    });
    this.#tail = sent;
    this.#queued += 1;
    return sent.finally(() => this.#queued -= 1);
  }
}
