import { Buffer } from "node:buffer";
import type { ByteRange } from "../../src/base/bytes.ts";
import { MusicfsError } from "../../src/base/errors.ts";
import type {
  CallOptions,
  Origin,
  OriginEntry,
  OriginFile,
  TreeCursor,
  TreePage,
} from "../../src/origins/origin.ts";

/** One `read()` as it reached the origin. */
export interface ReadCall extends ByteRange {
  path: string;
}

type Node =
  | { kind: "file"; bytes: Uint8Array<ArrayBuffer>; mtimeNs: bigint; version: string }
  | { kind: "folder"; mtimeNs: bigint }
  | { kind: "symlink"; target: string; mtimeNs: bigint };

/** An origin that holds its tree in memory, and remembers what it was asked. */
export class MemoryOrigin implements Origin {
  /** Every `read()` so far, in order of arrival, those that failed too. */
  readonly reads: ReadCall[] = [];
  /** Every folder listed so far, in order. */
  readonly lists: string[] = [];
  readonly #nodes = new Map<string, Node>([["", { kind: "folder", mtimeNs: 0n }]]);
  #versions = 0;
  #gate: PromiseWithResolvers<void> | undefined;

  constructor(readonly name: string) {}

  /** Adds a file, or replaces it with a new version; folders on the way appear by themselves. */
  put(
    path: string,
    bytes: Uint8Array<ArrayBuffer>,
    mtimeNs = 0n,
    version = `v${this.#versions + 1}`,
  ): OriginFile {
    this.#versions += 1;
    this.#place(path, { kind: "file", bytes, mtimeNs, version });
    return { path, size: bytes.length, version };
  }

  putFolder(path: string, mtimeNs = 0n): void {
    this.#place(path, { kind: "folder", mtimeNs });
  }

  putSymlink(path: string, target: string, mtimeNs = 0n): void {
    this.#place(path, { kind: "symlink", target, mtimeNs });
  }

  /** Removes a name and all below it. */
  remove(path: string): void {
    for (const name of [...this.#nodes.keys()]) {
      if (name === path || name.startsWith(`${path}/`)) this.#nodes.delete(name);
    }
  }

  /** Gives a name, and all below it, another name; contents, versions and times stay. */
  move(from: string, to: string): void {
    for (const [name, node] of [...this.#nodes]) {
      if (name !== from && !name.startsWith(`${from}/`)) continue;
      this.#nodes.delete(name);
      this.#place(to + name.slice(from.length), node);
    }
  }

  /** Gives a file a second name, with the same version. */
  copy(from: string, to: string): void {
    this.#place(to, this.#find(from, "memory.copy"));
  }

  /** From now on reads wait, until `release()` or their signal ends them. */
  hold(): void {
    this.#gate ??= Promise.withResolvers<void>();
  }

  release(): void {
    this.#gate?.resolve();
    this.#gate = undefined;
  }

  async *list(folder: string, { signal }: CallOptions): AsyncIterable<OriginEntry> {
    this.lists.push(folder);
    const op = "memory.list";
    if (this.#find(folder, op).kind !== "folder") {
      throw new MusicfsError("invalid", `Cannot list ${folder}: it is not a folder`, {
        op,
        subject: folder,
      });
    }
    yield* this.entriesIn(folder, { signal });
  }

  /** What lies directly in a folder. */
  *entriesIn(folder: string, { signal }: CallOptions): Iterable<OriginEntry> {
    const prefix = folder === "" ? "" : `${folder}/`;
    for (const [path, node] of [...this.#nodes]) {
      signal.throwIfAborted();
      if (path === "" || !path.startsWith(prefix)) continue;
      if (!path.slice(prefix.length).includes("/")) yield entryOf(path, node);
    }
  }

  stat(path: string, { signal }: CallOptions): Promise<OriginEntry> {
    return Promise.try(() => {
      signal.throwIfAborted();
      return entryOf(path, this.#find(path, "memory.stat"));
    });
  }

  async read(
    file: OriginFile,
    range: ByteRange,
    { signal }: CallOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    signal.throwIfAborted();
    this.reads.push({ path: file.path, ...range });
    if (this.#gate) await untilOpen(this.#gate.promise, signal);
    const context = { op: "memory.read", subject: file.path };
    const node = this.#find(file.path, context.op);
    if (node.kind !== "file") {
      throw new MusicfsError("invalid", `Cannot read ${file.path}: it is no file`, context);
    }
    if (node.version !== file.version) {
      throw new MusicfsError(
        "changed",
        `Cannot read ${file.path}: it is now ${node.version}`,
        context,
      );
    }
    if (range.offset + range.length > node.bytes.length) {
      throw new MusicfsError("invalid", `Cannot read past the end of ${file.path}`, context);
    }
    return node.bytes.slice(range.offset, range.offset + range.length);
  }

  /** Bytes that `read()` was asked for so far. */
  get bytesRead(): number {
    return this.reads.reduce((sum, call) => sum + call.length, 0);
  }

  #place(path: string, node: Node): void {
    const cut = path.lastIndexOf("/");
    const parent = cut < 0 ? "" : path.slice(0, cut);
    if (!this.#nodes.has(parent)) this.#place(parent, { kind: "folder", mtimeNs: 0n });
    this.#nodes.set(path, node);
  }

  #find(path: string, op: string): Node {
    const found = this.#nodes.get(path);
    if (found) return found;
    throw new MusicfsError("not_found", `Cannot find ${path}`, { op, subject: path });
  }
}

function entryOf(path: string, node: Node): OriginEntry {
  return {
    path,
    kind: node.kind,
    size: node.kind === "file" ? node.bytes.length : 0,
    mtimeNs: node.mtimeNs,
    version: node.kind === "file" ? node.version : "",
    target: node.kind === "symlink" ? node.target : "",
  };
}

async function untilOpen(gate: Promise<void>, signal: AbortSignal): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    await Promise.race([gate, promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** A memory origin that can list all that it holds at once, as a bucket can. */
export class MemoryBucket extends MemoryOrigin {
  /** Entries of a page. */
  pageEntries = 7;
  /** Pages that were given out. */
  pages = 0;

  listTree(cursor: TreeCursor | undefined, options: CallOptions): Promise<TreePage> {
    return Promise.try(() => this.#page(cursor, options));
  }

  #page(cursor: TreeCursor | undefined, options: CallOptions): TreePage {
    options.signal.throwIfAborted();
    this.pages += 1;
    const all = everything(this, "", options);
    const rest = cursor ? all.filter((entry) => byBytes(orderOf(entry), cursor.last) > 0) : all;
    const entries = rest.slice(0, this.pageEntries);
    const last = entries.at(-1);
    const isLast = entries.length === rest.length || last === undefined;
    return { entries, next: isLast ? undefined : { token: "more", last: orderOf(last) } };
  }
}

function everything(origin: MemoryBucket, folder: string, options: CallOptions): OriginEntry[] {
  const entries: OriginEntry[] = [];
  for (const entry of origin.entriesIn(folder, options)) {
    entries.push(entry);
    if (entry.kind === "folder") entries.push(...everything(origin, entry.path, options));
  }
  return entries.sort((a, b) => byBytes(orderOf(a), orderOf(b)));
}

function orderOf({ path, kind }: OriginEntry): string {
  return kind === "folder" ? `${path}/` : path;
}

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
