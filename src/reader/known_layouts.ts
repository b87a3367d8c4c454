import { MusicfsError } from "../base/errors.ts";
import { EXTENT_BLOCK_BYTES } from "../base/limits.ts";
import { LayoutSearch, type ReadHere } from "../chunking/audio_layout.ts";
import type { ChunkList } from "../chunking/chunk_list.ts";
import type { CutPlan } from "../chunking/cut_plan.ts";
import type { CasStore } from "../store/cas_store.ts";
import type { FileVersion } from "../store/file_version.ts";
import type { Extents } from "./extents.ts";

/** What `KnownLayouts` reads from. */
export interface KnownLayoutsOptions {
  extents: Pick<Extents, "read">;
  store: Pick<CasStore, "get">;
}

/** Versions whose layouts are kept, each about 1 KiB: more than are read at once. */
const LAYOUTS_MAX = 256;

/**
 * How the versions that are being turned into chunks are to be cut, as far as what is here of them
 * tells. In memory only; after a restart it is found out again.
 */
export class KnownLayouts {
  readonly #options: KnownLayoutsOptions;
  /** In order of use. */
  readonly #searches = new Map<number, LayoutSearch>();

  constructor(options: KnownLayoutsOptions) {
    this.#options = options;
  }

  /**
   * How the version is cut from the frontier of `list` on. What began as one piece goes on as one,
   * and so does what began otherwise if chunks that tell of the layout are gone.
   */
  planOf(version: FileVersion, list: ChunkList): CutPlan {
    const { lastKind = "whole" } = list;
    const asBefore = { regions: [{ kind: lastKind, end: version.size }], isFinal: true };
    if (list.count > 0 && lastKind === "whole") return asBefore;
    const search = this.#searches.get(version.id) ?? new LayoutSearch(version.size);
    this.#remember(version.id, search);
    const here = new BytesHere(this.#options, version, list);
    search.advance(here.read);
    return here.isLost ? asBefore : search.plan;
  }

  forget(version: FileVersion): void {
    this.#searches.delete(version.id);
  }

  #remember(id: number, search: LayoutSearch): void {
    this.#searches.delete(id);
    this.#searches.set(id, search);
    if (this.#searches.size <= LAYOUTS_MAX) return;
    for (const oldest of this.#searches.keys()) {
      this.#searches.delete(oldest);
      return;
    }
  }
}

/** What is here of a version, for short reads near one another. */
class BytesHere {
  /** Whether bytes were asked for that are in a chunk which is not here any more. */
  isLost = false;
  readonly #options: KnownLayoutsOptions;
  readonly #version: FileVersion;
  readonly #list: ChunkList;
  /** The block or chunk that was read last. */
  #held = { offset: 0, bytes: new Uint8Array(0) };

  constructor(options: KnownLayoutsOptions, version: FileVersion, list: ChunkList) {
    this.#options = options;
    this.#version = version;
    this.#list = list;
  }

  readonly read: ReadHere = (offset, length) => {
    const into = new Uint8Array(length);
    for (let filled = 0; filled < length;) {
      const at = offset + filled;
      if (!this.#hold(at)) return undefined;
      const part = this.#held.bytes.subarray(at - this.#held.offset).subarray(0, length - filled);
      into.set(part, filled);
      filled += part.length;
    }
    return into;
  };

  /** Sees to it that the byte at `at` is held; false if it is not here. */
  #hold(at: number): boolean {
    const { offset, bytes: { length } } = this.#held;
    if (at >= offset && at < offset + length) return true;
    return at < this.#list.frontier ? this.#holdChunk(at) : this.#holdBlock(at);
  }

  #holdBlock(at: number): boolean {
    const { size } = this.#version;
    const offset = Math.floor(at / EXTENT_BLOCK_BYTES) * EXTENT_BLOCK_BYTES;
    const bytes = new Uint8Array(Math.min(EXTENT_BLOCK_BYTES, size - offset));
    if (!this.#options.extents.read(this.#version, offset, bytes)) return false;
    this.#held = { offset, bytes };
    return true;
  }

  #holdChunk(at: number): boolean {
    const i = this.#list.indexAt(at);
    try {
      const bytes = this.#options.store.get(this.#list.hash(i), this.#list.length(i));
      this.#held = { offset: this.#list.start(i), bytes };
      return true;
    } catch (error) {
      if (!(error instanceof MusicfsError)) throw error;
      this.isLost = true;
      return false;
    }
  }
}
