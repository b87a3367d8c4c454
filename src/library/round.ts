import type { Moves } from "./moves.ts";
import type { Removal } from "./removal.ts";

/** Files that one round has yet to tell of; more are told of at once, as added. */
const OWED_MAX = 100_000;

/** What a round needs of the library. */
export interface RoundParts {
  removal: Removal;
  moves: Moves;
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
  readonly #owed: number[] = [];
  /** Folders in which a folder's name now stands for something else: to be listed once more. */
  readonly replacedIn = new Set<number>();
  /** How many names somebody saw go, one by one, from the folders of this round. */
  seenGone = 0;
  /** Whether something that was missed is not believed to be gone. */
  isHeld = false;

  constructor(parts: RoundParts, readonly origin: number) {
    this.#parts = parts;
  }

  /** Whether it can remember more files of which nobody was told. */
  get hasRoom(): boolean {
    return this.#owed.length < OWED_MAX;
  }

  /** Notes what a complete listing missed. */
  miss(ids: readonly number[]): void {
    for (const id of ids) this.#missing.push(id);
  }

  /** Notes files that came, and of which nobody was told. */
  owe(ids: readonly number[]): void {
    for (const id of ids) this.#owed.push(id);
  }

  /**
   * Finds what moved, removes what is gone unless that is most of the library, and tells of what
   * came. Throws the signal's reason: what is left is for a scan.
   */
  async settle({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    const { moves, removal } = this.#parts;
    const { origin } = this;
    const options = { origin, ...(signal && { signal }) };
    const missing = [...new Set(this.#missing.splice(0))];
    try {
      if (missing.length > 0) {
        const known = removal.countAll(origin) - this.#owed.length;
        await moves.settle(missing, options);
        const guard = { ...options, known, seen: this.seenGone };
        this.isHeld = await removal.removeGuarded(missing, guard) || this.isHeld;
      }
    } finally {
      await moves.endRound(origin, this.#owed.splice(0));
    }
  }
}
