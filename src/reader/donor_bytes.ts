import { MusicfsError } from "../base/errors.ts";
import type { ChunkList } from "../chunking/chunk_list.ts";
import type { CasStore } from "../store/cas_store.ts";
import type { FileVersion } from "../store/file_version.ts";
import type { Extents } from "./extents.ts";

/** What a donor is read from. */
export interface DonorBytesOptions {
  store: CasStore;
  extents: Extents;
  /** The donor as a version, if it still is one; then its extent is read too. */
  version: FileVersion | undefined;
}

/** What is here of a version that another one may have bytes in common with; every byte checked. */
export class DonorBytes {
  readonly #options: DonorBytesOptions;
  /** The latest chunk: those who parse a head come to one again and again. */
  #last: { i: number; bytes: Uint8Array<ArrayBuffer> | undefined } | undefined;

  constructor(
    readonly id: number,
    readonly list: ChunkList,
    options: DonorBytesOptions,
  ) {
    this.#options = options;
  }

  get size(): number {
    return this.list.size;
  }

  /** Whether anything was cached of it, as far as that is known; it may be gone by now. */
  get isKnown(): boolean {
    const { version, extents } = this.#options;
    return this.list.count > 0 || (version !== undefined && extents.has(version));
  }

  /** Exactly those bytes; undefined if they are not all here and sound. */
  readonly read = (offset: number, length: number): Uint8Array<ArrayBuffer> | undefined => {
    if (offset < 0 || offset + length > this.size) return undefined;
    const into = new Uint8Array(length);
    const { list } = this;
    const end = Math.min(offset + length, list.frontier);
    for (let at = offset; at < end;) {
      const i = list.indexAt(at);
      const chunk = this.#chunk(i);
      if (!chunk) return undefined;
      const from = at - list.start(i);
      const part = chunk.subarray(from, Math.min(chunk.length, from + end - at));
      into.set(part, at - offset);
      at += part.length;
    }
    const beyond = Math.max(offset, list.frontier);
    if (beyond >= offset + length) return into;
    const { version, extents } = this.#options;
    const rest = into.subarray(beyond - offset);
    return version?.size === this.size && extents.read(version, beyond, rest) ? into : undefined;
  };

  #chunk(i: number): Uint8Array<ArrayBuffer> | undefined {
    if (this.#last?.i === i) return this.#last.bytes;
    const { store } = this.#options;
    this.#last = { i, bytes: undefined };
    try {
      this.#last.bytes = store.get(this.list.hash(i), this.list.length(i));
    } catch (error) {
      if (!(error instanceof MusicfsError)) throw error;
    }
    return this.#last.bytes;
  }
}
