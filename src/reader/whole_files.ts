import type { ByteRange } from "../base/bytes.ts";
import { MusicfsError } from "../base/errors.ts";
import { FETCH_BYTES_MAX } from "../base/limits.ts";
import { hex } from "../chunking/chunk_hash.ts";
import type { ChunkList } from "../chunking/chunk_list.ts";
import type { CacheIndex, ItemName } from "../store/cache_index.ts";
import type { CasStore } from "../store/cas_store.ts";
import type { FileVersion } from "../store/file_version.ts";
import { marginBytes, SEGMENT } from "../store/lru_eviction.ts";
import type { Manifests } from "../store/manifests.ts";
import type { Extents } from "./extents.ts";
import type { Ingest } from "./ingest.ts";
import { pieces } from "./read_ahead.ts";
import { together } from "./together.ts";

/** Pieces of one file on their way at once: 4 MiB keep 100 Mbit/s with 300 ms to and fro busy. */
const PIECES_AT_ONCE = 4;

/** What `WholeFiles` works with. */
export interface WholeFilesOptions {
  manifests: Manifests;
  cacheIndex: CacheIndex;
  store: CasStore;
  extents: Extents;
  ingest: Ingest;
  /** Whether anything is written to this disk. */
  keeps: boolean;
  /** What must be fetched of a range. */
  missing: (version: FileVersion, range: ByteRange) => readonly ByteRange[];
  /** Fetches what is missing of a range, for nobody who waits. */
  bring: (
    version: FileVersion,
    range: ByteRange,
    options: { signal: AbortSignal; isBackground: boolean },
  ) => Promise<void>;
  /** Reads a range, whereby what is damaged of it is fetched again. */
  mend: (version: FileVersion, range: ByteRange, signal: AbortSignal) => Promise<unknown>;
  /** To be awaited before it is told what must be fetched; bytes that it fetched itself. */
  settle: (
    version: FileVersion,
    range: ByteRange,
    options: { signal: AbortSignal; isBackground: boolean },
  ) => Promise<number> | undefined;
}

/** How a file is brought. */
export interface BringOptions {
  signal: AbortSignal;
  /** Called as bytes arrive, with how many since the start. Must not throw. */
  onProgress?: ((bytes: number) => void) | undefined;
}

/** Files that are fetched as a whole, and those that stay. */
export class WholeFiles {
  readonly #options: WholeFilesOptions;

  constructor(options: WholeFilesOptions) {
    this.#options = options;
  }

  /** See `FileReader.bringAll`. */
  async bringAll(version: FileVersion, { signal, onProgress }: BringOptions): Promise<number> {
    signal.throwIfAborted();
    this.#requireRoom(version);
    const all = { offset: 0, length: version.size };
    const settled = this.#options.settle(version, all, { signal, isBackground: true });
    let brought = await settled ?? 0;
    // What was evicted meanwhile is fetched again, but not for ever.
    for (let round = 0; round < 3; round += 1) {
      if (round > 0) await this.#mend(version, signal);
      const gaps = this.#gaps(version);
      const tasks = gaps.values();
      const line = async (either: AbortSignal): Promise<void> => {
        for (const gap of tasks) {
          await this.#bringPiece(version, gap, either);
          brought += gap.length;
          onProgress?.(brought);
        }
      };
      await together(Array.from({ length: PIECES_AT_ONCE }, () => line), signal);
      await this.#chunk(version, signal);
      if (this.#isHere(version)) return brought;
    }
    throw this.#options.extents.refusal ?? full(version, "it was evicted while it was fetched");
  }

  /** See `FileReader.pin`. */
  pin(version: FileVersion): void {
    const { ingest, cacheIndex, manifests } = this.#options;
    ingest.pinned.add(version.id);
    const names: ItemName[] = [...chunkNames(manifests.listOf(version)), this.#extent(version)];
    const loose = names.filter(({ kind, id }) => {
      const item = cacheIndex.find(kind, id);
      return item !== undefined && item.segment !== SEGMENT.pinned;
    });
    if (loose.length > 0) cacheIndex.move(loose, SEGMENT.pinned);
  }

  /** See `FileReader.unpin`. */
  unpin(version: FileVersion, others: Iterable<FileVersion>): void {
    const { ingest, cacheIndex, manifests } = this.#options;
    ingest.pinned.delete(version.id);
    const free = new Map<string, ItemName>();
    let isShared = false;
    for (const name of [...chunkNames(manifests.listOf(version)), this.#extent(version)]) {
      const item = cacheIndex.find(name.kind, name.id);
      if (item?.segment !== SEGMENT.pinned) continue;
      if (item.references > 1) isShared = true;
      free.set(hex(name.id), name);
    }
    if (isShared) {
      for (const other of others) {
        if (other.id === version.id) continue;
        for (const { id } of chunkNames(manifests.listOf(other))) free.delete(hex(id));
      }
    }
    if (free.size > 0) cacheIndex.move(free.values(), SEGMENT.probation);
  }

  /** What keeps an extent from being turned into chunks. */
  async #mend(version: FileVersion, signal: AbortSignal): Promise<void> {
    for (const block of this.#options.extents.damaged(version)) {
      await this.#options.mend(version, block, signal);
    }
  }

  async #bringPiece(version: FileVersion, piece: ByteRange, signal: AbortSignal): Promise<void> {
    await this.#options.bring(version, piece, { signal, isBackground: true });
    if (this.#options.missing(version, piece).length === 0) return;
    throw this.#options.extents.refusal ?? full(version, "the disk did not keep it");
  }

  /** Turns what was fetched into chunks, as far as that goes. */
  async #chunk(version: FileVersion, signal: AbortSignal): Promise<void> {
    const { ingest, manifests } = this.#options;
    let frontier = -1;
    for (;;) {
      signal.throwIfAborted();
      const list = manifests.listOf(version);
      if (list.whole || list.frontier === frontier) return;
      frontier = list.frontier;
      ingest.kick(version);
      await ingest.idle();
    }
  }

  #gaps(version: FileVersion): ByteRange[] {
    if (version.size === 0) return [];
    return this.#options.missing(version, { offset: 0, length: version.size })
      .flatMap(({ offset, length }) => pieces(offset, offset + length, FETCH_BYTES_MAX));
  }

  #isHere(version: FileVersion): boolean {
    return version.size === 0 ||
      (this.#options.manifests.listOf(version).whole && this.#gaps(version).length === 0);
  }

  /** Throws if the file can never be held beside what is pinned. */
  #requireRoom(version: FileVersion): void {
    const { keeps, store, cacheIndex, manifests } = this.#options;
    if (!keeps) {
      const { path } = version.sources[0];
      const message = `Cannot keep "${path}": nothing is cached with --cache off. ` +
        "Mount with --cache on";
      throw new MusicfsError("invalid", message, { op: "reader.bring", subject: path });
    }
    const { limitBytes } = store.stats();
    const { pinnedBytes } = cacheIndex.totals();
    let own = 0;
    for (const { kind, id } of chunkNames(manifests.listOf(version))) {
      const item = cacheIndex.find(kind, id);
      if (item?.segment === SEGMENT.pinned) own += item.diskBytes;
    }
    if (version.size + pinnedBytes - own <= limitBytes - marginBytes(limitBytes)) return;
    throw full(version, `${pinnedBytes} bytes are pinned, and ${limitBytes} are allowed in all`);
  }

  #extent(version: FileVersion): ItemName {
    return { kind: "extent", id: Uint8Array.fromHex(this.#options.manifests.keyOf(version)) };
  }
}

function* chunkNames(list: ChunkList): Iterable<ItemName> {
  for (let i = 0; i < list.count; i += 1) yield { kind: "chunk", id: list.hash(i) };
}

function full(version: FileVersion, why: string): MusicfsError {
  const { path } = version.sources[0];
  const message = `Cannot keep all ${version.size} bytes of "${path}": ${why}. ` +
    "Raise --max-size or unpin something";
  return new MusicfsError("full", message, { op: "reader.bring", subject: path });
}
