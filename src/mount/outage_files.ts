import type { OpenedFile } from "../fuse/open_files.ts";
import type { FileHandles } from "../fuse/operations.ts";
import { OPEN_FLAG } from "../fuse/protocol.ts";
import type { Namespace } from "../library/namespace.ts";
import { entryIdOf, sequenceOf } from "../library/node_id.ts";

const HANDLES = 2 ** 31;

/**
 * Opens, on the main thread, files whose own disk could not be opened, though they are what they
 * were: their bytes come from the cache, or from another origin.
 *
 * Where the kernel reads files itself, such a handle must not put the node into another mode than the
 * next one will want: it then bypasses the kernel's page cache.
 */
export class OutageFiles implements FileHandles {
  readonly #namespace: Namespace;
  readonly #flags: number;
  /** The worker's handles have a high half of 1 or more; these have 0. */
  #next = 1;

  constructor(namespace: Namespace, { passthrough }: { passthrough: boolean }) {
    this.#namespace = namespace;
    this.#flags = OPEN_FLAG.NOFLUSH | (passthrough ? OPEN_FLAG.DIRECT_IO : OPEN_FLAG.KEEP_CACHE);
  }

  /** undefined for a version that is no longer the file's. */
  open(node: number): OpenedFile | undefined {
    const entry = this.#namespace.entry(entryIdOf(node));
    if (entry?.kind !== "file" || entry.sequence !== sequenceOf(node)) return undefined;
    const handle = this.#next;
    this.#next = this.#next % HANDLES + 1;
    return { handle, flags: this.#flags, backingId: 0 };
  }

  /** Reads are deferred, and answered without the handle. */
  read(): number {
    return -1;
  }

  release(): void {
    // The worker is told of it, and does not know the handle.
  }
}
