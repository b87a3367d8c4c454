import type { Clock } from "../base/clock.ts";
import { orAborted } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import type { Log } from "../base/log.ts";
import type { Index } from "../store/index.ts";
import { COMMIT_CHANGES_MAX, type Committer } from "./committer.ts";
import type { FolderSync } from "./folder_sync.ts";
import { readOriginState } from "./library_meta.ts";
import type { Namespace } from "./namespace.ts";
import { nextTurn } from "./next_turn.ts";
import { ROOT_ID } from "./node_id.ts";
import { type PublishedEdit, PublishedFolders, type PublishedPiece } from "./published_folders.ts";
import type { FindPublished, PublishedNames } from "./published_names.ts";
import { sourceFrom } from "./source_edit.ts";

/**
 * How long readers and scans wait for published names, in ms; then they ask the origin themselves.
 * A session over a link of 300 ms takes 4 s to come about.
 */
export const ADOPT_WAIT_MS_MAX = 8_000;

/** Longest time published names may take to arrive, in ms: 1,000,000 names over 10 Mbit: 40 s. */
export const ADOPT_MS_MAX = 120_000;

/** Names in the first commit: readers wait for it. Each of the next has twice as many. */
const FIRST_CHANGES = 250;

/** What adopting needs of the library. */
export interface AdoptionParts {
  index: Index;
  namespace: Namespace;
  committer: Committer;
  sync: Pick<FolderSync, "isUnderWay">;
  /** Lower is preferred. */
  rankOf: (origin: number) => number;
  /** Names that are left out. */
  hidden: ReadonlySet<string>;
  clock: Clock;
  log: Log;
}

/**
 * Origins whose names are being taken from what somebody published of them.
 *
 * Only an origin of which nothing is known is asked, once. Each folder becomes visible with its
 * commit and counts as listed, marked as `isPublished` until the origin itself has listed it: what
 * a scan then misses there was never really there.
 */
export class Adoptions {
  readonly #parts: AdoptionParts;
  readonly #underWay = new Map<number, Adoption>();
  readonly #stopping = new AbortController();
  readonly #begun: Adoption[] = [];

  constructor(parts: AdoptionParts) {
    this.#parts = parts;
  }

  /** Names that were taken since the start. */
  get taken(): number {
    return this.#begun.reduce((sum, { taken }) => sum + taken, 0);
  }

  /** Begins with an origin of which nothing was ever listed, or goes on where a crash ended it. */
  begin(origin: number, { name, find }: { name: string; find: FindPublished }): void {
    if (this.#underWay.has(origin) || !this.#isNew(origin)) return;
    const adoption = new Adoption(this.#parts, { origin, name });
    this.#underWay.set(origin, adoption);
    this.#begun.push(adoption);
    adoption.run(find, this.#stopping.signal).finally(() => this.#underWay.delete(origin));
  }

  /**
   * Resolves when the folder's names were adopted, or when it makes no more sense to wait for that;
   * undefined if it makes none now. Never rejects.
   */
  reached(origin: number, folder: number): Promise<void> | undefined {
    return this.#underWay.get(origin)?.reached(folder);
  }

  /** Resolves when the origin's names were adopted, or it makes no more sense to wait for that. */
  async settled(origin: number, signal: AbortSignal): Promise<void> {
    const waiting = this.#underWay.get(origin)?.settled();
    if (waiting) await orAborted(waiting, signal);
  }

  /** Ends what is under way; the next start goes on with it. */
  async stop(): Promise<void> {
    this.#stopping.abort(
      new MusicfsError("unavailable", "Cannot go on: musicfs is stopping", {
        op: "library.adopt",
        subject: "library",
      }),
    );
    await Promise.all([...this.#underWay.values()].map(({ over }) => over.promise));
  }

  #isNew(origin: number): boolean {
    const { index, namespace } = this.#parts;
    const { adoption, files } = readOriginState(index, origin);
    if (adoption !== undefined) return adoption === "begun";
    const root = namespace.entry(ROOT_ID);
    return files === 0 && root !== undefined && sourceFrom(root, origin)?.listed === false;
  }
}

/** The names of one origin on their way into the index. */
class Adoption {
  readonly #parts: AdoptionParts;
  readonly #origin: { origin: number; name: string };
  readonly #folders: PublishedFolders;
  /** Those who wait for a folder. */
  readonly #waiting = new Map<number, PromiseWithResolvers<void>>();
  readonly #patience = Promise.withResolvers<void>();
  readonly over: PromiseWithResolvers<void> = Promise.withResolvers();
  #isPatient = true;

  constructor(parts: AdoptionParts, origin: { origin: number; name: string }) {
    this.#parts = parts;
    this.#origin = origin;
    this.#folders = new PublishedFolders({ ...parts, origin: origin.origin });
  }

  get taken(): number {
    return this.#folders.files + this.#folders.folders;
  }

  reached(folder: number): Promise<void> | undefined {
    if (!this.#isPatient) return undefined;
    const waiting = this.#waiting.get(folder) ?? Promise.withResolvers<void>();
    this.#waiting.set(folder, waiting);
    return waiting.promise;
  }

  settled(): Promise<void> | undefined {
    return this.#isPatient ? this.#patience.promise : undefined;
  }

  /** Never rejects: where it fails, folders are listed as if nothing had been published. */
  async run(find: FindPublished, stopping: AbortSignal): Promise<void> {
    const { clock, log } = this.#parts;
    const { name } = this.#origin;
    const timer = new AbortController();
    const limit = new AbortController();
    const signal = AbortSignal.any([stopping, limit.signal]);
    clock.sleep(ADOPT_WAIT_MS_MAX, timer.signal).then(() => {
      this.#giveWay();
      return clock.sleep(ADOPT_MS_MAX - ADOPT_WAIT_MS_MAX, timer.signal);
    }).then(() => limit.abort(tooLate(name)), () => {/* It ended in time. */});
    try {
      const names = await orAborted(find(name, signal), signal);
      if (names) await this.#adopt(names, signal);
    } catch (error) {
      if (!stopping.aborted) {
        log.warning("Cannot use the index that was published; folders are listed one by one", {
          origin: name,
          error,
        });
      }
    } finally {
      timer.abort();
      this.#giveWay();
      this.over.resolve();
    }
  }

  async #adopt(names: PublishedNames, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#parts;
    const began = clock.monotonic();
    let changes = FIRST_CHANGES;
    let pieces: PublishedPiece[] = [];
    let weight = 0;
    try {
      for (const piece of this.#folders.pieces(names)) {
        pieces.push(piece);
        weight += piece.entries.length + 1;
        if (weight < changes) continue;
        await this.#commit(pieces, weight);
        await nextTurn();
        signal.throwIfAborted();
        pieces = [];
        weight = 0;
        changes = Math.min(changes * 2, COMMIT_CHANGES_MAX);
      }
      await this.#commit(pieces, weight);
    } finally {
      // Who stops is no fault of the names: the next start goes on.
      if (!signal.aborted) await this.#note("over");
    }
    const { files, folders, refused } = this.#folders;
    const ms = Math.round(clock.monotonic() - began);
    log.info("Took the names from the index that was published", {
      origin: this.#origin.name,
      files,
      folders,
      ...(refused > 0 && { refused }),
      ms,
    });
  }

  async #commit(pieces: readonly PublishedPiece[], weight: number): Promise<void> {
    let done: PublishedEdit | undefined;
    await this.#parts.committer.commit((edit) => {
      edit.origin(this.#origin.origin).adoption = "begun";
      done = this.#folders.apply(edit, pieces);
    }, { weight, urgent: true });
    if (done) {
      this.#folders.committed(done);
      for (const folder of done.passed) this.#tell(folder);
    }
    failpoint("adopt.after_commit");
  }

  async #note(adoption: "over"): Promise<void> {
    await this.#parts.committer.commit((edit) => {
      edit.origin(this.#origin.origin).adoption = adoption;
    }, { weight: 1, urgent: true });
  }

  #tell(folder: number): void {
    this.#waiting.get(folder)?.resolve();
    this.#waiting.delete(folder);
  }

  /** From now on nobody waits. */
  #giveWay(): void {
    this.#isPatient = false;
    this.#patience.resolve();
    for (const folder of [...this.#waiting.keys()]) this.#tell(folder);
  }
}

function tooLate(origin: string): MusicfsError {
  const message = `Cannot read the index published at ${origin}: no end after ` +
    `${ADOPT_MS_MAX / 1000} s`;
  return new MusicfsError("timed_out", message, { op: "library.adopt", subject: origin });
}
