import type { Clock } from "../base/clock.ts";
import { orAborted } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Origin } from "../origins/origin.ts";
import type { Index } from "../store/index.ts";
import { adoptOrigins } from "./adopt_origins.ts";
import { Adoptions } from "./adopt_published.ts";
import { Committer } from "./committer.ts";
import { ContentProver, type ProveOptions } from "./content_prover.ts";
import { forgetEarlierMount, type VersionStore } from "./earlier_mount.ts";
import type { EventListener } from "./entry_event.ts";
import { type FolderChange, OwedChanges } from "./folder_change.ts";
import { FolderSync } from "./folder_sync.ts";
import { Listings } from "./listings.ts";
import { Look, type LookOptions } from "./look.ts";
import { Moves } from "./moves.ts";
import { Namespace } from "./namespace.ts";
import type { Takeover } from "./namespace_edit.ts";
import type { FindPublished } from "./published_names.ts";
import { Removal } from "./removal.ts";
import { OriginScan, type OriginScanReport } from "./scan.ts";
import { notScanned, type ScanOptions, type ScanReport, sumOf } from "./scan_report.ts";
import { UnchangedFolders } from "./unchanged_folders.ts";
import { YoungFiles } from "./young_files.ts";

export type { ProveOptions, ProveProgress } from "./content_prover.ts";
export type { VersionStore } from "./earlier_mount.ts";
export type { EntryEvent } from "./entry_event.ts";
export type { FolderChange } from "./folder_change.ts";
export type { LookOptions } from "./look.ts";
export type { Takeover } from "./namespace_edit.ts";
export type { FindPublished, PublishedFolder, PublishedNames } from "./published_names.ts";
export type { ScanProgress } from "./scan.ts";
export type { ScanOptions, ScanReport } from "./scan_report.ts";

/** The name that is left out of every tree. */
export const HIDDEN_ALWAYS = ".musicfs";

/** What a library is made of. */
export interface LibraryOptions {
  index: Index;
  /** The preferred one first. Used for listings; they may retry. */
  origins: readonly Origin[];
  /**
   * Identities of origins that stay in the library although they are not among `origins`, as a
   * command on a cache needs it; without this, names that only such origins have go.
   */
  keep?: readonly string[];
  manifests?: VersionStore;
  /** Names that are left out wherever they stand in a path. */
  exclude: readonly string[];
  /**
   * False for an origin, by name, that is known to be down: it is not asked for what a reader
   * waits for, and a scan tries it once. Default: none is.
   */
  isUp?: (name: string) => boolean;
  /** As `FolderSyncParts.isWatchedAnew`. */
  isWatchedAnew?: (origin: string, folder: string) => boolean;
  clock: Clock;
  log: Log;
  /** Told of each commit that changed what was visible, after it is on disk, in order. */
  onChange: (changes: FolderChange[]) => void;
  /** Asked by `adoptPublished`, once for each origin of which nothing is known. Default: nobody. */
  published?: FindPublished;
  /**
   * Told of each version whose preferred source is now another one, proven to hold the same bytes,
   * once that is on disk. The id stays; the key of what is stored of it is another.
   */
  onTakeover?: (takeover: Takeover) => void;
}

/**
 * All changes to the names: only the main thread has one, and only it writes these tables.
 *
 * The tree is what the index says; origins are asked for what nobody has asked before, and an
 * origin that is down neither empties a folder nor holds up its listing.
 */
export class Library implements AsyncDisposable {
  readonly namespace: Namespace;
  /** Files that were listed so soon after they were written that an edit may not show. */
  readonly young: YoungFiles;
  readonly #options: LibraryOptions;
  readonly #origins = new Map<number, Origin>();
  readonly #order: readonly number[];
  readonly #owed: OwedChanges;
  readonly #unchanged: UnchangedFolders;
  /** Names that are left out. */
  readonly #hidden: ReadonlySet<string>;
  readonly #committer: Committer;
  readonly #removal: Removal;
  readonly #moves: Moves;
  readonly #sync: FolderSync;
  readonly #adoptions: Adoptions;
  readonly #listings: Listings;
  readonly #prover: ContentProver;
  /** Number of the scan under way at an origin. */
  readonly #scans = new Map<number, number>();
  readonly #stopping = new AbortController();
  #scanning: Promise<unknown> = Promise.resolve();
  readonly #listeners = new Set<EventListener>();
  #listener: EventListener | undefined;

  constructor(options: LibraryOptions) {
    const { index, clock, log, onChange, onTakeover, isUp = () => true } = options;
    this.#options = options;
    this.namespace = new Namespace(index);
    const { namespace } = this;
    const young = this.young = new YoungFiles(clock);
    this.#unchanged = new UnchangedFolders(clock);
    const adopting = { index, namespace, nowMs: clock.now(), onTakeover };
    this.#order = adoptOrigins(adopting, identitiesOf(options));
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
      onTakeover,
      onUnproven: () => this.#prover.wake(),
    });
    this.#prover = new ContentProver({ index, namespace, committer, isUp, clock, log });
    const removal = this.#removal = new Removal({ index, namespace, committer, rankOf, log });
    const moves = this.#moves = new Moves({ index, namespace, committer, rankOf });
    const origins = this.#origins;
    const hidden = this.#hidden = new Set([...options.exclude, HIDDEN_ALWAYS]);
    const sync = this.#sync = new FolderSync({
      origins,
      rankOf,
      namespace,
      committer,
      removal,
      moves,
      young,
      hidden,
      scanOf: (origin) => this.#scans.get(origin),
      isWatchedAnew: options.isWatchedAnew,
      clock,
      log,
    });
    const isNumberUp = (origin: number): boolean => isUp(namespace.identityOf(origin));
    const parts = { namespace, sync, committer, young, origins, rankOf, clock, log };
    this.#adoptions = new Adoptions({ ...parts, index, hidden });
    const adopted = this.#adoptions.reached.bind(this.#adoptions);
    this.#listings = new Listings({ ...parts, isUp: isNumberUp, adopted });
  }

  /**
   * Lists the folder at each origin that has it and has not listed it yet, for a limited time.
   *
   * Throws only if no origin could list it and nothing is known of it; then the first origin's
   * error, `timed_out`, or at once `unavailable` if all of them are known to be down. What is late
   * is added when it comes, and `onChange` told.
   */
  ensureListed(folderId: number, options: { signal: AbortSignal }): Promise<void> {
    return this.#listings.ensureListed(folderId, options);
  }

  /**
   * Lists the folder anew at each origin that has it, and removes what is no longer there unless
   * that is most of the library. Throws if no origin could list it.
   */
  relist(folderId: number, options: { signal?: AbortSignal } = {}): Promise<void> {
    return this.#listings.relist(folderId, options);
  }

  /**
   * Looks again at one entry, for a reader that was told `changed`: at the file itself, or at its
   * folder if it is no longer there. Throws if no origin could say.
   */
  refresh(entryId: number, options: { signal: AbortSignal }): Promise<void> {
    return this.#listings.refresh(entryId, options);
  }

  /**
   * Looks at folders of an origin, by name, that may have changed: lists each, and what is new below
   * it. Many at once cost less than one by one. A path that nobody knows is looked for.
   *
   * Throws the signal's reason, `not_found` for an unknown origin, and `unavailable` or `timed_out`
   * if the origin is not well: what was seen by then is kept, the rest is for a scan to find.
   *
   * @returns whether something is missing that is not believed to be gone
   */
  async look(origin: string, folders: readonly string[], options: LookOptions): Promise<boolean> {
    const { log, isUp = () => true } = this.#options;
    const number = this.#order.find((number) => this.#origins.get(number)?.name === origin);
    const context = { op: "library.look", subject: origin };
    if (number === undefined) {
      throw new MusicfsError("not_found", `Cannot look at ${origin}: no such origin`, context);
    }
    if (!isUp(origin)) {
      throw new MusicfsError("unavailable", `Cannot look at ${origin}: it is down`, context);
    }
    const signal = AbortSignal.any([options.signal, this.#stopping.signal]);
    const parts = {
      namespace: this.namespace,
      sync: this.#sync,
      committer: this.#committer,
      removal: this.#removal,
      moves: this.#moves,
      log,
    };
    return await new Look(parts, number, { ...options, signal }).run(folders);
  }

  /**
   * An origin, by name, answers again: lists what was shown without it, and compares what waited
   * for it. What nobody asked for meanwhile is for a scan to find.
   */
  originIsBack(name: string): void {
    for (const [number, origin] of this.#origins) {
      if (origin.name === name) this.#listings.originIsBack(number);
    }
    this.#prover.wake({ now: true });
  }

  /**
   * Finds out, as long as the signal lets it, which origins hold the same bytes under one name:
   * readers may then use any of them. Throws the signal's reason.
   */
  async prove(options: ProveOptions): Promise<never> {
    const signal = AbortSignal.any([options.signal, this.#stopping.signal]);
    return await this.#prover.run({ ...options, signal });
  }

  /**
   * Begins to take the names of origins of which nothing was ever listed from what is published of
   * them, if anything is. Until then readers and scans wait a few seconds for it.
   */
  adoptPublished(): void {
    const { published } = this.#options;
    if (!published) return;
    for (const [number, { name }] of this.#origins) {
      this.#adoptions.begin(number, { name, find: published });
    }
  }

  /**
   * Resolves when nothing that was published is waited for any more; whether any names were taken
   * from it since the start. Throws the signal's reason.
   */
  async adopted(signal: AbortSignal): Promise<boolean> {
    for (const number of this.#origins.keys()) await this.#adoptions.settled(number, signal);
    return this.#adoptions.taken > 0;
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
    const { index, manifests } = this.#options;
    const { namespace } = this;
    await forgetEarlierMount({ index, namespace, owed: this.#owed, manifests });
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
    await this.#adoptions.stop();
    await this.#sync.stop();
    await this.#scanning;
  }

  async #scanOrigin(
    number: number,
    options: ScanOptions,
  ): Promise<OriginScanReport> {
    const { index, clock, isUp = () => true } = this.#options;
    const { log } = this.#options;
    const source = this.#origins.get(number);
    if (!source) throw new Error(`Origin ${number} is not configured`);
    const { name } = source;
    await this.#adoptions.settled(number, options.signal);
    const failure = isUp(name) ? undefined : await this.#failureOf(number, options.signal);
    if (failure) return notScanned(name, failure);
    const scan = new OriginScan(
      {
        index,
        namespace: this.namespace,
        committer: this.#committer,
        sync: this.#sync,
        removal: this.#removal,
        moves: this.#moves,
        source,
        hidden: this.#hidden,
        unchanged: this.#unchanged,
        log,
        isUp: () => isUp(name),
        clock,
      },
      { number, name },
      {
        acceptDeletions: options.acceptDeletions ?? false,
        resume: options.resume ?? true,
        skipUnchanged: options.skipUnchanged?.includes(name) ?? false,
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

  /** Asks an origin that is said to be down once; what it says, if it cannot be scanned. */
  async #failureOf(number: number, signal: AbortSignal): Promise<MusicfsError | undefined> {
    try {
      await this.#origins.get(number)?.stat("", { signal, isBackground: true });
      return undefined;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof MusicfsError && error.retryable) return error;
      if (error instanceof MusicfsError) return undefined;
      throw error;
    }
  }
}

/** Those that are kept come first, in their order: a command does not change who is preferred. */
function identitiesOf({ origins, keep = [] }: LibraryOptions): string[] {
  return [...new Set([...keep, ...origins.map((origin) => origin.name)])];
}
