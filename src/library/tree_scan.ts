import { MusicfsError } from "../base/errors.ts";
import type { TreeCursor, TreePage } from "../origins/origin.ts";
import type { Committer } from "./committer.ts";
import type { Listing } from "./delta_detector.ts";
import type { SyncOutcome } from "./folder_commit.ts";
import type { FolderSync } from "./folder_sync.ts";
import type { Namespace } from "./namespace.ts";
import { nextTurn } from "./next_turn.ts";
import { type FoldedFolder, TreeFold } from "./tree_fold.ts";

/** Pages without a name in a row after which a listing is taken to lead nowhere. */
const EMPTY_PAGES_MAX = 1_000;

/** Folders that are committed together. */
const TOGETHER_MAX = 256;

/** Names that are compared before everybody else has a turn: about 3 ms. */
const COMPARED_MAX = 1_000;

/** What comparing a folder costs beside its names, in names. */
const FOLDER_WEIGHT = 10;

/**
 * Names of folders that are not known yet and wait for those above them, about 100 bytes each. What
 * is more than that is listed by itself.
 */
const KEPT_NAMES_MAX = 200_000;

/** What going through all of an origin needs of its scan. */
export interface TreeScanParts {
  origin: number;
  namespace: Namespace;
  committer: Committer;
  sync: FolderSync;
  /** Names that are left out. */
  hidden: ReadonlySet<string>;
  /** One page; throws when the scan is over. */
  page: (cursor: TreeCursor | undefined) => Promise<TreePage>;
  /** Whether this scan has listed the folder. */
  isListed: (folder: number) => boolean;
  /** Told of each folder that was brought up to date. */
  onListed: (folder: number, outcome: SyncOutcome) => void;
  /** Entries from this id on came after the scan began: it cannot say that they are missing. */
  firstNewId: number;
}

/** A folder of the library and its listing. */
interface Found {
  id: number;
  listing: Listing;
}

/**
 * Goes through one listing of all that an origin has, and brings each folder up to date when all of
 * it has come.
 *
 * A folder that is not known yet waits until the one it lies in was committed, which comes later.
 */
export class TreeScan {
  readonly #parts: TreeScanParts;
  readonly #kept = new Map<string, Listing>();
  #keptNames = 0;
  /** Folders that are yet to be listed by themselves. */
  readonly #left: number[] = [];

  constructor(parts: TreeScanParts) {
    this.#parts = parts;
  }

  /** Reads all pages; the ids of folders that did not fit and must be listed one by one. */
  async run(): Promise<number[]> {
    const fold = new TreeFold(this.#parts.hidden);
    let cursor: TreeCursor | undefined;
    let empty = 0;
    do {
      const page = await this.#parts.page(cursor);
      empty = page.entries.length === 0 ? empty + 1 : 0;
      if (empty > EMPTY_PAGES_MAX) throw endless();
      for (const entry of page.entries) fold.take(entry);
      await nextTurn();
      await this.#takeFolders(fold.complete());
      cursor = page.next;
    } while (cursor !== undefined);
    await this.#takeFolders(fold.finish());
    return this.#left;
  }

  async #takeFolders(folders: readonly FoldedFolder[]): Promise<void> {
    let found: Found[] = [];
    for (const { path, listing } of folders) {
      const id = this.#idOf(path);
      if (id === undefined) this.#keep(path, listing);
      else found.push({ id, listing });
    }
    while (found.length > 0) {
      const below: Found[] = [];
      for (let at = 0; at < found.length; at += TOGETHER_MAX) {
        for (const id of await this.#commit(found.slice(at, at + TOGETHER_MAX))) {
          const listing = this.#takeKept(id);
          if (listing) below.push({ id, listing });
          else this.#left.push(id);
        }
      }
      found = below;
    }
  }

  /** Brings folders up to date; those within that this scan has not seen. */
  async #commit(folders: readonly Found[]): Promise<number[]> {
    const { committer, isListed, onListed, origin, sync, firstNewId } = this.#parts;
    const under: Promise<void>[] = [];
    const unseen: number[] = [];
    let compared = 0;
    for (const { id, listing } of folders) {
      const isDone = (): boolean => isListed(id);
      const taken = sync.take(id, origin, { listing, firstNewId, isDone }).then((outcome) => {
        if (!outcome) return;
        onListed(id, outcome);
        for (const within of outcome.folders) if (!isListed(within)) unseen.push(within);
      });
      // It is awaited with the others; until then it is nobody's.
      taken.catch(() => undefined);
      under.push(taken);
      compared += listing.count + FOLDER_WEIGHT;
      if (compared < COMPARED_MAX) continue;
      compared = 0;
      await nextTurn();
    }
    await nextTurn();
    committer.flush();
    await Promise.all(under);
    return unseen;
  }

  /** The folder at a path, if this origin is known to have it. */
  #idOf(path: string): number | undefined {
    const entry = this.#parts.namespace.find(path);
    const source = entry?.sources.find((source) => source.origin === this.#parts.origin);
    return entry?.kind === "folder" && source?.kind === "folder" ? entry.id : undefined;
  }

  #keep(path: string, listing: Listing): void {
    const names = listing.count + FOLDER_WEIGHT;
    // Without the folders on the way nothing below them could be taken.
    if (this.#keptNames + names > KEPT_NAMES_MAX && listing.folders === 0) return;
    this.#keptNames += names;
    this.#kept.set(path, listing);
  }

  #takeKept(id: number): Listing | undefined {
    if (this.#kept.size === 0) return undefined;
    const path = this.#parts.namespace.pathOf(id);
    const listing = this.#kept.get(path);
    if (listing === undefined) return undefined;
    this.#kept.delete(path);
    this.#keptNames -= listing.count + FOLDER_WEIGHT;
    return listing;
  }
}

function endless(): MusicfsError {
  const message = "Cannot list: all pages are empty, and there are always more";
  return new MusicfsError("unavailable", message, { op: "scan.list", subject: "" });
}
