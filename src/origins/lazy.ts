import type { ByteRange } from "../base/bytes.ts";
import { orAborted } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import type { OpenedOrigin } from "./open.ts";
import type {
  CallOptions,
  Origin,
  OriginEntry,
  OriginFile,
  TreeCursor,
  TreePage,
} from "./origin.ts";

/**
 * An origin whose code is loaded with its first call. A client library takes up to 0.3 s to load: a
 * mount does not wait for it, because names are answered without an origin.
 */
export class LazyOrigin implements OpenedOrigin {
  readonly #open: () => Promise<OpenedOrigin>;
  #opened: Promise<OpenedOrigin> | undefined;

  readonly listTree?: NonNullable<Origin["listTree"]>;

  /** `open` is called once, and again only if it failed; `listsTree`: what it opens can do that. */
  constructor(
    readonly name: string,
    open: () => Promise<OpenedOrigin>,
    { listsTree = false }: { listsTree?: boolean } = {},
  ) {
    this.#open = open;
    if (listsTree) this.listTree = this.#listTree.bind(this);
  }

  async connect(options: CallOptions): Promise<void> {
    const origin = await this.#origin(options);
    await origin.connect?.(options);
  }

  async *list(folder: string, options: CallOptions): AsyncIterable<OriginEntry> {
    const origin = await this.#origin(options);
    yield* origin.list(folder, options);
  }

  async #listTree(cursor: TreeCursor | undefined, options: CallOptions): Promise<TreePage> {
    const origin = await this.#origin(options);
    if (origin.listTree) return await origin.listTree(cursor, options);
    throw new MusicfsError("invalid", `Cannot list all of ${this.name} at once`, {
      op: "origin.list",
      subject: this.name,
    });
  }

  async stat(path: string, options: CallOptions): Promise<OriginEntry> {
    const origin = await this.#origin(options);
    return await origin.stat(path, options);
  }

  async read(
    file: OriginFile,
    range: ByteRange,
    options: CallOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const origin = await this.#origin(options);
    return await origin.read(file, range, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const opened = await this.#opened?.catch(() => undefined);
    await opened?.[Symbol.asyncDispose]();
  }

  async #origin({ signal }: CallOptions): Promise<OpenedOrigin> {
    signal.throwIfAborted();
    this.#opened ??= this.#open().catch((error) => {
      this.#opened = undefined;
      throw error;
    });
    return await orAborted(this.#opened, signal);
  }
}
