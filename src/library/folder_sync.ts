import type { Clock } from "../base/clock.ts";
import type { Limiter } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import type { Log } from "../base/log.ts";
import type { Origin, OriginEntry } from "../origins/origin.ts";
import { COMMIT_CHANGES_MAX, type Committer } from "./committer.ts";
import { DeltaDetector, type FolderDelta, Listing, nameOf } from "./delta_detector.ts";
import type { EntrySource } from "./entry.ts";
import { inOrder } from "./federation.ts";
import type { Namespace } from "./namespace.ts";
import type { NamespaceEdit } from "./namespace_edit.ts";
import { nextTurn } from "./next_turn.ts";
import type { Removal } from "./removal.ts";

/** Longest time one listing may take, in ms; a bucket of a million keys takes minutes. */
const LISTING_MS_MAX = 600_000;

/** Known children that are compared before the event loop gets its turn. */
const COMPARED_MAX = 5_000;

const LISTING_ENDED = Symbol("listing ended");

/** What bringing a folder up to date needs. */
export interface FolderSyncParts {
  origins: ReadonlyMap<number, Origin>;
  /** Lower is preferred. */
  rankOf: (origin: number) => number;
  namespace: Namespace;
  committer: Committer;
  removal: Removal;
  /** Names that are left out. */
  hidden: ReadonlySet<string>;
  /** The scan under way at an origin; a folder that is listed meanwhile counts as its work. */
  scanOf: (origin: number) => number | undefined;
  clock: Clock;
  log: Log;
}

/** How a folder is brought up to date. */
export interface SyncOptions {
  /** Whether somebody waits for it. */
  urgent: boolean;
  /** Asks for the folder's own time, too: not needed where its parent was listed just now. */
  refreshFolder?: boolean;
  /** Bounds the listings of a scan. */
  limiter?: Limiter;
  /** Called when the origin is about to be asked; what it throws ends the listing. */
  onStart?: () => void;
  /** Called when the origin has answered, or failed to. */
  onListed?: () => void;
}

/** What a listing brought. */
export interface SyncOutcome {
  /** Entry ids of the folders that this origin has in this folder. */
  folders: number[];
  /** Whether a folder with something in it is now something else, which waits for the scan's end. */
  replaced: boolean;
}

/** One listing under way. */
interface Flight {
  done: Promise<SyncOutcome>;
  controller: AbortController;
  urgent: boolean;
}

/**
 * Lists one folder of one origin and brings the names in line with it.
 *
 * One listing of a folder at an origin is under way at a time; it goes on when those who asked for
 * it have left. A listing that fails changes nothing.
 */
export class FolderSync {
  readonly #parts: FolderSyncParts;
  readonly #flights = new Map<string, Flight>();
  #stopped = false;

  constructor(parts: FolderSyncParts) {
    this.#parts = parts;
  }

  /** Joins the listing that is under way, or begins one. */
  list(folder: number, origin: number, options: SyncOptions): Promise<SyncOutcome> {
    const flight = this.#flights.get(`${folder}:${origin}`);
    if (!flight) return this.#begin(folder, origin, options);
    if (options.urgent && !flight.urgent) {
      flight.urgent = true;
      this.#parts.committer.flush();
    }
    return flight.done;
  }

  /** Lists the folder as it is from now on: after the listing that is under way. */
  async listAgain(folder: number, origin: number, options: SyncOptions): Promise<SyncOutcome> {
    const flight = this.#flights.get(`${folder}:${origin}`);
    if (flight) await flight.done.catch(() => {/* Told to those who asked for it. */});
    return await this.list(folder, origin, options);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    const flights = [...this.#flights.values()];
    for (const { controller } of flights) {
      controller.abort(unavailable("Cannot list: musicfs is stopping", "library"));
    }
    this.#parts.committer.flush();
    await Promise.allSettled(flights.map((flight) => flight.done));
  }

  #begin(folder: number, origin: number, options: SyncOptions): Promise<SyncOutcome> {
    if (this.#stopped) {
      return Promise.reject(unavailable("Cannot list: musicfs is stopping", "library"));
    }
    const key = `${folder}:${origin}`;
    const controller = new AbortController();
    const flight: Flight = {
      done: Promise.resolve({ folders: [], replaced: false }),
      controller,
      urgent: options.urgent,
    };
    this.#flights.set(key, flight);
    flight.done = this.#run(folder, origin, { flight, options }).finally(() => {
      this.#flights.delete(key);
    });
    flight.done.catch(() => {/* Those who asked for it may have left. */});
    return flight.done;
  }

  async #run(
    folder: number,
    origin: number,
    { flight, options }: { flight: Flight; options: SyncOptions },
  ): Promise<SyncOutcome> {
    const work = async (): Promise<Listed> => {
      flight.controller.signal.throwIfAborted();
      options.onStart?.();
      return await this.#listAndCompare(folder, origin, { flight, options });
    };
    let listed: Listed;
    try {
      listed = options.limiter ? await options.limiter.run(work) : await work();
    } finally {
      options.onListed?.();
    }
    return await this.#apply(listed, flight);
  }

  async #listAndCompare(
    folder: number,
    origin: number,
    { flight, options }: { flight: Flight; options: SyncOptions },
  ): Promise<Listed> {
    const { namespace, origins, hidden, log } = this.#parts;
    const source = origins.get(origin);
    if (!source) throw unavailable(`Cannot list: origin ${origin} is not configured`, "library");
    const path = namespace.pathOf(folder);
    const listing = new Listing(path, hidden);
    const ended = this.#limitTime(flight.controller, path);
    let self: OriginEntry | undefined;
    try {
      const { signal } = flight.controller;
      if (options.refreshFolder || path === "") self = await source.stat(path, { signal });
      for await (const entry of source.list(path, { signal })) listing.add(entry);
    } finally {
      ended();
    }
    if (listing.refused > 0) {
      log.warning("Refused names that an origin listed", {
        origin: source.name,
        folder: path,
        names: listing.refused,
        first: JSON.stringify(listing.firstRefused),
      });
    }
    const { files, folders } = listing;
    const delta = await this.#compare(folder, origin, listing);
    return { folder, origin, self, files, folders, delta };
  }

  async #compare(folder: number, origin: number, listing: Listing): Promise<FolderDelta> {
    const { namespace } = this.#parts;
    const detector = new DeltaDetector(listing);
    let after = 0;
    for (let more = true; more;) {
      more = false;
      let compared = 0;
      for (const { id, name, kind, sources } of namespace.children(folder, after)) {
        after = id;
        compared += 1;
        const source = sources.find((source) => source.origin === origin);
        if (source) detector.compare({ id, name, source, hidden: kind !== source.kind });
        if (compared >= COMPARED_MAX) {
          more = true;
          break;
        }
      }
      if (more) await nextTurn();
    }
    return detector.finish();
  }

  /** Ends the listing when it takes too long; call what it returns when it has ended. */
  #limitTime(controller: AbortController, path: string): () => void {
    const timer = new AbortController();
    this.#parts.clock.sleep(LISTING_MS_MAX, timer.signal).then(
      () => {
        const message = `Cannot list "${path}": no end after ${LISTING_MS_MAX / 1000} s`;
        controller.abort(
          new MusicfsError("timed_out", message, { op: "library.list", subject: path }),
        );
      },
      () => {/* The listing ended in time. */},
    );
    return () => timer.abort(LISTING_ENDED);
  }

  /** Commits what differs, in pieces; the folder counts as listed with the last of them. */
  async #apply(listed: Listed, flight: Flight): Promise<SyncOutcome> {
    const { committer, removal } = this.#parts;
    const { folder, origin, delta } = listed;
    const folders = [...delta.folders];
    const quiet = this.#isFirst(folder);
    const changes = [...delta.added, ...delta.modified.map(({ entry }) => entry)];
    const missing = [...delta.missing];
    for (const { id, entry } of delta.replaced) {
      if (this.#mayReplace(id, entry)) changes.push(entry);
      else missing.push(id);
    }
    await this.#clearWay(changes, listed);
    const scan = this.#parts.scanOf(origin);
    let start = 0;
    for (; changes.length - start > COMMIT_CHANGES_MAX; start += COMMIT_CHANGES_MAX) {
      const slice = changes.slice(start, start + COMMIT_CHANGES_MAX);
      const found: number[] = [];
      await committer.commit((edit) => {
        found.length = 0;
        for (const entry of slice) this.#upsert(edit, entry, { listed, quiet, scan, found });
      }, { weight: slice.length, urgent: flight.urgent });
      folders.push(...found);
      await nextTurn();
    }
    const rest = changes.slice(start);
    const found: number[] = [];
    await committer.commit((edit) => {
      found.length = 0;
      for (const entry of rest) this.#upsert(edit, entry, { listed, quiet, scan, found });
      if (scan !== undefined) removal.miss(edit, { origin, ids: missing, scan });
      this.#markListed(edit, { listed, scan });
    }, { weight: rest.length + missing.length + 1, urgent: flight.urgent || start > 0 });
    failpoint("scan.after_folder_commit");
    folders.push(...found);
    if (scan === undefined && missing.length > 0) await removal.removeGuarded(origin, missing);
    return { folders, replaced: missing.length > delta.missing.length };
  }

  /** Whether nobody can have seen the folder's names yet, so that nobody need be told of them. */
  #isFirst(folder: number): boolean {
    const { namespace } = this.#parts;
    const entry = namespace.entry(folder);
    if (entry === undefined || entry.sources.some((source) => source.listed)) return false;
    return !namespace.hasChildren(folder);
  }

  /** A folder with something in it does not become something else before a scan agrees. */
  #mayReplace(id: number, entry: OriginEntry): boolean {
    const { namespace } = this.#parts;
    return entry.kind === "folder" || !namespace.hasChildren(id);
  }

  /** Empties folders of other origins that a file or link of this one is about to hide. */
  async #clearWay(changes: readonly OriginEntry[], { folder, origin }: Listed): Promise<void> {
    const { namespace, rankOf, removal } = this.#parts;
    for (const { path, kind } of changes) {
      if (kind === "folder") continue;
      const child = namespace.child(folder, nameOf(path));
      if (child?.kind !== "folder") continue;
      const [first] = child.sources;
      if (first && rankOf(first.origin) < rankOf(origin)) continue;
      for (const other of child.sources) {
        if (other.origin !== origin) await removal.empty(child.id, other.origin);
      }
    }
  }

  #upsert(
    edit: NamespaceEdit,
    listed: OriginEntry,
    options: { listed: Listed; quiet: boolean; scan: number | undefined; found: number[] },
  ): void {
    const { folder, origin } = options.listed;
    if (edit.namespace.entry(folder)?.kind !== "folder") return;
    const name = nameOf(listed.path);
    const old = edit.namespace.child(folder, name);
    const before = old?.sources.find((source) => source.origin === origin);
    const source = sourceOf(origin, listed, before);
    let result: string;
    if (old) {
      edit.found(origin, old.id);
      const others = old.sources.filter((source) => source.origin !== origin);
      result = edit.setSources(old, inOrder([...others, source], this.#parts.rankOf));
    } else {
      edit.insert(folder, name, { sources: [source], quiet: options.quiet });
      result = "added";
    }
    if (listed.kind === "folder") {
      const now = edit.namespace.child(folder, name);
      if (now?.kind === "folder") options.found.push(now.id);
    } else if (listed.kind === "file" && options.scan !== undefined) {
      const { counts } = edit.origin(origin);
      if (result === "added") counts.added += 1;
      if (result === "changed") counts.changed += 1;
    }
  }

  #markListed(
    edit: NamespaceEdit,
    { listed, scan }: { listed: Listed; scan: number | undefined },
  ): void {
    const { folder, origin, self } = listed;
    const entry = edit.namespace.entry(folder);
    const source = entry?.sources.find((source) => source.origin === origin);
    if (entry?.kind !== "folder" || source?.kind !== "folder") return;
    if (scan !== undefined && source.lastScan !== scan) {
      const state = edit.origin(origin);
      state.counts.files += listed.files;
      state.counts.folders += listed.folders;
      state.lastCommitMs = this.#parts.clock.now();
    }
    source.listed = true;
    source.lastScan = scan ?? source.lastScan;
    if (self?.kind === "folder") source.mtimeNs = self.mtimeNs;
    edit.setSources(entry, entry.sources);
  }
}

/** A complete listing of one folder, and how it differs from what was known. */
interface Listed {
  folder: number;
  origin: number;
  /** The folder itself, if the origin was asked. */
  self: OriginEntry | undefined;
  /** Files and folders that the listing holds. */
  files: number;
  folders: number;
  delta: FolderDelta;
}

/** What an origin says of a name, as a source of its entry. */
export function sourceOf(
  origin: number,
  { kind, size, mtimeNs, version, target }: OriginEntry,
  before: EntrySource | undefined,
): EntrySource {
  const folder = kind === "folder" && before?.kind === "folder" ? before : undefined;
  return {
    origin,
    kind,
    size,
    mtimeNs,
    version,
    target,
    listed: folder?.listed ?? false,
    lastScan: folder?.lastScan ?? 0,
  };
}

function unavailable(message: string, subject: string): MusicfsError {
  return new MusicfsError("unavailable", message, { op: "library.list", subject });
}
