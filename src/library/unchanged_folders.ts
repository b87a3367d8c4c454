import type { Clock } from "../base/clock.ts";

/**
 * Longest time in which a folder is not listed because its time says that no name came or went, in
 * ms: a file that is edited in place leaves it as it is. Folders come due one by one from half of it.
 */
const LISTED_MS_MAX = 3_600_000;

/**
 * A folder whose time is less old than this when it is listed may change once more without a sign,
 * in ms: times have whole seconds, and the origin's clock may be a minute behind ours.
 */
const SETTLED_MS_MIN = 62_000;

/** Folders that are remembered of one origin, about 100 bytes each; others are always listed. */
const FOLDERS_MAX = 200_000;

/** Spreads ids evenly over [0, 1): the golden ratio's fraction. */
const SPREAD = 0.618_033_988_749_895;

/** A folder's last complete listing. */
interface Seen {
  /** The folder's time before it was listed. */
  mtimeNs: bigint;
  /** Monotonic. */
  listedMs: number;
  /** Whether a name that comes or goes afterwards moves that time. */
  isSettled: boolean;
}

/** What one origin's folders were when they were last listed, as long as the process lives. */
interface SeenOrigin {
  folders: Map<number, Seen>;
  /** False once names changed in a folder whose time did not. */
  isTrusted: boolean;
}

/** How a folder was listed. */
export interface FolderListed {
  /** The folder's time as it was known before the listing began. */
  mtimeNs: bigint;
  /** Names that came, and that are missing. */
  added: number;
  missing: number;
}

/** Knows which folders need no listing, because their time is what it was at the last one. */
export class UnchangedFolders {
  readonly #clock: Clock;
  readonly #origins = new Map<number, SeenOrigin>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether times of this origin's folders tell anything, as far as is known. */
  isTrusted(origin: number): boolean {
    return this.#origin(origin).isTrusted;
  }

  /** Whether its names are those of its last listing, which is not long ago. */
  isUnchanged(origin: number, folder: number, mtimeNs: bigint): boolean {
    const seen = this.#origin(origin).folders.get(folder);
    if (!seen?.isSettled || seen.mtimeNs !== mtimeNs) return false;
    const limitMs = LISTED_MS_MAX * (1 + (folder * SPREAD) % 1) / 2;
    return this.#clock.monotonic() - seen.listedMs < limitMs;
  }

  /** Whether its time is what it was at its last listing, however long ago that is. */
  hasSameTime(origin: number, folder: number, mtimeNs: bigint): boolean {
    return this.#origin(origin).folders.get(folder)?.mtimeNs === mtimeNs;
  }

  /**
   * Remembers a complete listing. One that misses names is not over until they are gone or back, and
   * one of a folder that changed a moment ago may be out of date without a sign: the next scan lists
   * such folders again.
   *
   * @returns false if the folder shows that this origin's times tell nothing, for the first time
   */
  note(origin: number, folder: number, { mtimeNs, added, missing }: FolderListed): boolean {
    const known = this.#origin(origin);
    const { folders } = known;
    if (!known.isTrusted) return true;
    const before = folders.get(folder);
    if (before?.isSettled && before.mtimeNs === mtimeNs && added + missing > 0) {
      known.isTrusted = false;
      folders.clear();
      return false;
    }
    const settledNs = BigInt(Math.trunc(this.#clock.now() - SETTLED_MS_MIN)) * 1_000_000n;
    const isSettled = missing === 0 && mtimeNs > 0n && mtimeNs < settledNs;
    if (before === undefined && folders.size >= FOLDERS_MAX) return true;
    folders.set(folder, { mtimeNs, listedMs: this.#clock.monotonic(), isSettled });
    return true;
  }

  #origin(number: number): SeenOrigin {
    const known = this.#origins.get(number);
    if (known) return known;
    const origin = { folders: new Map<number, Seen>(), isTrusted: true };
    this.#origins.set(number, origin);
    return origin;
  }
}
