import { failpoint } from "../base/failpoint.ts";
import type { Namespace } from "../library/namespace.ts";
import type { FileHandles } from "./operations.ts";
import { OPEN_FLAG, type RequestId } from "./protocol.ts";
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
  /** Lets go of the descriptor; `closeBacking` is for the rest. */
  close(): void;
}

/** Opens files of origins whose bytes are not cached. */
export interface DirectOpener {
  /**
   * `mayPassThrough`: whether the kernel may be given the file to read it by itself.
   *
   * @returns "cached" if this version's bytes go through the cache, "deferred" if it is not there
   * as it was listed, so that the main thread must look again
   */
  open(
    version: number,
    options: { mayPassThrough: boolean },
  ): DirectFile | "cached" | "deferred";
  /** Has the kernel forget a file that it reads by itself, once no handle needs it. */
  closeBacking(backingId: number): void;
}

/** How one node is open, as a successor must know it. */
export interface OpenNote {
  node: number;
  /** The kernel's name for the file, if it reads it by itself; 0 if it asks us. */
  backingId: number;
  /** Handles in all. */
  handles: number;
  /** `unique` of the OPEN or RELEASE that was counted last. */
  request: number;
}

/** Where it is noted which nodes are open, for whoever goes on with the mount. */
export interface HandleLedger {
  /**
   * What a predecessor noted. Where no handle is left, the backing id may be closed or not: the
   * kernel never gives it a second time.
   */
  readonly inherited: readonly OpenNote[];
  /** Notes how a node is open now; comes before the reply. False if that cannot be kept. */
  put(note: OpenNote): boolean;
}

/** What is counted while files are open; all but `handles` only grow. */
export interface FileCounters {
  /** Handles that are open now, with those of predecessors as far as they were noted. */
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

/** A node that is open. All its handles are of one kind: the kernel answers `EIO` to another one. */
interface OpenNode {
  /** The kernel's name for the file, if it reads it by itself; 0 if it asks us. */
  backingId: number;
  /** Handles that were opened here, and those that are left of predecessors. */
  own: number;
  inherited: number;
  /** Where the bytes come from; undefined until somebody asks for what a predecessor opened. */
  bytes: DirectFile | "cached" | undefined;
}

/** What `read` returns when the version that was opened is no longer there. */
const LOST = -2;

const TWO_32 = 2 ** 32;

/** Requests that were counted here and may come again; there is one at a time. */
const COUNTED_MAX = 1024;

/**
 * The open files of a mount, by node: node ids name file and version, so a handle says no more. Files
 * of local disks hold a descriptor, one for each node.
 *
 * What is open outlives this process, and goes on under a successor: so handles are counted in a
 * ledger, each OPEN and RELEASE exactly once, though it may be sent once more. Too few counted, and
 * the kernel would be told to forget a file that it still reads; too many, and it never would.
 */
export class OpenFiles implements FileHandles {
  readonly #namespace: Namespace;
  readonly #reader: VersionReader;
  readonly #direct: DirectOpener;
  readonly #observer: OpenObserver;
  readonly #ledger: HandleLedger | undefined;
  readonly #nodes = new Map<number, OpenNode>();
  /** Requests that are counted, and by whom, by their `unique`; the oldest first. */
  readonly #counted = new Map<number, "here" | "before">();
  readonly #countedMax: number;
  /** The high half of every handle of this process; a predecessor had another one. */
  readonly #nonce: number;
  readonly #counters: FileCounters;
  #next = 1;

  constructor(parts: {
    namespace: Namespace;
    reader: VersionReader;
    direct: DirectOpener;
    observer: OpenObserver;
    counters: FileCounters;
    /** Undefined where nothing is opened directly, or where it cannot be kept. */
    ledger: HandleLedger | undefined;
    /** From 1 to 2^20: handles stay below 2^53. 0 is for handles that are not counted. */
    nonce: number;
  }) {
    this.#namespace = parts.namespace;
    this.#reader = parts.reader;
    this.#direct = parts.direct;
    this.#observer = parts.observer;
    this.#ledger = parts.ledger;
    this.#counters = parts.counters;
    this.#nonce = parts.nonce;
    const inherited = parts.ledger?.inherited ?? [];
    this.#countedMax = COUNTED_MAX + inherited.length;
    this.#counters.handles = 0;
    for (const { node, backingId, handles, request } of inherited) {
      const open: OpenNode = { backingId, own: 0, inherited: handles, bytes: undefined };
      this.#counters.handles += handles;
      this.#counted.set(request, "before");
      if (handles > 0) this.#nodes.set(node, open);
      else this.#dropBacking(open);
    }
  }

  /** Opens one version; undefined if no such file is known. */
  open(node: number, request: RequestId): OpenedFile | "deferred" | undefined {
    const known = this.#nodes.get(node);
    const counted = this.#whereCounted(request);
    const open = this.#find(node, known);
    if (open === undefined || open === "deferred") {
      if (known && counted) this.#release(node, known, { isOwn: counted === "here", request });
      return open;
    }
    if (counted === "before") open.inherited -= 1;
    if (counted !== "here") open.own += 1;
    if (!counted) this.#counters.handles += 1;
    if (!this.#note(node, open, request) && !known) this.#dropBacking(open);
    this.#nodes.set(node, open);
    const handle = this.#nonce * TWO_32 + this.#next;
    this.#next = this.#next % (TWO_32 - 1) + 1;
    const { backingId, bytes } = open;
    if (bytes === "cached" && backingId === 0) this.#observer.opened(node);
    const flags = backingId > 0 ? OPEN_FLAG.PASSTHROUGH : OPEN_FLAG.KEEP_CACHE;
    return { handle, flags: flags | OPEN_FLAG.NOFLUSH, backingId };
  }

  /** Bytes placed in `into`, `DEFERRED`, or `LOST` if the version can no longer be had. */
  read(node: number, offset: number, into: Uint8Array<ArrayBuffer>): number {
    const open = this.#nodes.get(node);
    const direct = open && this.#bytesOf(node, open);
    if (typeof direct === "object") {
      const bytes = direct.read(offset, into);
      if (bytes < 0) return LOST;
      this.#counters.directBytes += bytes;
      return bytes;
    }
    const bytes = this.#reader.read(node, offset, into);
    if (bytes < 0) return DEFERRED;
    this.#counters.cacheBytes += bytes;
    return bytes;
  }

  /** Forgets one handle. Those that nobody counted change nothing. */
  release(node: number, handle: number, request: RequestId): void {
    const open = this.#nodes.get(node);
    const nonce = Math.floor(handle / TWO_32);
    const isDirect = open !== undefined && (open.backingId > 0 || typeof open.bytes === "object");
    if (!isDirect || nonce === 0) this.#observer.released(node, handle);
    if (!open || nonce === 0 || this.#whereCounted(request)) return;
    this.#release(node, open, { isOwn: nonce === this.#nonce && open.own > 0, request });
  }

  /** The node as it is open, or as it is to be opened now. */
  #find(node: number, known: OpenNode | undefined): OpenNode | "deferred" | undefined {
    if (this.#namespace.node(node)?.kind !== "file") return undefined;
    if (known && (known.backingId > 0 || known.bytes !== undefined)) return known;
    const bytes = this.#direct.open(node, { mayPassThrough: known === undefined });
    if (bytes === "deferred") return "deferred";
    if (!known) return { backingId: backingIdOf(bytes), own: 0, inherited: 0, bytes };
    known.bytes = bytes;
    return known;
  }

  /** What a predecessor had open is opened anew; undefined as long as its disk does not have it. */
  #bytesOf(node: number, open: OpenNode): DirectFile | "cached" | undefined {
    if (open.bytes !== undefined) return open.bytes;
    const bytes = this.#direct.open(node, { mayPassThrough: false });
    if (bytes !== "deferred") open.bytes = bytes;
    return open.bytes;
  }

  #release(
    node: number,
    open: OpenNode,
    { isOwn, request }: { isOwn: boolean; request: RequestId },
  ): void {
    if (isOwn) open.own -= 1;
    else if (open.inherited > 0) open.inherited -= 1;
    // Of a predecessor that could not note it.
    else return;
    this.#counters.handles -= 1;
    this.#note(node, open, request);
    if (open.own + open.inherited > 0) return;
    // After it was noted: a backing id that is closed must not be given to a reader again.
    this.#nodes.delete(node);
    if (typeof open.bytes === "object") open.bytes.close();
    this.#dropBacking(open);
    failpoint("handles.backing_closed");
  }

  #dropBacking(open: OpenNode): void {
    if (open.backingId > 0) this.#direct.closeBacking(open.backingId);
    open.backingId = 0;
  }

  #note(node: number, { backingId, own, inherited }: OpenNode, { unique }: RequestId): boolean {
    this.#counted.set(unique, "here");
    if (this.#counted.size > this.#countedMax) {
      for (const oldest of this.#counted.keys()) {
        this.#counted.delete(oldest);
        break;
      }
    }
    const handles = own + inherited;
    const isNoted = this.#ledger?.put({ node, backingId, handles, request: unique }) ?? false;
    failpoint("handles.counted");
    return isNoted;
  }

  /** Who has counted this request though its reply was lost; undefined if nobody has. */
  #whereCounted({ unique, isResent }: RequestId): "here" | "before" | undefined {
    return isResent && unique > 0 ? this.#counted.get(unique) : undefined;
  }
}

function backingIdOf(bytes: DirectFile | "cached"): number {
  return typeof bytes === "object" ? bytes.backingId : 0;
}
