import type { Clock } from "../base/clock.ts";
import type { Limiter } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Origin, OriginEntry } from "../origins/origin.ts";
import { DeltaDetector, type FolderDelta, Listing } from "./delta_detector.ts";
import { decodeEntry } from "./entry_record.ts";
import {
  FolderCommit,
  type FolderCommitParts,
  type Listed,
  type SyncOutcome,
} from "./folder_commit.ts";
import { nextTurn } from "./next_turn.ts";
import type { Round } from "./round.ts";

/** Longest time one listing may take, in ms; a bucket of a million keys takes minutes. */
const LISTING_MS_MAX = 3_600_000;

/** Known children that are compared before the event loop gets its turn. */
const COMPARED_MAX = 5_000;

const LISTING_ENDED = Symbol("listing ended");
const PROMOTED = Symbol("somebody waits for it now");

/** What bringing a folder up to date needs. */
export interface FolderSyncParts extends FolderCommitParts {
  origins: ReadonlyMap<number, Origin>;
  /** Names that are left out. */
  hidden: ReadonlySet<string>;
  /**
   * Whether changes in a folder of an origin, by name, are told of from this listing on, and were
   * not before: what its parent's listing said of it may be old. Default: no.
   */
  isWatchedAnew?: ((origin: string, folder: string) => boolean) | undefined;
  clock: Clock;
  log: Log;
}

/** How a folder is brought up to date. */
export interface SyncOptions {
  /** Whether somebody waits for it: it is then asked for at once, and committed at once. */
  urgent: boolean;
  /** Asks for the folder's own time, too: not needed where its parent was listed just now. */
  refreshFolder?: boolean;
  /** What this listing finds is settled with the others of the round, also beside a scan. */
  round?: Round;
  /** Bounds the listings of a scan. */
  limiter?: Limiter;
  /** Called when the origin is about to be asked; what it throws ends the listing. */
  onStart?: () => void;
  /** Called when the origin has answered, or failed to. */
  onListed?: () => void;
}

/** One listing under way. */
interface Flight {
  done: Promise<SyncOutcome>;
  controller: AbortController;
  /** Aborted when somebody begins to wait for a listing of a scan. */
  promotion: AbortController;
}

/**
 * Lists one folder of one origin and brings the names in line with it.
 *
 * One listing of a folder at an origin is under way at a time; it goes on when those who asked for
 * it have left. A listing that fails changes nothing. One that a reader waits for is never behind
 * those of a scan, also if it began as one of them.
 */
export class FolderSync {
  readonly #parts: FolderSyncParts;
  readonly #commit: FolderCommit;
  readonly #flights = new Map<string, Flight>();
  #stopped = false;

  constructor(parts: FolderSyncParts) {
    this.#parts = parts;
    this.#commit = new FolderCommit(parts);
  }

  /** Whether the folder is being listed, or waits for its turn. */
  isUnderWay(folder: number, origin: number): boolean {
    return this.#flights.has(`${folder}:${origin}`);
  }

  /** Joins the listing that is under way, or begins one. */
  list(folder: number, origin: number, options: SyncOptions): Promise<SyncOutcome> {
    const flight = this.#flights.get(`${folder}:${origin}`);
    if (!flight) return this.#begin(folder, origin, options);
    if (options.urgent && !flight.promotion.signal.aborted) {
      flight.promotion.abort(PROMOTED);
      this.#parts.committer.flushSoon();
    }
    return flight.done;
  }

  /** Lists the folder as it is from now on: after the listing that is under way. */
  async listAgain(folder: number, origin: number, options: SyncOptions): Promise<SyncOutcome> {
    await this.#ended(folder, origin);
    if (options.refreshFolder) {
      // What that has seen of this folder may be older, and must not be committed later.
      const parent = this.#parts.namespace.entry(folder)?.parent;
      if (parent !== undefined) await this.#ended(parent, origin);
    }
    return await this.list(folder, origin, options);
  }

  /**
   * Brings a folder in line with a listing that is complete already, after one that is under way;
   * undefined if `isDone` then says that there is nothing to do.
   *
   * Children from the id `firstNewId` on came later than the listing: they are not missing from it.
   */
  async take(
    folder: number,
    origin: number,
    { listing, firstNewId, isDone }: {
      listing: Listing;
      firstNewId: number;
      isDone: () => boolean;
    },
  ): Promise<SyncOutcome | undefined> {
    const key = `${folder}:${origin}`;
    for (let flight = this.#flights.get(key); flight; flight = this.#flights.get(key)) {
      await flight.done.catch(() => {/* Told to those who asked for it. */});
    }
    if (this.#stopped) throw unavailable("Cannot list: musicfs is stopping", "library");
    if (isDone()) return undefined;
    const promotion = new AbortController();
    const work = async (): Promise<SyncOutcome> => {
      this.#tellRefused(this.#parts.namespace.pathOf(folder), origin, listing);
      const delta = await this.#compare(folder, origin, listing);
      delta.missing = delta.missing.filter((id) => id < firstNewId);
      const listed = { folder, origin, self: undefined, listing, delta };
      return await this.#commit.apply(listed, { isUrgent: () => promotion.signal.aborted });
    };
    const done = work().finally(() => this.#flights.delete(key));
    this.#flights.set(key, { done, controller: new AbortController(), promotion });
    return await done;
  }

  /** Waits for the listing that is under way, if there is one. */
  async #ended(folder: number, origin: number): Promise<void> {
    const flight = this.#flights.get(`${folder}:${origin}`);
    if (flight) await flight.done.catch(() => {/* Told to those who asked for it. */});
  }

  /** As `FolderCommit.leave`. */
  async leave(
    folder: number,
    origin: number,
    counts: { files: number; folders: number },
  ): Promise<void> {
    await this.#commit.leave(folder, origin, counts);
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
    const promotion = new AbortController();
    if (options.urgent) promotion.abort(PROMOTED);
    const flight: Flight = {
      done: Promise.resolve({ folders: [], replaced: false, added: 0, missing: 0 }),
      controller: new AbortController(),
      promotion,
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
    const { promotion, controller } = flight;
    const isUrgent = (): boolean => promotion.signal.aborted;
    const work = async (): Promise<Listed> => {
      controller.signal.throwIfAborted();
      if (!isUrgent()) options.onStart?.();
      const isBackground = !isUrgent();
      return await this.#listAndCompare(folder, origin, { controller, options, isBackground });
    };
    let listed: Listed;
    try {
      listed = await inTurn(work, { limiter: options.limiter, promoted: promotion.signal });
    } finally {
      options.onListed?.();
    }
    return await this.#commit.apply(listed, { isUrgent, round: options.round });
  }

  async #listAndCompare(
    folder: number,
    origin: number,
    { controller, options, isBackground }: {
      controller: AbortController;
      options: SyncOptions;
      isBackground: boolean;
    },
  ): Promise<Listed> {
    const { namespace, origins, hidden } = this.#parts;
    const source = origins.get(origin);
    if (!source) throw unavailable(`Cannot list: origin ${origin} is not configured`, "library");
    const path = namespace.pathOf(folder);
    const listing = new Listing(path, hidden);
    const ended = this.#limitTime(controller, path);
    let self: OriginEntry | undefined;
    try {
      const call = { signal: controller.signal, isBackground };
      // Side by side: at a remote origin each costs a round trip.
      const isAnew = this.#parts.isWatchedAnew?.(source.name, path) ?? false;
      const wantsSelf = options.refreshFolder || isAnew || path === "";
      const asked = wantsSelf ? source.stat(path, call) : Promise.resolve(undefined);
      asked.catch(() => {/* Awaited below, if the listing does not fail first. */});
      for await (const entry of source.list(path, call)) listing.add(entry);
      self = await asked;
    } finally {
      ended();
    }
    this.#tellRefused(path, origin, listing);
    const delta = await this.#compare(folder, origin, listing);
    return { folder, origin, self, listing, delta };
  }

  #tellRefused(folder: string, origin: number, { refused, firstRefused }: Listing): void {
    if (refused === 0) return;
    const { log, origins } = this.#parts;
    log.warning("Refused names that an origin listed", {
      origin: origins.get(origin)?.name,
      folder,
      names: refused,
      first: JSON.stringify(firstRefused),
    });
  }

  async #compare(folder: number, origin: number, listing: Listing): Promise<FolderDelta> {
    const { namespace } = this.#parts;
    const detector = new DeltaDetector(listing);
    let after = 0;
    for (let more = true; more;) {
      more = false;
      let compared = 0;
      for (const { id, record } of namespace.childRecords(folder, after)) {
        after = id;
        compared += 1;
        if (!detector.takeUnchanged(id, record, origin)) {
          const { name, kind, sources } = decodeEntry(id, record);
          const source = sources.find((source) => source.origin === origin);
          if (source) detector.compare({ id, name, source, hidden: kind !== source.kind });
        }
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
}

/** Runs `work` when the limiter has a place for it, or as soon as somebody waits for it. */
async function inTurn<T>(
  work: () => Promise<T>,
  { limiter, promoted }: { limiter: Limiter | undefined; promoted: AbortSignal },
): Promise<T> {
  if (limiter === undefined || promoted.aborted) return await work();
  let isStarted = false;
  const start = (): Promise<T> => {
    isStarted = true;
    return work();
  };
  try {
    return await limiter.run(start, promoted);
  } catch (error) {
    if (isStarted || error !== PROMOTED) throw error;
    return await work();
  }
}

function unavailable(message: string, subject: string): MusicfsError {
  return new MusicfsError("unavailable", message, { op: "library.list", subject });
}
