import { Limiter, orAborted } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import { SCAN_FOLDERS_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Committer } from "./committer.ts";
import type { Entry } from "./entry.ts";
import type { FolderSync } from "./folder_sync.ts";
import type { Moves } from "./moves.ts";
import type { Namespace } from "./namespace.ts";
import { nextTurn } from "./next_turn.ts";
import { ROOT_ID } from "./node_id.ts";
import type { Removal } from "./removal.ts";
import { Round } from "./round.ts";
import { sourceFrom } from "./source_edit.ts";

/** How folders are looked at. */
export interface LookOptions {
  /** Folders of which all below is listed, too, and not only what is new; `true`: all of them. */
  deep?: ReadonlySet<string> | boolean;
  /** Of folders, how many names were seen to go from them, one by one. */
  gone?: ReadonlyMap<string, number>;
  signal: AbortSignal;
}

/** What looking needs of the library. */
export interface LookParts {
  namespace: Namespace;
  sync: FolderSync;
  committer: Committer;
  removal: Removal;
  moves: Moves;
  log: Log;
}

/**
 * One look at folders of one origin that may have changed: each is listed, and what is new below it.
 *
 * Parents come before what is in them, for they say what that is now. A folder that nobody knows is
 * found by listing the nearest one above it that is known. All of it is one round: what went from
 * one folder and came to another is settled at its end.
 */
export class Look {
  readonly #parts: LookParts;
  readonly #origin: number;
  readonly #options: LookOptions;
  readonly #limiter = new Limiter(SCAN_FOLDERS_MAX);
  readonly #round: Round;
  /** Folders that were listed, or are being; true: with all below. */
  readonly #listed = new Map<number, boolean>();
  /** Listings that the origin has not answered. */
  #listing = 0;
  #flushed: Promise<void> = Promise.resolve();
  #failure: unknown;

  constructor(parts: LookParts, origin: number, options: LookOptions) {
    this.#parts = parts;
    this.#origin = origin;
    this.#options = options;
    this.#round = new Round(parts, origin);
  }

  /**
   * Looks at the folders, paths below the root. A folder that may not be read is left as it is.
   *
   * Throws the signal's reason, or the first error that says the origin is not well; what was seen
   * by then is kept.
   *
   * @returns whether something is missing that is not believed to be gone
   */
  async run(folders: readonly string[]): Promise<boolean> {
    try {
      await this.#lookAtAll(folders);
      return this.#round.isHeld;
    } finally {
      await this.#flushed;
    }
  }

  async #lookAtAll(folders: readonly string[]): Promise<void> {
    const { signal, gone } = this.#options;
    for (const count of gone?.values() ?? []) this.#round.seenGone += count;
    try {
      for (const level of byDepth(folders)) {
        await Promise.all(level.map((folder) => this.#lookAt(folder)));
        if (this.#isOver()) break;
      }
    } finally {
      await this.#round.settle({ signal });
    }
    for (const folder of this.#round.replacedIn) {
      if (!this.#isOver()) await this.#list(folder, { deep: false, again: true });
    }
    await this.#round.settle({ signal });
    signal.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure;
  }

  #isOver(): boolean {
    return this.#options.signal.aborted || this.#failure !== undefined;
  }

  async #lookAt(path: string): Promise<void> {
    const { deep = false } = this.#options;
    const nearest = this.#nearest(path);
    const isIt = nearest.path === path;
    const isDeep = isIt && (typeof deep === "boolean" ? deep : deep.has(path));
    const known = this.#listed.get(nearest.id);
    if (known || (known === false && !isDeep)) return;
    await this.#list(nearest.id, { deep: isDeep, isHinted: true });
  }

  /** The folder itself, or the nearest above it that the origin is known to have. */
  #nearest(path: string): { id: number; path: string } {
    const { namespace } = this.#parts;
    let nearest = { id: ROOT_ID, path: "" };
    for (let end = path.indexOf("/"); path !== ""; end = path.indexOf("/", end + 1)) {
      const above = end < 0 ? path : path.slice(0, end);
      const name = above.slice(above.lastIndexOf("/") + 1);
      const entry = namespace.child(nearest.id, name);
      if (!entry || !this.#isFolder(entry)) break;
      nearest = { id: entry.id, path: above };
      if (end < 0) break;
    }
    return nearest;
  }

  /** Lists a folder, and below it what is new, or everything. */
  async #list(
    id: number,
    { deep, isHinted = false, again = false }: {
      deep: boolean;
      /** Whether its own time may have changed without its parent being listed. */
      isHinted?: boolean;
      /** Whether it is listed although it was. */
      again?: boolean;
    },
  ): Promise<void> {
    if (this.#isOver()) return;
    const known = this.#listed.get(id);
    if (!again && known !== undefined && (known || !deep)) return;
    this.#listed.set(id, deep);
    const { sync } = this.#parts;
    const options = {
      urgent: false,
      refreshFolder: isHinted,
      round: this.#round,
      limiter: this.#limiter,
      onListed: this.#began(),
    };
    try {
      const listing = sync.listAgain(id, this.#origin, options);
      const { folders, replaced } = await orAborted(listing, this.#options.signal);
      if (replaced) this.#round.replacedIn.add(id);
      const below = deep ? folders : folders.filter((folder) => this.#isUnlisted(folder));
      await Promise.all(below.map((folder) => this.#list(folder, { deep })));
    } catch (error) {
      await this.#failed(id, error);
    } finally {
      options.onListed();
    }
  }

  /** Notes that a listing began; call the result when the origin has answered, or at the latest. */
  #began(): () => void {
    this.#listing += 1;
    let isOpen = true;
    return () => {
      if (!isOpen) return;
      isOpen = false;
      this.#listing -= 1;
      // Nothing is on its way any more: what was listed need not wait for company.
      if (this.#listing === 0) this.#flushed = this.#flushNext();
    };
  }

  async #flushNext(): Promise<void> {
    await Promise.all([this.#flushed, nextTurn()]);
    this.#parts.committer.flush();
  }

  /** A folder that is gone shows in the one it was in; of an ill origin nothing more is asked. */
  async #failed(id: number, error: unknown): Promise<void> {
    if (this.#options.signal.aborted) return;
    if (!(error instanceof MusicfsError)) throw error;
    const { namespace, log } = this.#parts;
    if (error.retryable) {
      this.#failure ??= error;
      return;
    }
    const entry = namespace.entry(id);
    if (!entry || id === ROOT_ID) return;
    if (error.code !== "not_found" && error.code !== "invalid") {
      log.debug("Cannot look at a folder", { error });
      return;
    }
    // If that was listed, it had it: its going is yet to be told.
    await this.#list(entry.parent, { deep: false, isHinted: true });
  }

  #isUnlisted(id: number): boolean {
    const entry = this.#parts.namespace.entry(id);
    const source = entry && sourceFrom(entry, this.#origin);
    return source?.kind === "folder" && !source.listed;
  }

  #isFolder(entry: Entry): boolean {
    return entry.kind === "folder" && sourceFrom(entry, this.#origin)?.kind === "folder";
  }
}

/** The paths in groups, the root first, then what is one folder deep, and so on. */
function byDepth(paths: readonly string[]): string[][] {
  const levels: string[][] = [];
  for (const path of new Set(paths)) {
    const depth = path === "" ? 0 : path.split("/").length;
    (levels[depth] ??= []).push(path);
  }
  return levels.filter((level) => level !== undefined);
}
