import type { Clock } from "../base/clock.ts";
import { Limiter, orAborted } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { SCAN_FOLDERS_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Origin } from "../origins/origin.ts";
import type { Index } from "../store/index.ts";
import type { Committer } from "./committer.ts";
import type { SyncOutcome } from "./folder_commit.ts";
import type { FolderSync } from "./folder_sync.ts";
import { noCounts, readCounters, readOriginState, type ScanCounts } from "./library_meta.ts";
import type { Moves } from "./moves.ts";
import type { Namespace } from "./namespace.ts";
import { nextTurn } from "./next_turn.ts";
import { ROOT_ID } from "./node_id.ts";
import type { Removal } from "./removal.ts";
import { type Held, ScanEnd } from "./scan_end.ts";
import { TreeScan } from "./tree_scan.ts";
import type { UnchangedFolders } from "./unchanged_folders.ts";

/** Folders of one scan that are listed or wait to be committed. */
const FOLDERS_UNDER_WAY_MAX = 256;

/** Failures in a row after which the origin is taken to be down, and the scan ends. */
const FAILURES_MAX = 10;

/** Errors that a report names; the others are only counted by `healthy`. */
const ERRORS_MAX = 100;

/** A scan that has stood still for longer is begun anew: what it has seen may have changed. */
const RESUME_MS_MAX = 5 * 60_000;

/** Least time between two reports of progress, in ms. */
const PROGRESS_MS_MIN = 100;

/** Folders taken from the front of the queue before its memory is given back. */
const QUEUE_TRIM = 10_000;

/** How far a scan of one origin has come. */
export interface ScanProgress extends ScanCounts {
  origin: string;
}

/** How an origin is scanned. */
export interface OriginScanOptions {
  /** The user has said that what is gone may go, all of it if need be. */
  acceptDeletions: boolean;
  /** Go on with a scan that was interrupted a short while ago. */
  resume: boolean;
  /** Leave folders alone whose time is what it was at their last listing, not long ago. */
  skipUnchanged: boolean;
  signal: AbortSignal;
  onProgress?: (progress: ScanProgress) => void;
}

/** What the scan of one origin found. */
export interface OriginScanReport extends ScanCounts {
  origin: string;
  /** Deletions that were not believed. */
  held?: Held;
  /** Whether an interrupted scan was gone on with. */
  resumed: boolean;
  errors: Error[];
}

/** What a scan needs of the library. */
export interface OriginScanParts {
  index: Index;
  namespace: Namespace;
  committer: Committer;
  sync: FolderSync;
  removal: Removal;
  moves: Moves;
  /** The origin itself, and names that are left out. */
  source: Origin;
  hidden: ReadonlySet<string>;
  unchanged: UnchangedFolders;
  log: Log;
  /** Whether the origin is not known to be down. */
  isUp: () => boolean;
  clock: Clock;
}

/**
 * One walk over one origin, folder by folder from the root, breadth first; where the origin can list
 * all that it has at once, that comes first, and only what it left open is walked.
 *
 * Each folder's changes are committed with the mark that this scan has listed it, so that an
 * interrupted scan goes on where it stopped. Only the ids of folders that are yet to be listed are
 * in memory: 8 bytes each. What is missing stays until the end, and goes only if every folder
 * answered and the deletion guard agrees.
 */
export class OriginScan {
  readonly #parts: OriginScanParts;
  readonly #origin: { number: number; name: string };
  readonly #options: OriginScanOptions;
  readonly #limiter = new Limiter(SCAN_FOLDERS_MAX);
  readonly #errors: Error[] = [];
  /** Folders whose parent was not listed, so that their own times are not known. */
  readonly #notAsked = new Set<number>();
  /** Folders whose times tell nothing, because their parent's names changed. */
  readonly #mustList = new Set<number>();
  /** Folders in which a folder's name now stands for something else. */
  readonly #replacedIn = new Set<number>();
  #queue: number[] = [ROOT_ID];
  #head = 0;
  #listing = 0;
  #failuresInRow = 0;
  #healthy = true;
  #wasUp = false;
  #resumed = false;
  #lastProgressMs = -Infinity;
  /** Workers with nothing to do, and the number of those that have a folder. */
  #waiting: PromiseWithResolvers<void>[] = [];
  #working = 0;
  #flushed: Promise<void> = Promise.resolve();
  /** The scan's number at this origin; 0 before it began. */
  number = 0;

  constructor(
    parts: OriginScanParts,
    origin: { number: number; name: string },
    options: OriginScanOptions,
  ) {
    this.#parts = parts;
    this.#origin = origin;
    this.#options = options;
  }

  /** Takes the scan's number, or that of the one it goes on with. */
  async begin(): Promise<void> {
    const { clock, committer, removal } = this.#parts;
    const { number } = this.#origin;
    await committer.commit((edit) => {
      const state = edit.origin(number);
      const idleMs = clock.now() - state.lastCommitMs;
      this.#resumed = this.#options.resume && state.running && Math.abs(idleMs) < RESUME_MS_MAX;
      state.lastCommitMs = clock.now();
      if (this.#resumed) {
        this.number = state.scan;
        return;
      }
      // What a scan that never ended missed was not confirmed by anything.
      if (state.running) {
        removal.forget(number, removal.missed(number).filter(({ first }) => first === state.scan));
      }
      state.scan += 1;
      state.running = true;
      state.filesBefore = state.files;
      state.counts = noCounts();
      this.number = state.scan;
    }, { weight: 1, urgent: true });
    failpoint("scan.after_begin");
  }

  /**
   * Walks the origin, then removes what is gone.
   *
   * Throws the signal's reason; the next scan then goes on from there. An origin that cannot be
   * listed is among the report's errors.
   */
  async run(): Promise<OriginScanReport> {
    await this.#goThroughTree();
    const workers = Array.from({ length: FOLDERS_UNDER_WAY_MAX }, () => this.#work());
    await Promise.all(workers);
    await this.#flushed;
    this.#options.signal.throwIfAborted();
    const held = await this.#settleMissing();
    const end = { scan: this.number, isComplete: this.#healthy };
    await this.#parts.moves.endScan(this.#origin.number, end);
    failpoint("scan.before_end");
    await this.#parts.committer.commit((edit) => {
      const state = edit.origin(this.#origin.number);
      state.running = false;
      if (!this.#healthy) return;
      state.wasScanned = true;
      if (held) state.heldOf = held.of;
      else delete state.heldOf;
    }, { weight: 1, urgent: true });
    this.#report(true);
    return {
      ...this.#counts(),
      ...(held && { held }),
      origin: this.#origin.name,
      resumed: this.#resumed,
      errors: this.#errors,
    };
  }

  /** Has the walk begin where one listing of everything ended, if the origin can give one. */
  async #goThroughTree(): Promise<void> {
    const { committer, index, namespace, source, sync, hidden } = this.#parts;
    const listTree = source.listTree?.bind(source);
    if (!listTree) return;
    const { signal } = this.#options;
    const tree = new TreeScan({
      ...{ committer, namespace, sync, hidden, origin: this.#origin.number },
      firstNewId: readCounters(index).nextId,
      page: async (cursor) => {
        if (this.#isOver() || this.#isDown()) throw this.#givenUp();
        return await orAborted(listTree(cursor, { signal, isBackground: true }), signal);
      },
      isListed: (folder) => this.#isListed(folder),
      onListed: (folder, outcome) => {
        if (outcome.replaced) this.#replacedIn.add(folder);
        this.#report(false);
      },
    });
    try {
      this.#queue = await tree.run();
    } catch (error) {
      if (signal.aborted) return;
      // It cannot after all: the walk begins at the root.
      if (error instanceof MusicfsError && error.code === "invalid") return;
      this.#queue = [];
      await this.#failed(ROOT_ID, error);
    }
  }

  /** Takes folders from the queue until it is empty and nobody can add to it any more. */
  async #work(): Promise<void> {
    while (!this.#isOver()) {
      const folder = this.#next();
      if (folder === undefined) {
        if (this.#working === 0) break;
        const turn = Promise.withResolvers<void>();
        this.#waiting.push(turn);
        await turn.promise;
        continue;
      }
      this.#working += 1;
      try {
        const folders = await this.#visit(folder);
        for (const id of folders) this.#queue.push(id);
      } finally {
        this.#working -= 1;
        this.#wake();
      }
    }
    this.#wake();
  }

  #isOver(): boolean {
    if (this.#options.signal.aborted || this.#failuresInRow >= FAILURES_MAX) return true;
    return this.#failuresInRow > 0 && this.#isDown();
  }

  /** Whether the origin went down under the scan: one said to be down before may just be back. */
  #isDown(): boolean {
    const isUp = this.#parts.isUp();
    this.#wasUp ||= isUp;
    return !isUp && (this.#wasUp || this.#failuresInRow > 0);
  }

  #next(): number | undefined {
    const folder = this.#queue[this.#head];
    if (folder === undefined) return undefined;
    this.#head += 1;
    if (this.#head >= QUEUE_TRIM) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    return folder;
  }

  #wake(): void {
    const left = this.#queue.length - this.#head;
    const all = this.#working === 0 || this.#isOver();
    const wake = this.#waiting.splice(0, all ? this.#waiting.length : left);
    for (const turn of wake) turn.resolve();
  }

  /** Brings one folder up to date; the folders below it. */
  async #visit(folder: number): Promise<number[]> {
    try {
      if (this.#isListed(folder)) return await this.#knownFolders(folder);
      const timed = this.#options.skipUnchanged ? await this.#timeOf(folder) : undefined;
      if (timed && this.#mayLeave(folder, timed.mtimeNs)) return await this.#leave(folder);
      const outcome = await this.#list(folder, { refreshFolder: timed?.isNew ?? false });
      this.#failuresInRow = 0;
      if (timed) this.#noteTime(folder, timed.mtimeNs, outcome);
      if (outcome.replaced) this.#replacedIn.add(folder);
      this.#report(false);
      return outcome.folders;
    } catch (error) {
      if (this.#isOver()) return [];
      await this.#failed(folder, error);
      return [];
    }
  }

  /** The folder's time now, which its parent's listing told, or the origin; undefined if neither. */
  async #timeOf(folder: number): Promise<{ mtimeNs: bigint; isNew: boolean } | undefined> {
    const { namespace, source, unchanged } = this.#parts;
    const { number } = this.#origin;
    const entry = namespace.entry(folder);
    const known = entry?.sources.find(({ origin }) => origin === number)?.mtimeNs;
    if (known === undefined || !unchanged.isTrusted(number)) return undefined;
    if (folder !== ROOT_ID && !this.#notAsked.has(folder)) return { mtimeNs: known, isNew: false };
    const { signal } = this.#options;
    const path = namespace.pathOf(folder);
    const answered = this.#asking();
    try {
      const { kind, mtimeNs } = await source.stat(path, { signal, isBackground: true });
      return kind === "folder" ? { mtimeNs, isNew: mtimeNs !== known } : undefined;
    } catch (error) {
      // Its listing tells why, too.
      if (error instanceof MusicfsError) return undefined;
      throw error;
    } finally {
      answered();
    }
  }

  #mayLeave(folder: number, mtimeNs: bigint): boolean {
    if (this.#mustList.has(folder)) return false;
    return this.#parts.unchanged.isUnchanged(this.#origin.number, folder, mtimeNs);
  }

  /** Leaves a folder as it is known; the folders below it. */
  async #leave(folder: number): Promise<number[]> {
    const answered = this.#asking();
    const { folders, files } = await this.#knownNames(folder);
    const counts = { files, folders: folders.length };
    const left = this.#parts.sync.leave(folder, this.#origin.number, counts);
    answered();
    await left;
    for (const id of folders) this.#notAsked.add(id);
    this.#failuresInRow = 0;
    this.#report(false);
    return folders;
  }

  #noteTime(folder: number, mtimeNs: bigint, { added, missing, folders }: SyncOutcome): void {
    const { unchanged, log } = this.#parts;
    const { name, number } = this.#origin;
    // A folder may have taken another's place, with its time.
    if (!unchanged.hasSameTime(number, folder, mtimeNs)) {
      for (const id of folders) this.#mustList.add(id);
    }
    if (unchanged.note(number, folder, { mtimeNs, added, missing })) return;
    log.warning("An origin's folders keep their times when names change; each scan lists all", {
      origin: name,
      folder: this.#parts.namespace.pathOf(folder),
    });
  }

  async #list(
    folder: number,
    { refreshFolder = false }: { refreshFolder?: boolean } = {},
  ): Promise<SyncOutcome> {
    const { sync } = this.#parts;
    const { number } = this.#origin;
    const onListed = this.#asking();
    const { signal } = this.#options;
    const onStart = (): void => {
      if (this.#isOver() || this.#isDown()) throw this.#givenUp();
    };
    const options = { urgent: false, limiter: this.#limiter, onStart, onListed, refreshFolder };
    try {
      const outcome = await orAborted(sync.list(folder, number, options), signal);
      if (this.#isListed(folder)) return outcome;
      // It was somebody else's listing, from before this scan began.
      const again = sync.listAgain(folder, number, { urgent: true });
      return await orAborted(again, signal);
    } finally {
      onListed();
    }
  }

  /** The origin is being asked until the result is called. */
  #asking(): () => void {
    this.#listing += 1;
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      this.#listing -= 1;
      // Nothing is on its way any more: what was listed need not wait for company.
      if (this.#listing === 0) this.#flushed = this.#flushNext();
    };
  }

  #givenUp(): MusicfsError {
    const { name } = this.#origin;
    const why = this.#isDown() ? "it went down" : "its scan has ended";
    return new MusicfsError("unavailable", `Cannot list more of ${name}: ${why}`, {
      op: "scan.list",
      subject: name,
    });
  }

  async #flushNext(): Promise<void> {
    await Promise.all([this.#flushed, nextTurn()]);
    this.#parts.committer.flush();
  }

  #isListed(folder: number): boolean {
    const entry = this.#parts.namespace.entry(folder);
    const source = entry?.sources.find(({ origin }) => origin === this.#origin.number);
    return source?.kind === "folder" && source.listed && source.lastScan === this.number;
  }

  /** The folders below one that this scan has listed before it was interrupted. */
  async #knownFolders(folder: number): Promise<number[]> {
    return (await this.#knownNames(folder)).folders;
  }

  /** What this origin is known to have in a folder: its folders, and the number of its files. */
  async #knownNames(folder: number): Promise<{ folders: number[]; files: number }> {
    const { namespace } = this.#parts;
    const known = { folders: [] as number[], files: 0 };
    let after = 0;
    for (let read = 5_000; read === 5_000;) {
      read = 0;
      for (const { id, kind, sources } of namespace.children(folder, after)) {
        after = id;
        read += 1;
        const source = sources.find(({ origin }) => origin === this.#origin.number);
        if (source?.kind === "file") known.files += 1;
        if (kind === "folder" && source?.kind === "folder") known.folders.push(id);
        if (read === 5_000) break;
      }
      if (read === 5_000) await nextTurn();
    }
    return known;
  }

  /** A folder that vanished is missing; one that may not be read is left as it is. */
  async #failed(folder: number, error: unknown): Promise<void> {
    const { committer, namespace, removal } = this.#parts;
    const code = error instanceof MusicfsError ? error.code : undefined;
    if (!namespace.entry(folder)) return;
    if (code === "not_found" && folder !== ROOT_ID) {
      await committer.commit((edit) => {
        removal.miss(edit, { origin: this.#origin.number, ids: [folder], scan: this.number });
      }, { weight: 1, urgent: true });
      return;
    }
    if (this.#errors.length < ERRORS_MAX) {
      this.#errors.push(error instanceof Error ? error : new Error(String(error)));
    }
    if (folder !== ROOT_ID && (code === "denied" || code === "invalid")) return;
    this.#healthy = false;
    this.#failuresInRow += 1;
  }

  /** Brings to its end what the scan has missed; what was held. */
  async #settleMissing(): Promise<Held | undefined> {
    const { acceptDeletions: accepted, signal } = this.#options;
    const { number: origin } = this.#origin;
    const end = new ScanEnd(this.#parts, { origin, scan: this.number, accepted, signal });
    if (this.#healthy && end.anyMissed()) await this.#listRootAgain();
    if (!this.#healthy) return await end.leaveMissing();
    const held = await end.removeMissing();
    if (held) return held;
    for (const folder of this.#replacedIn) {
      await this.#parts.sync.listAgain(folder, origin, { urgent: true });
    }
    return undefined;
  }

  /**
   * An origin that was emptied, or whose disk went, under the scan has most of its folders seen
   * before: what the rest then misses would be believed.
   */
  async #listRootAgain(): Promise<void> {
    const { number } = this.#origin;
    try {
      const listing = this.#parts.sync.listAgain(ROOT_ID, number, { urgent: true });
      await orAborted(listing, this.#options.signal);
    } catch (error) {
      this.#options.signal.throwIfAborted();
      await this.#failed(ROOT_ID, error);
    }
  }

  #counts(): ScanCounts {
    return readOriginState(this.#parts.index, this.#origin.number).counts;
  }

  #report(always: boolean): void {
    const { onProgress } = this.#options;
    const now = this.#parts.clock.monotonic();
    if (!onProgress || (!always && now - this.#lastProgressMs < PROGRESS_MS_MIN)) return;
    this.#lastProgressMs = now;
    onProgress({ origin: this.#origin.name, ...this.#counts() });
  }
}
