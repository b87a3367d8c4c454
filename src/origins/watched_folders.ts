import type { ByteRange } from "../base/bytes.ts";
import type { FolderWatch } from "./folder_watch.ts";
import type { CallOptions, Origin, OriginEntry, OriginFile } from "./origin.ts";

/** Watches each folder from the moment before it is listed. */
export class WatchedFolders implements Origin {
  constructor(readonly inner: Origin, readonly watch: FolderWatch) {}

  get name(): string {
    return this.inner.name;
  }

  async *list(folder: string, options: CallOptions): AsyncIterable<OriginEntry> {
    await this.watch.add(folder);
    yield* this.inner.list(folder, options);
  }

  /** A folder that is listed is asked for its own time beside that: it, too, is watched first. */
  async stat(path: string, options: CallOptions): Promise<OriginEntry> {
    await this.watch.add(path);
    return await this.inner.stat(path, options);
  }

  read(file: OriginFile, range: ByteRange, options: CallOptions): Promise<Uint8Array<ArrayBuffer>> {
    return this.inner.read(file, range, options);
  }
}
