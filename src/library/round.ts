import type { Removal } from "./removal.ts";

/** What a round needs of the library. */
export interface RoundParts {
  removal: Removal;
}

/**
 * Listings of one origin, outside of a scan, that belong together: what they miss is settled with
 * what they find new, so that a folder that was renamed is not one that is gone and a new one.
 *
 * Give it to `FolderSync.list` with each listing, and settle it once when all of them have ended,
 * also if some of them failed: what was missed by then is only believed as far as the guard lets it.
 */
export class Round {
  readonly #parts: RoundParts;
  readonly #missing: number[] = [];
  /** Folders in which a folder's name now stands for something else: to be listed once more. */
  readonly replacedIn = new Set<number>();
  /** How many names somebody saw go, one by one, from the folders of this round. */
  seenGone = 0;

  constructor(parts: RoundParts, readonly origin: number) {
    this.#parts = parts;
  }

  /** Notes what a complete listing missed. */
  miss(ids: readonly number[]): void {
    for (const id of ids) this.#missing.push(id);
  }

  /** Removes what is gone, unless that is most of the library. */
  async settle(): Promise<void> {
    const missing = this.#missing.splice(0);
    if (missing.length > 0) {
      await this.#parts.removal.removeGuarded(this.origin, missing, { seen: this.seenGone });
    }
  }
}
