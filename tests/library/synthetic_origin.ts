import { MusicfsError } from "../../src/base/errors.ts";
import type {
  CallOptions,
  Origin,
  OriginEntry,
  OriginFile,
  TreeCursor,
  TreePage,
} from "../../src/origins/origin.ts";

/** How a synthetic tree is built: `folders` folders of `files` files each; 0 folders: all in one. */
export interface SyntheticTree {
  folders: number;
  files: number;
  /** Wait before a listing or a look at a file is answered, in ms of real time. */
  latencyMs?: number;
  /** Whether it can tell all of it at once. */
  listsTree?: boolean;
}

/** Names that come in one answer of the origin, as those of a bucket do. */
const PAGE = 1_000;

/** An origin that makes its tree up as it is asked, and keeps nothing: a bucket, versions ETags. */
export class SyntheticOrigin implements Origin {
  lists = 0;
  stats = 0;
  pages = 0;
  running = 0;
  runningMax = 0;

  readonly listTree?: NonNullable<Origin["listTree"]>;

  constructor(readonly name: string, readonly tree: SyntheticTree) {
    if (tree.listsTree) this.listTree = this.#listTree.bind(this);
  }

  async *list(folder: string, { signal }: CallOptions): AsyncIterable<OriginEntry> {
    this.lists += 1;
    this.running += 1;
    this.runningMax = Math.max(this.runningMax, this.running);
    try {
      await this.#wait(signal);
    } finally {
      this.running -= 1;
    }
    const { folders, files } = this.tree;
    if (folder === "" && folders > 0) {
      for (let i = 0; i < folders; i += 1) yield folderEntry(`album ${padded(i)}`);
      return;
    }
    const prefix = folder === "" ? "" : `${folder}/`;
    for (let i = 0; i < files; i += 1) {
      signal.throwIfAborted();
      if (i % PAGE === PAGE - 1) await new Promise((resolve) => setTimeout(resolve, 0));
      yield fileEntry(`${prefix}${padded(i)} a track of some name.flac`, i);
    }
  }

  /** One page after the other, without a delimiter, as a bucket tells it. */
  async #listTree(cursor: TreeCursor | undefined, { signal }: CallOptions): Promise<TreePage> {
    this.pages += 1;
    await this.#wait(signal);
    const { folders, files } = this.tree;
    const total = Math.max(1, folders) * files;
    const start = Number(cursor?.token ?? 0);
    const end = Math.min(start + PAGE, total);
    const entries: OriginEntry[] = [];
    for (let i = start; i < end; i += 1) {
      const prefix = folders === 0 ? "" : `album ${padded(Math.floor(i / files))}/`;
      entries.push(fileEntry(`${prefix}${padded(i % files)} a track of some name.flac`, i % files));
    }
    return { entries, next: end < total ? { token: String(end), last: "" } : undefined };
  }

  async stat(path: string, { signal }: CallOptions): Promise<OriginEntry> {
    this.stats += 1;
    await this.#wait(signal);
    return folderEntry(path);
  }

  read(file: OriginFile): Promise<Uint8Array<ArrayBuffer>> {
    return Promise.reject(
      new MusicfsError("not_found", `No bytes of ${file.path}`, { op: "test", subject: file.path }),
    );
  }

  async #wait(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { latencyMs = 0 } = this.tree;
    if (latencyMs > 0) await new Promise((resolve) => setTimeout(resolve, latencyMs));
  }
}

function padded(number: number): string {
  return String(number).padStart(7, "0");
}

function folderEntry(path: string): OriginEntry {
  return { path, kind: "folder", size: 0, mtimeNs: 0n, version: "", target: "" };
}

function fileEntry(path: string, i: number): OriginEntry {
  const version = Math.imul(i + 1, 0x9e3779b1).toString(16).replace("-", "a").padStart(32, "0");
  return {
    path,
    kind: "file",
    size: 20_000_000 + i,
    mtimeNs: 1_600_000_000_000_000_000n + BigInt(i) * 1_000_000_000n,
    version,
    target: "",
  };
}
