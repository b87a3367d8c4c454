import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { statFilesystem } from "../base/posix.ts";
import { CdcChunker } from "../chunking/cdc_chunker.ts";
import { type ChunkHash, openChunkHash } from "../chunking/chunk_hash.ts";
import { openXxh64 } from "../chunking/xxh64.ts";
import { ContentFetcher } from "../fetch/content_fetcher.ts";
import { type FolderChange, Library } from "../library/library.ts";
import { Namespace } from "../library/namespace.ts";
import { ROOT_ID } from "../library/node_id.ts";
import { rebuildNamespace } from "../library/rebuild.ts";
import { NextFiles } from "../library/next_files.ts";
import { nextTrack } from "../library/next_track.ts";
import { BandwidthLimit } from "../origins/bandwidth.ts";
import type { FolderWatch } from "../origins/folder_watch.ts";
import { type GuardedOrigin, steady } from "../origins/guarded.ts";
import { HealthMonitor } from "../origins/health_monitor.ts";
import type { Origin } from "../origins/origin.ts";
import { Extents } from "../reader/extents.ts";
import { FileReader } from "../reader/file_reader.ts";
import { Ingest } from "../reader/ingest.ts";
import { CacheIndex } from "../store/cache_index.ts";
import { DiskCasStore } from "../store/disk_cas_store.ts";
import { Manifests } from "../store/manifests.ts";
import { CacheDisk } from "../store/passthrough.ts";
import { childProbe } from "../store/probe_child.ts";
import { type OpenedIndex, openIndex } from "../store/safe_open.ts";
import { Space } from "../store/space.ts";
import type { Config } from "./config.ts";
import { type Far, openOrigins } from "./cache_origins.ts";
import { deltaSources } from "./delta_sources.ts";
import { openRaw, type RawOrigins } from "./open_ahead.ts";
import type { PublishedIndexes } from "./published_indexes.ts";
import { selfCommand } from "./self_command.ts";

/** The size limit where none is configured, if half of what is free is not less. */
const MAX_SIZE_BYTES = 20 * 1024 ** 3;

/** What a cache is opened with. */
export interface CacheOptions {
  clock: Clock;
  log: Log;
  /** Chance in [0, 1). */
  random: () => number;
  /** Credentials of origins, and where they lie. */
  env: (name: string) => string | undefined;
  /**
   * Whether a fresh mount begins: the library is then of exactly the configured origins, and what
   * only an earlier mount could ask for is forgotten. A command leaves both as they are.
   */
  forMount: boolean;
  /**
   * The epoch of the index behind a mount that is taken over: where the index is still the same,
   * nothing is forgotten.
   */
  takenOver?: string | undefined;
  /** From `openAhead`, and its owner's from then on; default: opened now. */
  raw?: Promise<RawOrigins>;
}

/** Passes on what the library commits: to what remembers folders, and to whoever listens by then. */
export class ChangeRelay {
  listener: ((changes: FolderChange[]) => void) | undefined;
  /** Whether anything was committed yet: who listens to the library only now has missed that. */
  hasTold = false;
  /** Has the kernel forget a version's bytes: what it was given of them may be wrong. */
  forgetBytes: ((version: number) => void) | undefined;

  constructor(readonly nextFiles: NextFiles) {}

  tell(changes: FolderChange[]): void {
    this.hasTold = true;
    for (const { folder } of changes) this.nextFiles.forget(folder);
    this.listener?.(changes);
  }
}

/** Everything below the mount, opened: index, store, origins, library and reader. */
export interface Cache extends AsyncDisposable {
  readonly config: Config;
  readonly opened: OpenedIndex;
  readonly hash: ChunkHash;
  readonly log: Log;
  readonly namespace: Namespace;
  readonly library: Library;
  readonly changes: ChangeRelay;
  readonly cacheIndex: CacheIndex;
  readonly space: Space;
  readonly disk: CacheDisk;
  readonly store: DiskCasStore;
  readonly manifests: Manifests;
  readonly extents: Extents;
  /** As they were opened, the preferred one first. */
  readonly origins: readonly Origin[];
  /** The same, for single attempts: capped, limited in time and bandwidth, counted. */
  readonly guarded: readonly GuardedOrigin[];
  /** The watches of local folders; none for a command, nor where that is configured. */
  readonly watches: readonly FolderWatch[];
  readonly health: HealthMonitor;
  readonly bandwidth: BandwidthLimit;
  /** What was published beside the music. */
  readonly published: PublishedIndexes;
  readonly fetcher: ContentFetcher;
  readonly reader: FileReader;
}

/**
 * Opens the cache in `config.cacheDir`, whose lock the caller holds, and the origins.
 *
 * A damaged index is set aside and made again from what lies beside it. Throws `MusicfsError` if
 * the folder cannot be used; an origin that cannot be reached is opened all the same.
 */
export async function openCache(config: Config, options: CacheOptions): Promise<Cache> {
  const { clock, log, random } = options;
  await using stack = new AsyncDisposableStack();
  const { list: raw } = stack.use(await (options.raw ?? openRaw(config, options)));
  const stored = await openStored(config, { options, stack });
  const { opened, manifests, hash } = stored;
  const { index } = opened;
  const far = openOrigins(config, { options, stack, raw, hash: hash.name });
  const { origins, guarded, health } = far;
  const namespace = new Namespace(index);
  const changes = new ChangeRelay(new NextFiles(namespace));
  const parts = { options, stack, stored, far, namespace, changes };
  const { fetcher, reader } = openReader(config, parts);
  const keep = options.forMount ? [] : knownOrigins({ namespace, manifests, opened });
  const library = new Library({
    index,
    origins: guarded.map((origin) => steady(origin, { clock, random, health })),
    isUp: (name) => health.isUp(name),
    isWatchedAnew: (origin, folder) =>
      far.watches.find(({ name }) => name === origin)?.isAnew(folder) ?? false,
    published: far.findPublished,
    keep,
    manifests,
    exclude: config.exclude,
    clock,
    log,
    onChange: (committed) => {
      far.published.doubt();
      changes.tell(committed);
    },
    onTakeover: ({ before, after }) => reader.takeOver(before, after),
  });
  stack.use(library);
  if (opened.created) {
    const identities = [...new Set([...keep, ...origins.map((origin) => origin.name)])];
    const tracks = rebuildNamespace({ index, manifests, origins: identities, nowMs: clock.now() });
    if (tracks > 0) log.info("The index was made again from what is cached", { tracks });
  }
  const goesOn = !opened.created && index.epoch === options.takenOver;
  if (options.forMount && !goesOn) await library.beginMount();
  const owned = stack.move();
  return {
    ...stored,
    config,
    log,
    namespace,
    library,
    changes,
    ...far,
    fetcher,
    reader,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** What brings files' bytes here, and gives them out. */
function openReader(
  config: Config,
  { options, stack, stored, far, namespace, changes }: {
    options: CacheOptions;
    stack: AsyncDisposableStack;
    stored: Stored;
    far: Far;
    namespace: Namespace;
    changes: ChangeRelay;
  },
): Pick<Cache, "fetcher" | "reader"> {
  const { clock, log, random } = options;
  const { hash, opened: { index } } = stored;
  const { guarded, health } = far;
  const fetcher = new ContentFetcher({
    origins: new Map(guarded.map((origin) => [origin.name, origin])),
    health,
    clock,
    log,
    readTimeoutMs: config.readTimeoutMs,
    random,
  });
  stack.use(fetcher);
  const ingest = new Ingest({ ...stored, index, chunker: new CdcChunker(), log });
  const describe = namespace.version.bind(namespace);
  const digest = hash.digest.bind(hash);
  const reader = new FileReader({
    ...stored,
    fetcher,
    ingest,
    digest,
    describe,
    nextTrack: (version) => nextTrack(namespace, version.id),
    filesAfter: changes.nextFiles.after.bind(changes.nextFiles),
    ...deltaSources({ ...stored, config, namespace, changes }),
    publishedList: far.published.chunks.bind(far.published),
    keeps: config.cache !== "off",
    clock,
    log,
  });
  stack.use(reader);
  return { fetcher, reader };
}

/** What is kept on this machine: the index and all that lies beside it. */
type Stored = Pick<
  Cache,
  "opened" | "hash" | "cacheIndex" | "disk" | "space" | "store" | "manifests" | "extents"
>;

async function openStored(
  config: Config,
  { options, stack }: { options: CacheOptions; stack: AsyncDisposableStack },
): Promise<Stored> {
  const { cacheDir } = config;
  const { clock, log, random } = options;
  prepareFolders(cacheDir);
  const opened = await openIndex({
    dir: `${cacheDir}/index`,
    clock,
    log,
    probe: childProbe(selfCommand(), clock),
    newEpoch: hexDigits(random, 32),
  });
  stack.use(opened.index);
  const { index } = opened;
  const hash = await openChunkHash(config.hash);
  const keyHash = await openChunkHash("xxh128");
  const xxh64 = await openXxh64();
  const cacheIndex = new CacheIndex(index, clock);
  const disk = new CacheDisk({ cacheDir, clock, log });
  const limitBytes = config.maxSizeBytes ?? defaultLimit(cacheDir);
  const space = new Space({ cacheDir, index, cacheIndex, clock, log, limitBytes });
  disk.isFull = () => space.level === "full";
  const store = new DiskCasStore({ cacheDir, hash, cacheIndex, space, disk });
  const common = { index, cacheIndex, disk, space, cacheDir, log };
  const manifests = new Manifests({ ...common, store, hash, keyHash });
  const extents = new Extents({ ...common, keyOf: manifests.keyOf.bind(manifests), xxh64 });
  return { opened, hash, cacheIndex, disk, space, store, manifests, extents };
}

/** Identities that a command must not lose: those in the index, or in what it is rebuilt from. */
function knownOrigins(
  parts: { namespace: Namespace; manifests: Manifests; opened: OpenedIndex },
): string[] {
  const { namespace, manifests, opened } = parts;
  if (opened.created) {
    return [...new Set(Iterator.from(manifests.files()).map(({ manifest }) => manifest.origin))];
  }
  const sources = namespace.entry(ROOT_ID)?.sources ?? [];
  return sources.map((source) => namespace.identityOf(source.origin));
}

/** Makes the cache's folder, for its lock. Throws `denied` or `unavailable` if it cannot be used. */
export function makeCacheFolder(cacheDir: string): void {
  try {
    Deno.mkdirSync(cacheDir, { recursive: true, mode: 0o700 });
  } catch (cause) {
    const denied = cause instanceof Deno.errors.PermissionDenied ||
      cause instanceof Deno.errors.NotCapable;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new MusicfsError(
      denied ? "denied" : "unavailable",
      `Cannot use the cache folder ${cacheDir}: ${why}. Choose another with --cache-dir`,
      { op: "cache.open", subject: cacheDir, cause },
    );
  }
}

function prepareFolders(cacheDir: string): void {
  for (const folder of ["tmp", "chunks", "manifests", "extents"]) {
    makeCacheFolder(`${cacheDir}/${folder}`);
  }
  // What was being written when an earlier daemon ended; nobody else writes yet.
  for (const { name } of Deno.readDirSync(`${cacheDir}/tmp`)) {
    Deno.removeSync(`${cacheDir}/tmp/${name}`, { recursive: true });
  }
}

function defaultLimit(cacheDir: string): number {
  const disk = statFilesystem(cacheDir);
  const half = typeof disk === "number" ? MAX_SIZE_BYTES : Math.floor(disk.freeBytes / 2);
  return Math.min(MAX_SIZE_BYTES, half);
}

function hexDigits(random: () => number, count: number): string {
  return Array.from({ length: count }, () => Math.floor(random() * 16).toString(16)).join("");
}
