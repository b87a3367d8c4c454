import type { Entry } from "../library/entry.ts";
import type { Namespace } from "../library/namespace.ts";
import { entryIdOf } from "../library/node_id.ts";
import { ERRNO } from "./errno.ts";
import type { OpenedFile } from "./open_files.ts";
import {
  IN_HEADER_BYTES,
  OPCODE,
  OPEN_FLAG,
  OUT_HEADER_BYTES,
  readU64,
  type RequestId,
  requestIdOf,
  SILENT_OPCODES,
  WRITING_OPCODES,
} from "./protocol.ts";
import { DEFERRED, type Reply, SILENT } from "./reply.ts";

/** The cookies of `.` and `..`; every other cookie is an entry's id. */
const COOKIE_SELF = 1;
const COOKIE_PARENT = 2;

/** `NAME_MAX`; the kernel passes longer names on. */
const NAME_BYTES_MAX = 255;

const O_ACCMODE = 3;
const W_OK = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** What opens, reads and closes files; `OpenFiles` is the worker's. */
export interface FileHandles {
  /** undefined if there is no such file. */
  open(node: number, request: RequestId): OpenedFile | "deferred" | undefined;
  /** Bytes placed in `into`, `DEFERRED`, or less if the version can no longer be had. */
  read(node: number, offset: number, into: Uint8Array<ArrayBuffer>): number;
  release(node: number, handle: number, request: RequestId): void;
}

/** What operations need to know of the mount. */
export interface OperationsOptions {
  namespace: Namespace;
  files: FileHandles;
  reply: Reply;
  /** Kernels 6.9 to 6.12 give stale listings from their cache. */
  cacheFolders: boolean;
  /**
   * Whether a folder that not every origin has listed yet is shown as far as it is known, instead
   * of deferred: for whoever has asked the origins already. The kernel is not to remember that.
   */
  answersUnlisted: boolean;
}

/**
 * Answers the kernel's requests from what this machine knows, synchronously.
 *
 * What cannot be answered without an origin (an unlisted folder, bytes that are not here) is
 * `DEFERRED`; the request is then handed to the main thread as it came.
 */
export class Operations {
  readonly #namespace: Namespace;
  readonly #files: FileHandles;
  readonly #reply: Reply;
  readonly #folderFlags: number;
  readonly #answersUnlisted: boolean;

  constructor(options: OperationsOptions) {
    this.#namespace = options.namespace;
    this.#files = options.files;
    this.#reply = options.reply;
    this.#answersUnlisted = options.answersUnlisted;
    this.#folderFlags = options.cacheFolders ? OPEN_FLAG.CACHE_DIR | OPEN_FLAG.KEEP_CACHE : 0;
  }

  /** Answers one request; `request` begins with `struct fuse_in_header` and holds all of it. */
  answer(request: DataView): number {
    const opcode = request.getUint32(4, true);
    const node = readU64(request, 16);
    this.#reply.begin(request.getUint32(8, true), request.getUint32(12, true));
    switch (opcode) {
      case OPCODE.READ:
        return this.#read(node, request);
      case OPCODE.LOOKUP:
        return this.#lookup(node, request);
      case OPCODE.GETATTR:
        return this.#describe(node, (entry) => this.#reply.attributes(entry));
      case OPCODE.STATX:
        return this.#describe(node, (entry) => this.#reply.statx(entry));
      case OPCODE.OPEN:
        return this.#open(node, request);
      case OPCODE.RELEASE:
        return this.#release(node, request);
      case OPCODE.OPENDIR:
        return this.#openFolder(node);
      case OPCODE.READDIR:
        return this.#list(node, request, false);
      case OPCODE.READDIRPLUS:
        return this.#list(node, request, true);
      case OPCODE.RELEASEDIR:
      case OPCODE.DESTROY:
        return this.#reply.done(0);
      case OPCODE.READLINK:
        return this.#describe(
          node,
          (entry) =>
            entry.kind === "symlink"
              ? this.#reply.text(entry.target)
              : this.#reply.error(ERRNO.EINVAL),
        );
      case OPCODE.STATFS:
        return this.#reply.filesystem(this.#namespace.totals());
      case OPCODE.ACCESS:
        return this.#access(request);
      case OPCODE.LSEEK:
        return this.#seek(node, request);
      default:
        return this.#other(opcode);
    }
  }

  /** What is neither reading nor looking: refused, or unknown, which the kernel remembers. */
  #other(opcode: number): number {
    if (SILENT_OPCODES.has(opcode)) return SILENT;
    return this.#reply.error(WRITING_OPCODES.has(opcode) ? ERRNO.EROFS : ERRNO.ENOSYS);
  }

  #read(node: number, request: DataView): number {
    const offset = readU64(request, IN_HEADER_BYTES + 8);
    const length = request.getUint32(IN_HEADER_BYTES + 16, true);
    const body = this.#reply.bytes.subarray(OUT_HEADER_BYTES, OUT_HEADER_BYTES + length);
    const bytes = this.#files.read(node, offset, body);
    if (bytes >= 0) return this.#reply.done(bytes);
    return bytes === DEFERRED ? DEFERRED : this.#reply.error(ERRNO.ESTALE);
  }

  #lookup(parent: number, request: DataView): number {
    const folder = entryIdOf(parent);
    const end = request.byteOffset + request.byteLength - 1;
    const start = request.byteOffset + IN_HEADER_BYTES;
    if (end - start > NAME_BYTES_MAX) return this.#reply.error(ERRNO.ENAMETOOLONG);
    const name = new Uint8Array(request.buffer, start, Math.max(0, end - start));
    const entry = this.#namespace.child(folder, name);
    if (entry) return this.#reply.entry(entry);
    const parentEntry = this.#namespace.entry(folder);
    if (!parentEntry) return this.#reply.error(ERRNO.ESTALE);
    if (parentEntry.listed) return this.#reply.entry(undefined);
    return this.#answersUnlisted ? this.#reply.error(ERRNO.ENOENT) : DEFERRED;
  }

  #describe(node: number, answer: (entry: Entry) => number): number {
    const entry = this.#namespace.node(node);
    return entry ? answer(entry) : this.#reply.error(ERRNO.ESTALE);
  }

  #open(node: number, request: DataView): number {
    if ((request.getUint32(IN_HEADER_BYTES, true) & O_ACCMODE) !== 0) {
      return this.#reply.error(ERRNO.EROFS);
    }
    const opened = this.#files.open(node, requestIdOf(request));
    if (opened === "deferred") return DEFERRED;
    if (opened === undefined) return this.#reply.error(ERRNO.ESTALE);
    return this.#reply.opened(opened.handle, opened.flags, opened.backingId);
  }

  #release(node: number, request: DataView): number {
    this.#files.release(node, readU64(request, IN_HEADER_BYTES), requestIdOf(request));
    return this.#reply.done(0);
  }

  #openFolder(node: number): number {
    const entry = this.#namespace.node(node);
    if (!entry) return this.#reply.error(ERRNO.ESTALE);
    if (entry.kind !== "folder") return this.#reply.error(ERRNO.ENOTDIR);
    if (entry.listed) return this.#reply.opened(0, this.#folderFlags);
    return this.#answersUnlisted ? this.#reply.opened(0, 0) : DEFERRED;
  }

  #list(node: number, request: DataView, plus: boolean): number {
    const cookie = readU64(request, IN_HEADER_BYTES + 8);
    const size = request.getUint32(IN_HEADER_BYTES + 16, true);
    const folder = this.#namespace.node(node);
    if (!folder) return this.#reply.error(ERRNO.ESTALE);
    if (folder.kind !== "folder") return this.#reply.error(ERRNO.ENOTDIR);
    if (!folder.listed && !this.#answersUnlisted) return DEFERRED;
    const end = Math.min(OUT_HEADER_BYTES + size, this.#reply.bytes.length);
    let at = OUT_HEADER_BYTES;
    const put = (item: { cookie: number; name: string; entry: Entry }): boolean => {
      const next = this.#reply.directoryEntry(at, end, {
        ...item,
        plus,
        describe: item.cookie > COOKIE_PARENT,
      });
      if (next < 0) return false;
      at = next;
      return true;
    };
    if (cookie < COOKIE_SELF) put({ cookie: COOKIE_SELF, name: ".", entry: folder });
    if (cookie < COOKIE_PARENT) {
      const parent = this.#namespace.entry(folder.parent) ?? folder;
      put({ cookie: COOKIE_PARENT, name: "..", entry: parent });
    }
    for (const entry of this.#namespace.children(folder.id, Math.max(cookie, COOKIE_PARENT))) {
      if (!put({ cookie: entry.id, name: entry.name, entry })) break;
    }
    return this.#reply.done(at - OUT_HEADER_BYTES);
  }

  #access(request: DataView): number {
    const wanted = request.getUint32(IN_HEADER_BYTES, true);
    return (wanted & W_OK) !== 0 ? this.#reply.error(ERRNO.EROFS) : this.#reply.done(0);
  }

  /** Files have no holes but the one behind their end. */
  #seek(node: number, request: DataView): number {
    const offset = readU64(request, IN_HEADER_BYTES + 8);
    const whence = request.getUint32(IN_HEADER_BYTES + 16, true);
    return this.#describe(node, (entry) => {
      if (whence !== SEEK_DATA && whence !== SEEK_HOLE) return this.#reply.error(ERRNO.EINVAL);
      if (offset >= entry.size) return this.#reply.error(ERRNO.ENXIO);
      return this.#reply.number(whence === SEEK_DATA ? offset : entry.size);
    });
  }
}

/** The folder that a deferred request needs listed; undefined if it needs something else. */
export function folderNeededBy(request: DataView): number | undefined {
  const opcode = request.getUint32(4, true);
  const node = readU64(request, 16);
  const folderOpcodes: readonly number[] = [
    OPCODE.LOOKUP,
    OPCODE.OPENDIR,
    OPCODE.READDIR,
    OPCODE.READDIRPLUS,
  ];
  return folderOpcodes.includes(opcode) ? entryIdOf(node) : undefined;
}
