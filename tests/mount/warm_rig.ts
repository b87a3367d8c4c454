import { silentLog } from "../../src/base/log.ts";
import { CdcChunker } from "../../src/chunking/cdc_chunker.ts";
import { openChunkHash } from "../../src/chunking/chunk_hash.ts";
import { openXxh64 } from "../../src/chunking/xxh64.ts";
import type { Library } from "../../src/library/library.ts";
import type { PinReader } from "../../src/mount/pin_commands.ts";
import { Pins } from "../../src/mount/pins.ts";
import type { WarmCache } from "../../src/mount/warm.ts";
import type { Origin } from "../../src/origins/origin.ts";
import { Extents } from "../../src/reader/extents.ts";
import { Ingest } from "../../src/reader/ingest.ts";
import { CacheIndex } from "../../src/store/cache_index.ts";
import { DiskCasStore } from "../../src/store/disk_cas_store.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import { SEGMENT, type Segment } from "../../src/store/lru_eviction.ts";
import { Manifests } from "../../src/store/manifests.ts";
import { CacheDisk } from "../../src/store/passthrough.ts";
import { Space } from "../../src/store/space.ts";
import { openLibrary } from "../library/library_fixture.ts";
import { MemoryIndex } from "../support/memory_index.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

const xxh128 = await openChunkHash("xxh128");
const xxh64 = await openXxh64();

/** A cache with a library and no mount, whose reader asks the origins itself and once. */
export class WarmRig implements AsyncDisposable {
  readonly clock = new VirtualClock();
  readonly stop = new AbortController();
  readonly cache: WarmCache;
  readonly library: Library;
  readonly pins: Pins;
  readonly reader: PinReader;
  /** Files that `bringAll` was asked for. */
  readonly brought: string[] = [];
  /** Most of those that were under way at once. */
  busiest = 0;
  #busy = 0;
  readonly #ingest: Ingest;

  constructor(
    readonly cacheDir: string,
    origins: readonly Origin[],
    { limitBytes = 2 ** 30, cache = "on" }: {
      limitBytes?: number;
      cache?: "on" | "off" | "auto";
    } = {},
  ) {
    const { clock } = this;
    const log = silentLog;
    const index = new MemoryIndex();
    const cacheIndex = new CacheIndex(index, clock);
    const disk = new CacheDisk({ cacheDir, clock, log });
    const space = new Space({
      cacheDir,
      index,
      cacheIndex,
      clock,
      log,
      limitBytes,
      disk: () => -1,
    });
    const store = new DiskCasStore({ cacheDir, hash: xxh128, cacheIndex, space, disk });
    const common = { index, cacheIndex, disk, space, cacheDir, log };
    const manifests = new Manifests({ ...common, hash: xxh128, keyHash: xxh128 });
    const keyOf = (version: FileVersion): string => manifests.keyOf(version);
    const extents = new Extents({ ...common, keyOf, xxh64 });
    const parts = { ...common, manifests, extents, store };
    this.#ingest = new Ingest({ ...parts, chunker: new CdcChunker(), hash: xxh128 });
    this.library = openLibrary(origins, { index, clock, manifests }).library;
    const { library } = this;
    const config = { cache, cacheDir, pollIntervalMs: 300_000 };
    this.cache = {
      config,
      library,
      namespace: library.namespace,
      manifests,
      extents,
      cacheIndex,
      space,
    };
    this.pins = Pins.open(cacheDir, log);
    const byName = new Map(origins.map((origin) => [origin.name, origin]));
    this.reader = {
      bringAll: async (version, { signal, onProgress }) => {
        const [{ origin, path, version: text }] = version.sources;
        this.brought.push(path);
        this.#busy += 1;
        this.busiest = Math.max(this.busiest, this.#busy);
        try {
          const file = { path, size: version.size, version: text };
          const whole = { offset: 0, length: version.size };
          const bytes = await byName.get(origin)?.read(file, whole, { signal });
          if (!bytes) throw new Error(`There is no origin ${origin}`);
          extents.write(version, 0, bytes);
          this.#ingest.kick(version);
          await this.#ingest.idle();
          onProgress?.(bytes.length);
          return bytes.length;
        } finally {
          this.#busy -= 1;
        }
      },
      pin: (version) => this.#move(version, SEGMENT.pinned),
      unpin: (version) => this.#move(version, SEGMENT.probation),
    };
  }

  /** What the commands and the background task work on. */
  get parts(): {
    cache: WarmCache;
    clock: VirtualClock;
    pins: Pins;
    reader: PinReader;
    signal: AbortSignal;
  } {
    const { cache, clock, pins, reader, stop } = this;
    return { cache, clock, pins, reader, signal: stop.signal };
  }

  /** The segments in which chunks of a file are; [] if it has none. */
  segmentsOf(path: string): number[] {
    const { namespace, manifests, cacheIndex } = this.cache;
    const entry = namespace.find(path);
    const version = entry && namespace.version(entry.id * 2 ** 20 + entry.sequence);
    const list = version && manifests.listOf(version);
    const found = new Set<number>();
    for (let i = 0; list && i < list.count; i += 1) {
      found.add(cacheIndex.find("chunk", list.hash(i))?.segment ?? 0);
    }
    return [...found];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop.abort(new DOMException("The test is over", "AbortError"));
    await this.library[Symbol.asyncDispose]();
    await this.#ingest[Symbol.asyncDispose]();
  }

  #move(version: FileVersion, segment: Segment): void {
    const list = this.cache.manifests.listOf(version);
    const chunks = Array.from({ length: list.count }, (_, i) => ({
      kind: "chunk" as const,
      id: list.hash(i),
    }));
    this.cache.cacheIndex.move(chunks, segment);
  }
}
