import type { Clock } from "../base/clock.ts";
import { orAborted } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Origin } from "../origins/origin.ts";
import type { Index } from "../store/index.ts";
import { adoptOrigins } from "./adopt_origins.ts";
import { Committer } from "./committer.ts";
import type { Entry, EntrySource } from "./entry.ts";
import type { EventListener } from "./entry_event.ts";
import { foldersOf, inOrder } from "./federation.ts";
import { type FolderChange, OwedChanges } from "./folder_change.ts";
import { sourceOf } from "./folder_commit.ts";
import { FolderSync } from "./folder_sync.ts";
import { everything, versionKey } from "./keys.ts";
import { Namespace } from "./namespace.ts";
import { nextTurn } from "./next_turn.ts";
import { entryIdOf, nodeIdOf, ROOT_ID } from "./node_id.ts";
import { Removal } from "./removal.ts";
import { OriginScan, type OriginScanReport, type ScanProgress } from "./scan.ts";

export type { EntryEvent } from "./entry_event.ts";
export type { FolderChange } from "./folder_change.ts";
export type { ScanProgress } from "./scan.ts";

/** Longest wait for a folder of which nothing is known, in ms. A spun-down disk takes about 8 s. */
const LIST_MS_MAX = 20_000;

/** Longest wait for more of a folder of which something is known, in ms. */
const LIST_MORE_MS_MAX = 1_000;

/** The same, of a folder that was rebuilt from cached tracks and that nobody has listed, in ms. */
const LIST_REBUILT_MS_MAX = 5_000;

/** After a failure, time in which a folder is shown as it is known without asking again, in ms. */
const LIST_AGAIN_MS_MIN = 5_000;

/** Names that are left out of every tree. */
const HIDDEN_ALWAYS = ".musicfs";

/** Records that are purged in one transaction. */
const PURGED_MAX = 1_000;

/** Forgets what is stored of a version; `Manifests` of the store. */
export interface VersionStore {
  remove(id: number): void;
}

/** What a library is made of. */
export interface LibraryOptions {
  index: Index;
  /** The preferred one first. */
  origins: readonly Origin[];
  /**
   * Identities of origins that stay in the library although they are not among `origins`, as a
   * command on a cache needs it; without this, names that only such origins have go.
   */
  keep?: readonly string[];
  manifests?: VersionStore;
  /** Names that are left out wherever they stand in a path. */
  exclude: readonly string[];
  clock: Clock;
  log: Log;
  /** Told of each commit that changed what was visible, after it is on disk, in order. */
  onChange: (changes: FolderChange[]) => void;
}

/** How a scan is done. */
export interface ScanOptions {
  /** The user has said that what is gone may go, all of it if need be. */
  acceptDeletions?: boolean;
  /** Go on with a scan that was interrupted in the last minutes; default true. */
  resume?: boolean;
  /** Names of the origins to scan; default all. */
  origins?: readonly string[];
  onProgress?: (progress: ScanProgress) => void;
  signal: AbortSignal;
}

/** What a scan found, over all origins. Counts are of files unless they say otherwise. */
export interface ScanReport {
  added: number;
  changed: number;
  moved: number;
  gone: number;
  /** Deletions that were not believed, and of how many files; they stay visible. */
  held?: { gone: number; of: number };
  folders: number;
  files: number;
  errors: Error[];
  origins: OriginScanReport[];
}

/**
 * All changes to the names: only the main thread has one, and only it writes these tables.
 *
 * The tree is what the index says; origins are asked for what nobody has asked before, and an
 * origin that is down neither empties a folder nor holds up its listing.
 */
export class Library implements AsyncDisposable {
  readonly namespace: Namespace;
  readonly #options: LibraryOptions;
  readonly #origins = new Map<number, Origin>();
  readonly #order: readonly number[];
  readonly #owed: OwedChanges;
  readonly #committer: Committer;
  readonly #removal: Removal;
  readonly #sync: FolderSync;
  /** Number of the scan under way at an origin. */
  readonly #scans = new Map<number, number>();
  /** When an origin's listing last failed, in monotonic ms. */
  readonly #failedMs = new Map<number, number>();
  readonly #stopping = new AbortController();
  #scanning: Promise<unknown> = Promise.resolve();
  readonly #listeners = new Set<EventListener>();
  #listener: EventListener | undefined;

  constructor(options: LibraryOptions) {
    const { index, clock, log, onChange } = options;
    this.#options = options;
    this.namespace = new Namespace(index);
    const { namespace } = this;
    this.#order = adoptOrigins(
      { index, namespace, nowMs: clock.now() },
      identitiesOf(options),
    );
    for (const origin of options.origins) {
      const number = this.#order.find((number) => namespace.identityOf(number) === origin.name);
      if (number !== undefined) this.#origins.set(number, origin);
    }
    const rankOf = (origin: number): number => this.#order.indexOf(origin);
    this.#owed = new OwedChanges(index);
    const committer = this.#committer = new Committer({
      index,
      namespace,
      clock,
      onChange,
      listener: () => this.#listener,
    });
    const removal = this.#removal = new Removal({ index, namespace, committer, rankOf, log });
    this.#sync = new FolderSync({
      origins: this.#origins,
      rankOf,
      namespace,
      committer,
      removal,
      hidden: new Set([...options.exclude, HIDDEN_ALWAYS]),
      scanOf: (origin) => this.#scans.get(origin),
      clock,
      log,
    });
  }

  /**
   * Lists the folder at each origin that has it and has not listed it yet, for a limited time.
   *
   * Throws only if no origin could list it and nothing is known of it; then the first origin's
   * error, or `timed_out`. What is late is added when it comes, and `onChange` told.
   */
  async ensureListed(folderId: number, { signal }: { signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    const folder = this.#folder(folderId);
    if (folder.listed) return;
    const { clock } = this.#options;
    const listed = folder.sources.some((source) => source.listed);
    const known = listed || this.namespace.hasChildren(folderId);
    const limitMs = listed ? LIST_MORE_MS_MAX : known ? LIST_REBUILT_MS_MAX : LIST_MS_MAX;
    const attempts: Promise<void>[] = [];
    for (const source of foldersOf(folder.sources)) {
      const failedMs = this.#failedMs.get(source.origin) ?? -Infinity;
      const again = clock.monotonic() - failedMs >= LIST_AGAIN_MS_MIN;
      if (!source.listed && (!known || again)) attempts.push(this.#list(folderId, source.origin));
    }
    const time = new AbortController();
    const limit = clock.sleep(limitMs, time.signal).then(
      () => "late" as const,
      () => "late" as const,
    );
    try {
      // Any one that answers will do only if the others had their time, too.
      const all = Promise.allSettled(attempts);
      const results = await orAborted(Promise.race([all, limit]), signal);
      if (known || this.#isListedSomewhere(folderId)) return;
      throw results === "late" ? this.#late(folderId) : firstError(results);
    } finally {
      time.abort();
    }
  }

  /**
   * Lists the folder anew at each origin that has it, and removes what is no longer there unless
   * that is most of the library. Throws if no origin could list it.
   */
  async relist(folderId: number, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    const folder = this.#folder(folderId);
    const attempts = foldersOf(folder.sources).map(({ origin }) =>
      this.#noting(
        origin,
        folderId,
        () => this.#sync.listAgain(folderId, origin, { urgent: true, refreshFolder: true }),
      )
    );
    const all = Promise.allSettled(attempts);
    const results = signal ? await orAborted(all, signal) : await all;
    if (results.length > 0 && results.every(({ status }) => status === "rejected")) {
      throw firstError(results);
    }
  }

  /**
   * Looks again at one entry, for a reader that was told `changed`: at the file itself, or at its
   * folder if it is no longer there. Throws if no origin could say.
   */
  async refresh(entryId: number, { signal }: { signal: AbortSignal }): Promise<void> {
    const entry = this.namespace.entry(entryId);
    if (!entry) return;
    if (entry.kind === "folder") return await this.relist(entryId, { signal });
    const path = this.namespace.pathOf(entryId);
    const attempts = entry.sources.map(({ origin }) =>
      this.#lookAgain(entry, { origin, path, signal })
    );
    const results = await Promise.allSettled(attempts);
    signal.throwIfAborted();
    if (results.every(({ status }) => status === "rejected")) throw firstError(results);
  }

  /** Makes a file another version, because its bytes were found to differ from those it had. */
  async renew(entryId: number): Promise<void> {
    await this.#committer.commit((edit) => {
      const entry = edit.namespace.entry(entryId);
      if (entry) edit.renew(entry);
    }, { weight: 1, urgent: true });
  }

  /**
   * Walks the origins, side by side; a scan that is under way ends first.
   *
   * Origins that cannot be listed are among the report's errors. Throws the signal's reason: the
   * next scan then goes on from there.
   */
  async scan(options: ScanOptions): Promise<ScanReport> {
    const earlier = this.#scanning;
    const turn = Promise.withResolvers<void>();
    this.#scanning = turn.promise;
    try {
      await orAborted(earlier, options.signal);
      const stopping = this.#stopping.signal;
      const signal = AbortSignal.any([options.signal, stopping]);
      const numbers = this.#order.filter((number) => {
        const name = this.#origins.get(number)?.name;
        return name !== undefined && (options.origins?.includes(name) ?? true);
      });
      const scans = numbers.map((number) => this.#scanOrigin(number, { ...options, signal }));
      const results = await Promise.allSettled(scans);
      signal.throwIfAborted();
      return sumOf(results.map((result) => {
        if (result.status === "rejected") throw result.reason;
        return result.value;
      }));
    } finally {
      turn.resolve();
    }
  }

  /**
   * Forgets what only an earlier mount can ask for: superseded versions, with what is stored of
   * them, and what its kernel had to be told. Not for a successor, which takes a mount over.
   */
  async beginMount(): Promise<void> {
    const { index } = this.#options;
    while (this.#owed.count() > 0) {
      index.transaction(() => {
        const folders: number[] = [];
        for (const { folder } of this.#owed.all()) {
          folders.push(folder);
          if (folders.length >= PURGED_MAX) break;
        }
        this.settled(folders);
      });
      await nextTurn();
    }
    const superseded = index.table("superseded");
    while (superseded.count() > 0) {
      index.transaction(() => {
        const ids: number[] = [];
        for (const { key } of superseded.range(everything())) {
          ids.push(Number(new DataView(key.buffer, key.byteOffset).getBigUint64(0)));
          if (ids.length >= PURGED_MAX) break;
        }
        for (const id of ids) this.#purge(id);
      });
      await nextTurn();
    }
  }

  /** Tells `listener` of every file that comes, changes or goes, until the result is called. */
  listen(listener: EventListener): () => void {
    this.#listeners.add(listener);
    this.#listener = (events) => {
      for (const each of this.#listeners) each(events);
    };
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#listener = undefined;
    };
  }

  /** What the kernel has yet to be told: what an earlier process committed and did not settle. */
  owed(): FolderChange[] {
    return [...this.#owed.all()];
  }

  /** The kernel was told of all changes in these folders. */
  settled(folderIds: Iterable<number>): void {
    this.#options.index.transaction(() => {
      for (const id of folderIds) this.#owed.remove(id);
    });
  }

  /** Ends listings and scans; an interrupted scan can be resumed. */
  async [Symbol.asyncDispose](): Promise<void> {
    const reason = new MusicfsError("unavailable", "Cannot go on: musicfs is stopping", {
      op: "library.stop",
      subject: "library",
    });
    this.#stopping.abort(reason);
    await this.#sync.stop();
    await this.#scanning;
  }

  #folder(id: number): Entry {
    const entry = this.namespace.entry(id);
    const context = { op: "library.list", subject: String(id) };
    if (!entry) {
      throw new MusicfsError("not_found", `Cannot list folder ${id}: it is gone`, context);
    }
    if (entry.kind === "folder") return entry;
    throw new MusicfsError("invalid", `Cannot list ${entry.name}: it is not a folder`, context);
  }

  #list(folder: number, origin: number): Promise<void> {
    return this.#noting(origin, folder, () => this.#sync.list(folder, origin, { urgent: true }));
  }

  /** Remembers which origins fail, and looks at the parent of a folder that is not there. */
  async #noting(origin: number, folder: number, call: () => Promise<unknown>): Promise<void> {
    try {
      await call();
      this.#failedMs.delete(origin);
    } catch (error) {
      const { clock, log } = this.#options;
      log.warning("Cannot list a folder", { origin: this.#origins.get(origin)?.name, error });
      if (error instanceof MusicfsError && error.retryable) {
        this.#failedMs.set(origin, clock.monotonic());
      } else if (isMissing(error)) await this.#lookAbove(folder, origin);
      throw error;
    }
  }

  /** A folder that its origin no longer has is removed by the listing of the one it was in. */
  async #lookAbove(folder: number, origin: number): Promise<void> {
    const entry = this.namespace.entry(folder);
    if (!entry || entry.id === ROOT_ID) return;
    try {
      await this.#sync.listAgain(entry.parent, origin, { urgent: true });
    } catch (error) {
      if (isMissing(error)) return await this.#lookAbove(entry.parent, origin);
      throw error;
    }
  }

  async #lookAgain(
    entry: Entry,
    { origin: number, path, signal }: { origin: number; path: string; signal: AbortSignal },
  ): Promise<void> {
    const origin = this.#origins.get(number);
    if (!origin) return;
    try {
      const now = await origin.stat(path, { signal });
      const source = entry.sources.find((source) => source.origin === number);
      if (now.kind === source?.kind) {
        return await this.#update(entry.id, sourceOf(number, now, source));
      }
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
    await this.#sync.listAgain(entry.parent, number, { urgent: true });
  }

  async #update(id: number, source: EntrySource): Promise<void> {
    await this.#committer.commit((edit) => {
      const entry = edit.namespace.entry(id);
      if (!entry) return;
      const others = entry.sources.filter(({ origin }) => origin !== source.origin);
      if (others.length === entry.sources.length) return;
      edit.setSources(entry, inOrder([...others, source], (origin) => this.#order.indexOf(origin)));
    }, { weight: 1, urgent: true });
  }

  async #scanOrigin(
    number: number,
    options: ScanOptions,
  ): Promise<OriginScanReport> {
    const { index, clock } = this.#options;
    const scan = new OriginScan(
      {
        index,
        namespace: this.namespace,
        committer: this.#committer,
        sync: this.#sync,
        removal: this.#removal,
        clock,
      },
      { number, name: this.#origins.get(number)?.name ?? "" },
      {
        acceptDeletions: options.acceptDeletions ?? false,
        resume: options.resume ?? true,
        signal: options.signal,
        ...(options.onProgress && { onProgress: options.onProgress }),
      },
    );
    await scan.begin();
    this.#scans.set(number, scan.number);
    try {
      return await scan.run();
    } finally {
      this.#scans.delete(number);
    }
  }

  #isListedSomewhere(folderId: number): boolean {
    return this.namespace.entry(folderId)?.sources.some((source) => source.listed) ?? false;
  }

  /** Only inside a transaction. */
  #purge(id: number): void {
    const { index, manifests } = this.#options;
    const now = this.namespace.entry(entryIdOf(id));
    const then = this.namespace.version(id)?.sources[0];
    const current = now && this.namespace.version(nodeIdOf(now.id, now.sequence))?.sources[0];
    // A file that was changed and changed back is stored under the key of both versions.
    const shared = then !== undefined && current !== undefined && then.path === current.path &&
      then.origin === current.origin && then.version === current.version;
    if (!shared) manifests?.remove(id);
    index.table("superseded").remove(versionKey(id));
  }

  #late(folderId: number): MusicfsError {
    const path = this.namespace.pathOf(folderId);
    return new MusicfsError(
      "timed_out",
      `Cannot list "${path}": no origin answered within ${LIST_MS_MAX / 1000} s`,
      { op: "library.list", subject: path },
    );
  }
}

/** Those that are kept come first, in their order: a command does not change who is preferred. */
function identitiesOf({ origins, keep = [] }: LibraryOptions): string[] {
  return [...new Set([...keep, ...origins.map((origin) => origin.name)])];
}

function isMissing(error: unknown): boolean {
  return error instanceof MusicfsError && (error.code === "not_found" || error.code === "invalid");
}

function firstError(results: readonly PromiseSettledResult<unknown>[]): unknown {
  for (const result of results) if (result.status === "rejected") return result.reason;
  return new MusicfsError("unavailable", "Cannot list: no origin has this folder", {
    op: "library.list",
    subject: "",
  });
}

function sumOf(origins: OriginScanReport[]): ScanReport {
  const report: ScanReport = {
    added: 0,
    changed: 0,
    moved: 0,
    gone: 0,
    folders: 0,
    files: 0,
    errors: [],
    origins,
  };
  for (const origin of origins) {
    report.added += origin.added;
    report.changed += origin.changed;
    report.gone += origin.gone;
    report.folders += origin.folders;
    report.files += origin.files;
    report.errors.push(...origin.errors);
    if (!origin.held) continue;
    const { gone, of } = report.held ?? { gone: 0, of: 0 };
    report.held = { gone: gone + origin.held.gone, of: of + origin.held.of };
  }
  return report;
}
