import type { ByteRange } from "../base/bytes.ts";
import { MusicfsError } from "../base/errors.ts";
import type { CallOptions, Origin, OriginEntry, OriginFile } from "./origin.ts";
import { PartialRead } from "./partial_read.ts";

/** Refuses whatever has another length than was asked for, as `unavailable`. */
export function exact(origin: Origin): Origin {
  return new Exact(origin);
}

class Exact implements Origin {
  readonly listTree?: NonNullable<Origin["listTree"]>;

  constructor(readonly inner: Origin) {
    if (inner.listTree) this.listTree = inner.listTree.bind(inner);
  }

  get name(): string {
    return this.inner.name;
  }

  list(folder: string, options: CallOptions): AsyncIterable<OriginEntry> {
    return this.inner.list(folder, options);
  }

  stat(path: string, options: CallOptions): Promise<OriginEntry> {
    return this.inner.stat(path, options);
  }

  async read(
    file: OriginFile,
    range: ByteRange,
    options: CallOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const asked = { origin: this.name, path: file.path, length: range.length };
    try {
      return exactly(await this.inner.read(file, range, options), asked);
    } catch (error) {
      if (!(error instanceof PartialRead)) throw error;
      const { length } = error.received;
      throw length > 0 && length < range.length ? error : wrongLength(length, asked);
    }
  }
}

/** The bytes, if there are as many as were asked for; else throws `unavailable`. */
export function exactly(
  bytes: Uint8Array<ArrayBuffer>,
  asked: { origin: string; path: string; length: number },
): Uint8Array<ArrayBuffer> {
  if (bytes.length === asked.length) return bytes;
  throw wrongLength(bytes.length, asked);
}

function wrongLength(
  length: number,
  asked: { origin: string; path: string; length: number },
): MusicfsError {
  const message = `Cannot use what ${asked.origin} sent of "${asked.path}": ${length} bytes ` +
    `where ${asked.length} were asked for. It is tried again.`;
  return new MusicfsError("unavailable", message, { op: "origin.read", subject: asked.path });
}
