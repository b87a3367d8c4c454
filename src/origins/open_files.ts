import { descriptorsFor } from "../base/descriptor_limit.ts";
import { MusicfsError } from "../base/errors.ts";
import type { OriginFile } from "./origin.ts";
import { closeDescriptor } from "./waiting_calls.ts";

/** Descriptors a local origin keeps open, at most. */
const OPEN_FILES_MAX = 64;

interface OpenFile {
  readonly opening: Promise<number>;
  users: number;
  /** Nobody new may use it; its last user closes it. */
  dropped: boolean;
}

/**
 * The descriptors of a local origin, the least recently used closed first.
 *
 * One belongs to a path *and a version*: a file that is replaced by rename stays readable as what
 * it was for as long as its descriptor is kept.
 */
export class OpenFiles implements AsyncDisposable {
  /** In the order of last use. */
  readonly #files = new Map<string, OpenFile>();
  readonly #closing = new Set<Promise<void>>();
  #closed = false;

  constructor(
    readonly open: (file: OriginFile) => Promise<number>,
    readonly max = Math.min(OPEN_FILES_MAX, descriptorsFor("origin")),
  ) {}

  get size(): number {
    return this.#files.size;
  }

  /** Calls `use` with the descriptor, which stays open until the promise settles. */
  async with<T>(file: OriginFile, use: (descriptor: number) => Promise<T>): Promise<T> {
    const key = `${file.version}\0${file.path}`;
    const open = this.#take(key, file);
    open.users += 1;
    try {
      return await use(await open.opening);
    } catch (error) {
      // A descriptor of bytes that are no longer the version's is of no use to anybody.
      if (error instanceof MusicfsError && error.code === "changed") this.#drop(key, open);
      throw error;
    } finally {
      open.users -= 1;
      if (open.dropped) this.#closeIfIdle(open);
      else this.#evict();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const [key, open] of this.#files) this.#drop(key, open);
    await Promise.all(this.#closing);
  }

  #take(key: string, file: OriginFile): OpenFile {
    if (this.#closed) {
      throw new MusicfsError("unavailable", `Cannot read ${file.path}: the origin is closed`, {
        op: "local.read",
        subject: file.path,
      });
    }
    const found = this.#files.get(key);
    if (found) {
      this.#files.delete(key);
      this.#files.set(key, found);
      return found;
    }
    const open: OpenFile = { opening: this.open(file), users: 0, dropped: false };
    this.#files.set(key, open);
    open.opening.catch(() => this.#forget(key, open));
    return open;
  }

  #evict(): void {
    if (this.#files.size <= this.max) return;
    for (const [key, open] of this.#files) {
      if (this.#files.size <= this.max) return;
      if (open.users === 0) this.#drop(key, open);
    }
  }

  #drop(key: string, open: OpenFile): void {
    this.#forget(key, open);
    if (open.dropped) return;
    open.dropped = true;
    this.#closeIfIdle(open);
  }

  #forget(key: string, open: OpenFile): void {
    if (this.#files.get(key) === open) this.#files.delete(key);
  }

  #closeIfIdle(open: OpenFile): void {
    if (open.users > 0) return;
    const closing = open.opening.then(closeDescriptor, () => {/* It was never open. */});
    this.#closing.add(closing);
    closing.finally(() => this.#closing.delete(closing));
  }
}
