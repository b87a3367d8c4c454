import { failpoint } from "../base/failpoint.ts";
import type { Index } from "../store/index.ts";
import type { Committer } from "./committer.ts";
import { judgeDeletions } from "./deletion_guard.ts";
import { readOriginState } from "./library_meta.ts";
import type { Moves } from "./moves.ts";
import { type Missed, NEVER_LISTED, type Removal } from "./removal.ts";

/** Deletions that were not believed: files, and of how many. */
export interface Held {
  gone: number;
  of: number;
}

/** What ending a scan needs of the library. */
export interface ScanEndParts {
  index: Index;
  committer: Committer;
  removal: Removal;
  moves: Moves;
}

/** Which scan ends, and how. */
export interface ScanEndOptions {
  origin: number;
  /** The scan's number. */
  scan: number;
  /** The user has said that what is gone may go. */
  accepted: boolean;
  signal: AbortSignal;
}

/**
 * What a scan that has seen everything does with what it missed: what is elsewhere has moved, the
 * rest goes, or is held. Every step can be done again by a scan that is gone on with.
 */
export class ScanEnd {
  readonly #parts: ScanEndParts;
  readonly #options: ScanEndOptions;

  constructor(parts: ScanEndParts, options: ScanEndOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  /** Whether the scan has missed anything. */
  anyMissed(): boolean {
    const { origin, scan } = this.#options;
    return this.#parts.removal.missed(origin).some(({ last }) => last === scan);
  }

  /** Finds what moved, and removes what is gone; what was held instead. Throws the signal's reason. */
  async removeMissing(): Promise<Held | undefined> {
    const { removal, moves } = this.#parts;
    const { origin, scan, signal, accepted } = this.#options;
    const missed = removal.missed(origin);
    const now = missed.filter(({ last }) => last === scan);
    await this.#forget(missed.filter(({ last }) => last !== scan));
    if (now.length === 0) return undefined;
    const ids = idsOf(now);
    const where = { origin, signal };
    failpoint("scan.before_moves");
    await moves.settle(ids, { ...where, scan });
    const anythingLeft = removal.hasOthers(origin, ids);
    const { never, known } = anythingLeft
      ? await this.#neverListed(now)
      : { never: [], known: now };
    const { gone, confirmed } = await this.#countMissing(known);
    const of = await this.#filesBefore(never);
    const verdict = judgeDeletions({ gone, confirmed, of, anythingLeft, accepted });
    const goes = verdict === "hold" ? never : now;
    failpoint("scan.before_deletions");
    await removal.remove(idsOf(goes), { ...where, isCounted: true });
    failpoint("scan.after_deletions");
    await this.#forget(goes);
    return verdict === "hold" ? { gone, of } : undefined;
  }

  /** A scan that did not see everything cannot say what is missing, and confirms nothing. */
  async leaveMissing(): Promise<undefined> {
    const { origin, scan } = this.#options;
    await this.#forget(this.#parts.removal.missed(origin).filter(({ first }) => first === scan));
  }

  async #forget(missed: readonly Missed[]): Promise<void> {
    const { committer, removal } = this.#parts;
    await committer.commit(() => removal.forget(this.#options.origin, missed), {
      weight: missed.length,
      urgent: true,
    });
  }

  /** Tells what only a published index had from what the origin itself has listed before. */
  async #neverListed(missed: readonly Missed[]): Promise<{ never: Missed[]; known: Missed[] }> {
    const doubtful = missed.filter(({ first }) => first === NEVER_LISTED);
    const { committer, removal } = this.#parts;
    const ids = new Set(await removal.neverListed(idsOf(doubtful), this.#options));
    const listed = doubtful.filter(({ id }) => !ids.has(id));
    if (listed.length > 0) {
      await committer.commit(() => removal.missListed(this.#options.origin, listed), {
        weight: listed.length,
        urgent: true,
      });
    }
    return {
      never: missed.filter(({ id }) => ids.has(id)),
      known: missed.filter(({ id }) => !ids.has(id)),
    };
  }

  /** Files the origin was known to have, without what came in the place of what is held. */
  async #filesBefore(never: readonly Missed[]): Promise<number> {
    const { index, removal } = this.#parts;
    const { origin } = this.#options;
    const { filesBefore, heldOf = Infinity } = readOriginState(index, origin);
    return Math.min(
      filesBefore - await removal.countFiles(idsOf(never), this.#options),
      heldOf,
    );
  }

  async #countMissing(missed: readonly Missed[]): Promise<{ gone: number; confirmed: number }> {
    const { removal } = this.#parts;
    const { scan } = this.#options;
    const before = missed.filter(({ first }) => first !== NEVER_LISTED && first < scan);
    return {
      gone: await removal.countFiles(idsOf(missed), this.#options),
      confirmed: await removal.countFiles(idsOf(before), this.#options),
    };
  }
}

function idsOf(missed: readonly Missed[]): number[] {
  return missed.map(({ id }) => id);
}
