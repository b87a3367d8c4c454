/**
 * Makes folders' listings of one listing of everything. Pure: no clock, no I/O.
 */

import type { OriginEntry } from "../origins/origin.ts";
import { Listing, nameOf } from "./delta_detector.ts";

const SLASH = 0x2f;

/** One folder with all that lies directly in it. */
export interface FoldedFolder {
  path: string;
  listing: Listing;
}

/** A folder that more may come of. */
interface Level {
  path: string;
  /** What the paths of all below it begin with. */
  prefix: string;
  /** undefined for a folder that is left out, with all below it. */
  listing: Listing | undefined;
  /** Files in whose place a folder may still come: at most one for each byte of a path. */
  waiting: OriginEntry[];
}

/**
 * Takes entries in the order that `TreePage` has, and gives out each folder when it is complete:
 * those below a folder come before it, the root comes last.
 *
 * Only the folders on the way to the latest entry are in memory, 40 bytes a name. What is hidden or
 * refused by its folder's listing is left out with all below it.
 */
export class TreeFold {
  readonly #hidden: ReadonlySet<string>;
  readonly #levels: Level[];
  #complete: FoldedFolder[] = [];

  constructor(hidden: ReadonlySet<string>) {
    this.#hidden = hidden;
    this.#levels = [this.#level("", true)];
  }

  take(entry: OriginEntry): void {
    const key = entry.kind === "folder" ? `${entry.path}/` : entry.path;
    let level = this.#leave(key);
    settle(level, key);
    const start = level.prefix.length;
    for (let cut = key.indexOf("/", start); cut >= 0; cut = key.indexOf("/", cut + 1)) {
      level = this.#enter(level, key.slice(0, cut));
    }
    if (entry.kind !== "folder") level.waiting.push(entry);
  }

  /** The folders that are complete by now, each given out once. */
  complete(): FoldedFolder[] {
    const complete = this.#complete;
    this.#complete = [];
    return complete;
  }

  /** The folders that are complete now that nothing more comes. */
  finish(): FoldedFolder[] {
    while (this.#levels.length > 0) this.#pop();
    return this.complete();
  }

  /** Leaves the folders that `key` does not lie in; the one that it does. */
  #leave(key: string): Level {
    for (;;) {
      const level = this.#levels.at(-1);
      if (level === undefined) throw new Error("The tree has been finished");
      if (key.startsWith(level.prefix)) return level;
      this.#pop();
    }
  }

  #enter(parent: Level, path: string): Level {
    parent.listing?.add({ path, kind: "folder", size: 0, mtimeNs: 0n, version: "", target: "" });
    const isShown = (parent.listing?.find(nameOf(path)) ?? -1) >= 0;
    const level = this.#level(path, isShown);
    this.#levels.push(level);
    return level;
  }

  #pop(): void {
    const level = this.#levels.pop();
    if (level === undefined) return;
    settle(level, undefined);
    if (level.listing) this.#complete.push({ path: level.path, listing: level.listing });
  }

  #level(path: string, isShown: boolean): Level {
    const prefix = path === "" ? "" : `${path}/`;
    const listing = isShown ? new Listing(path, this.#hidden) : undefined;
    return { path, prefix, listing, waiting: [] };
  }
}

/** Adds the files in whose place no folder can come any more, now that `key` has. */
function settle({ listing, waiting }: Level, key: string | undefined): void {
  for (let last = waiting.at(-1); last; last = waiting.at(-1)) {
    const next = key?.startsWith(last.path) ? key.charCodeAt(last.path.length) : undefined;
    if (next !== undefined && next < SLASH) return;
    waiting.pop();
    if (next !== SLASH) listing?.add(last);
  }
}
