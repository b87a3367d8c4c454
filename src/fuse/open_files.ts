import type { Namespace } from "../library/namespace.ts";
import type { FileHandles } from "./operations.ts";
import { OPEN_FLAG } from "./protocol.ts";
import { DEFERRED } from "./reply.ts";

/** What OPEN is answered with. */
export interface OpenedFile {
  handle: number;
  flags: number;
  backingId: number;
}

/** Bytes of cached versions; `src/reader/cached_reader.ts` is one. */
export interface VersionReader {
  /** Bytes placed in `into`, short only at the end of the file; -1 if not all are here. */
  read(version: number, offset: number, into: Uint8Array<ArrayBuffer>): number;
}

/** A file of an origin that is opened itself, because its bytes are not cached. */
export interface DirectFile {
  /** Bytes placed in `into`; -1 if this is no longer the version that was opened. */
  read(offset: number, into: Uint8Array<ArrayBuffer>): number;
  /** The kernel's name for the file, if it reads it by itself; 0 if it asks us. */
  readonly backingId: number;
  close(): void;
}

/** Opens files of origins whose bytes are not cached. */
export interface DirectOpener {
  /**
   * @returns "cached" if this version's bytes go through the cache, "deferred" if it is not there
   * as it was listed, so that the main thread must look again
   */
  open(version: number): DirectFile | "cached" | "deferred";
}

/** What is counted while files are open; all but `handles` only grow. */
export interface FileCounters {
  /** Handles that are open now, those opened by a predecessor left out. */
  handles: number;
  /** Bytes given to readers from the cache, and from files that were opened directly. */
  cacheBytes: number;
  directBytes: number;
}

/** Told of handles that come and go. */
export interface OpenObserver {
  opened(version: number): void;
  released(version: number, handle: number): void;
}

interface OpenDirect {
  file: DirectFile;
  handles: number;
}

/** What `read` returns when the version that was opened is no longer there. */
const LOST = -2;

const TWO_32 = 2 ** 32;

/**
 * The open files of a mount: those read through the cache need no state at all, because node ids
 * name file and version; those of local disks hold a descriptor, one for each node.
 */
export class OpenFiles implements FileHandles {
  readonly #namespace: Namespace;
  readonly #reader: VersionReader;
  readonly #direct: DirectOpener;
  readonly #observer: OpenObserver;
  readonly #directFiles = new Map<number, OpenDirect>();
  /** The high half of every handle of this process: a successor must not mistake older ones. */
  readonly #nonce: number;
  readonly #counters: FileCounters;
  #next = 1;

  constructor(parts: {
    namespace: Namespace;
    reader: VersionReader;
    direct: DirectOpener;
    observer: OpenObserver;
    counters: FileCounters;
    /** Random, from 1 to 2^20: handles stay below 2^53. */
    nonce: number;
  }) {
    this.#namespace = parts.namespace;
    this.#reader = parts.reader;
    this.#direct = parts.direct;
    this.#observer = parts.observer;
    this.#counters = parts.counters;
    this.#nonce = parts.nonce;
  }

  /** Opens one version; undefined if no such file is known. */
  open(node: number): OpenedFile | "deferred" | undefined {
    if (this.#namespace.node(node)?.kind !== "file") return undefined;
    const known = this.#directFiles.get(node);
    const direct = known?.file ?? this.#direct.open(node);
    if (direct === "deferred") return "deferred";
    this.#counters.handles += 1;
    const handle = this.#nonce * TWO_32 + this.#next;
    this.#next = this.#next % (TWO_32 - 1) + 1;
    if (direct === "cached") {
      this.#observer.opened(node);
      return { handle, flags: OPEN_FLAG.KEEP_CACHE | OPEN_FLAG.NOFLUSH, backingId: 0 };
    }
    if (known) known.handles += 1;
    else this.#directFiles.set(node, { file: direct, handles: 1 });
    const flags = direct.backingId > 0 ? OPEN_FLAG.PASSTHROUGH : OPEN_FLAG.KEEP_CACHE;
    return { handle, flags: flags | OPEN_FLAG.NOFLUSH, backingId: direct.backingId };
  }

  /** Bytes placed in `into`, `DEFERRED`, or `LOST` if the version can no longer be had. */
  read(node: number, offset: number, into: Uint8Array<ArrayBuffer>): number {
    const direct = this.#directFiles.get(node);
    if (direct) {
      const bytes = direct.file.read(offset, into);
      if (bytes < 0) return LOST;
      this.#counters.directBytes += bytes;
      return bytes;
    }
    const bytes = this.#reader.read(node, offset, into);
    if (bytes < 0) return DEFERRED;
    this.#counters.cacheBytes += bytes;
    return bytes;
  }

  /** Forgets one handle; handles of a predecessor are unknown and ignored. */
  release(node: number, handle: number): void {
    if (Math.floor(handle / TWO_32) !== this.#nonce) return;
    this.#counters.handles -= 1;
    const direct = this.#directFiles.get(node);
    if (!direct) return this.#observer.released(node, handle);
    direct.handles -= 1;
    if (direct.handles > 0) return;
    this.#directFiles.delete(node);
    direct.file.close();
  }
}
