import type { Clock } from "../base/clock.ts";
import { Limiter, orAborted } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import { SCAN_FOLDERS_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Origin } from "../origins/origin.ts";
import type { Committer } from "./committer.ts";
import type { Entry, EntrySource } from "./entry.ts";
import { foldersOf, inOrder } from "./federation.ts";
import { sourceOf } from "./folder_commit.ts";
import type { FolderSync } from "./folder_sync.ts";
import type { Namespace } from "./namespace.ts";
import { ROOT_ID } from "./node_id.ts";
import type { YoungFiles } from "./young_files.ts";

/** Longest wait for a folder of which nothing is known, in ms. A spun-down disk takes about 8 s. */
const LIST_MS_MAX = 20_000;

/** Longest wait for more of a folder of which something is known, in ms. */
const LIST_MORE_MS_MAX = 1_000;

/** The same, of a folder that was rebuilt from cached tracks and that nobody has listed, in ms. */
const LIST_REBUILT_MS_MAX = 5_000;

/** The same, if all that is waited for were late a short while ago, in ms. */
const LIST_LATE_MS_MAX = 5;

/** After a failure, time in which a folder is shown as it is known without asking again, in ms. */
const LIST_AGAIN_MS_MIN = 5_000;

/** Folders of one origin that are listed again as soon as it is back; a scan lists the others. */
const MISSED_MAX = 256;

/** What listings need of the library. */
export interface ListingsParts {
  namespace: Namespace;
  sync: FolderSync;
  committer: Committer;
  young: YoungFiles;
  origins: ReadonlyMap<number, Origin>;
  /** Lower is preferred. */
  rankOf: (origin: number) => number;
  /**
   * Resolves when published names have come to a folder, or it makes no sense to wait for them;
   * undefined if it makes none now.
   */
  adopted?: (origin: number, folder: number) => Promise<void> | undefined;
  /** False for an origin that is known to be down. */
  isUp: (origin: number) => boolean;
  clock: Clock;
  log: Log;
}

/** How waiting for listings ended. */
type Outcome = "late" | PromiseSettledResult<void>[];

/** A listing that is waited for. */
interface Attempt {
  origin: number;
  done: Promise<void>;
  isSettled: boolean;
}

/**
 * Listings and looks at single files that somebody waits for.
 *
 * An origin that is known to be down is not asked, one that fails or is late is not waited for
 * again and again: what the others have, or what is known, is shown.
 */
export class Listings {
  readonly #parts: ListingsParts;
  /** When an origin's listing last failed or was late, in monotonic ms. */
  readonly #failedMs = new Map<number, number>();
  readonly #lateMs = new Map<number, number>();
  /** Folders that were shown without an origin that has them, too. */
  readonly #missed = new Map<number, Set<number>>();
  readonly #limiter = new Limiter(SCAN_FOLDERS_MAX);

  constructor(parts: ListingsParts) {
    this.#parts = parts;
  }

  /** As `Library.ensureListed`. */
  async ensureListed(folderId: number, { signal }: { signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    const folder = this.#folder(folderId);
    if (folder.listed) return;
    const { clock, namespace } = this.#parts;
    const listed = folder.sources.some((source) => source.listed);
    const known = listed || namespace.hasChildren(folderId);
    const attempts = this.#attempts(folder, known);
    if (attempts.length === 0) {
      if (known) return;
      throw this.#down(folder);
    }
    const timer = new AbortController();
    const late = (ms: number): Promise<"late"> =>
      clock.sleep(ms, timer.signal).then(() => "late" as const, () => "late" as const);
    const wereLate = attempts.every(({ origin }) => this.#isRecent(this.#lateMs, origin));
    const moreMs = wereLate ? LIST_LATE_MS_MAX : LIST_MORE_MS_MAX;
    const limitMs = listed ? moreMs : known ? LIST_REBUILT_MS_MAX : LIST_MS_MAX;
    const waited = attempts.map(({ done }) => done);
    const all = Promise.allSettled(waited);
    // Any one that answers will do, but only if the others had some time, too.
    const others = Promise.any(waited).then(
      (): Promise<Outcome> => attempts.length === 1 ? all : late(this.#moreMs(attempts)),
      (): Promise<Outcome> => all,
    );
    try {
      const results = await orAborted(Promise.race([all, others, late(limitMs)]), signal);
      if (results === "late") this.#noteLate(folderId, attempts);
      if (known || this.#isListedSomewhere(folderId)) return;
      throw results === "late" ? this.#late(folderId) : firstError(results);
    } finally {
      timer.abort();
    }
  }

  /** As `Library.relist`. */
  async relist(folderId: number, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    const folder = this.#folder(folderId);
    const options = { urgent: true, refreshFolder: true };
    const attempts = foldersOf(folder.sources)
      .filter(({ origin }) => this.#canAsk(origin, folderId))
      .map(({ origin }) =>
        this.#noting(
          origin,
          folderId,
          () => this.#parts.sync.listAgain(folderId, origin, options),
        )
      );
    if (attempts.length === 0 && folder.sources.length > 0) throw this.#down(folder);
    const all = Promise.allSettled(attempts);
    const results = signal ? await orAborted(all, signal) : await all;
    if (results.length > 0 && results.every(({ status }) => status === "rejected")) {
      throw firstError(results);
    }
  }

  /** As `Library.refresh`. */
  async refresh(entryId: number, { signal }: { signal: AbortSignal }): Promise<void> {
    const { namespace, isUp } = this.#parts;
    const entry = namespace.entry(entryId);
    if (!entry) return;
    if (entry.kind === "folder") return await this.relist(entryId, { signal });
    const path = namespace.pathOf(entryId);
    const asked = entry.sources.filter(({ origin }) => isUp(origin));
    if (asked.length === 0) throw this.#down(entry);
    const attempts = asked.map(({ origin }) => this.#lookAgain(entry, { origin, path, signal }));
    const results = await Promise.allSettled(attempts);
    signal.throwIfAborted();
    if (results.every(({ status }) => status === "rejected")) throw firstError(results);
  }

  /** Lists, in the background, what was shown without the origin meanwhile. */
  originIsBack(origin: number): void {
    this.#failedMs.delete(origin);
    this.#lateMs.delete(origin);
    const missed = this.#missed.get(origin) ?? [];
    this.#missed.delete(origin);
    for (const folder of missed) {
      const source = this.#parts.namespace.entry(folder)?.sources.find((source) =>
        source.origin === origin
      );
      if (source?.kind !== "folder" || source.listed) continue;
      const options = { urgent: false, limiter: this.#limiter };
      this.#noting(origin, folder, () => this.#parts.sync.list(folder, origin, options))
        .catch(() => {/* Noted; a scan lists it. */});
    }
  }

  #folder(id: number): Entry {
    const entry = this.#parts.namespace.entry(id);
    const context = { op: "library.list", subject: String(id) };
    if (!entry) {
      throw new MusicfsError("not_found", `Cannot list folder ${id}: it is gone`, context);
    }
    if (entry.kind === "folder") return entry;
    throw new MusicfsError("invalid", `Cannot list ${entry.name}: it is not a folder`, context);
  }

  /** Begins to list the folder wherever it is not listed and an answer may be had. */
  #attempts({ id, sources }: Entry, known: boolean): Attempt[] {
    const attempts: Attempt[] = [];
    for (const { origin, listed } of foldersOf(sources)) {
      if (listed) continue;
      const adopted = this.#parts.adopted?.(origin, id);
      if (!adopted && !this.#canAsk(origin, id)) continue;
      if (!adopted && known && this.#isRecent(this.#failedMs, origin)) continue;
      const done = adopted
        ? this.#listUnlessAdopted(id, origin, adopted)
        : this.#noting(origin, id, () => this.#parts.sync.list(id, origin, { urgent: true }));
      const attempt: Attempt = { origin, done, isSettled: false };
      const settle = (): void => void (attempt.isSettled = true);
      done.then(settle, settle);
      attempts.push(attempt);
    }
    return attempts;
  }

  async #listUnlessAdopted(id: number, origin: number, adopted: Promise<void>): Promise<void> {
    await adopted;
    const folder = this.#parts.namespace.entry(id);
    const source = folder?.sources.find((source) => source.origin === origin);
    if (folder === undefined || source?.kind !== "folder" || source.listed) return;
    if (!this.#canAsk(origin, id)) throw this.#down(folder);
    await this.#noting(origin, id, () => this.#parts.sync.list(id, origin, { urgent: true }));
  }

  /** Whether the origin may be asked; else the folder is listed when it is back. */
  #canAsk(origin: number, folder: number): boolean {
    const { isUp, origins } = this.#parts;
    if (isUp(origin)) return true;
    if (origins.has(origin)) this.#miss(origin, folder);
    return false;
  }

  #miss(origin: number, folder: number): void {
    const missed = this.#missed.get(origin) ?? new Set();
    this.#missed.set(origin, missed);
    if (missed.size < MISSED_MAX) missed.add(folder);
  }

  /** How long those that have not answered are waited for, now that one has. */
  #moreMs(attempts: readonly Attempt[]): number {
    const open = attempts.filter(({ isSettled }) => !isSettled);
    const wereLate = open.every(({ origin }) => this.#isRecent(this.#lateMs, origin));
    return wereLate ? LIST_LATE_MS_MAX : LIST_MORE_MS_MAX;
  }

  #noteLate(folder: number, attempts: readonly Attempt[]): void {
    for (const { origin, isSettled } of attempts) {
      if (isSettled) continue;
      this.#lateMs.set(origin, this.#parts.clock.monotonic());
      this.#miss(origin, folder);
    }
  }

  #isRecent(times: ReadonlyMap<number, number>, origin: number): boolean {
    return this.#parts.clock.monotonic() - (times.get(origin) ?? -Infinity) < LIST_AGAIN_MS_MIN;
  }

  /** Remembers which origins fail, and looks at the parent of a folder that is not there. */
  async #noting(origin: number, folder: number, call: () => Promise<unknown>): Promise<void> {
    try {
      await call();
      this.#failedMs.delete(origin);
      this.#lateMs.delete(origin);
    } catch (error) {
      const { clock, log, origins } = this.#parts;
      log.warning("Cannot list a folder", { origin: origins.get(origin)?.name, error });
      if (error instanceof MusicfsError && error.retryable) {
        this.#failedMs.set(origin, clock.monotonic());
        this.#miss(origin, folder);
      } else if (isMissing(error)) await this.#lookAbove(folder, origin);
      throw error;
    }
  }

  /** A folder that its origin no longer has is removed by the listing of the one it was in. */
  async #lookAbove(folder: number, origin: number): Promise<void> {
    const { namespace, sync } = this.#parts;
    const entry = namespace.entry(folder);
    if (!entry || entry.id === ROOT_ID) return;
    try {
      await sync.listAgain(entry.parent, origin, { urgent: true });
    } catch (error) {
      if (isMissing(error)) return await this.#lookAbove(entry.parent, origin);
      throw error;
    }
  }

  async #lookAgain(
    entry: Entry,
    { origin: number, path, signal }: { origin: number; path: string; signal: AbortSignal },
  ): Promise<void> {
    const origin = this.#parts.origins.get(number);
    if (!origin) return;
    try {
      const now = await origin.stat(path, { signal });
      const source = entry.sources.find((source) => source.origin === number);
      if (now.kind === source?.kind) {
        this.#parts.young.note(number, now);
        return await this.#update(entry.id, sourceOf(number, now, source));
      }
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
    await this.#parts.sync.listAgain(entry.parent, number, { urgent: true });
  }

  async #update(id: number, source: EntrySource): Promise<void> {
    const { committer, rankOf } = this.#parts;
    await committer.commit((edit) => {
      const entry = edit.namespace.entry(id);
      if (!entry) return;
      const others = entry.sources.filter(({ origin }) => origin !== source.origin);
      if (others.length === entry.sources.length) return;
      edit.setSources(entry, inOrder([...others, source], rankOf));
    }, { weight: 1, urgent: true });
  }

  #isListedSomewhere(folderId: number): boolean {
    const entry = this.#parts.namespace.entry(folderId);
    return entry?.sources.some((source) => source.listed) ?? false;
  }

  #late(folderId: number): MusicfsError {
    const path = this.#parts.namespace.pathOf(folderId);
    const message = `Cannot list "${path}": no origin answered within ${LIST_MS_MAX / 1000} s`;
    return new MusicfsError("timed_out", message, { op: "library.list", subject: path });
  }

  #down({ id, sources }: Entry): MusicfsError {
    const { namespace } = this.#parts;
    const path = namespace.pathOf(id);
    const names = sources.map(({ origin }) => namespace.identityOf(origin)).join(", ");
    const message = `Cannot look at "${path}": nothing is known of it and every origin that has ` +
      `it is down (${names}). It is tried again when one of them is back`;
    return new MusicfsError("unavailable", message, { op: "library.list", subject: path });
  }
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
