import type { Clock } from "../base/clock.ts";
import { orAborted, within } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { HashName } from "../chunking/chunk_hash.ts";
import type { ChunkRegion } from "../chunking/chunk_manifest.ts";
import { NAMES_PATH } from "../library/published_format.ts";
import { PublishedIndex } from "../library/published_index.ts";
import { type OriginPlace, placeOf } from "../origins/open.ts";
import type { Origin } from "../origins/origin.ts";
import type { FileVersion } from "../store/file_version.ts";

/** Longest wait of a reader for an index that is on its way, in ms: it then goes without. */
const OPEN_WAIT_MS_MAX = 3_000;

/** Least time between two looks at whether an index that lacks a version was replaced, in ms. */
const LOOK_AGAIN_MS_MIN = 5_000;

/** What the indexes of a mount are opened with. */
export interface PublishedIndexesOptions {
  origins: readonly { origin: Origin; url: string }[];
  /** False for an origin, by name, that is known to be down: no reader waits for its index. */
  isUp: (name: string) => boolean;
  /** That chunks are named by here: an index with another one has none that could be used. */
  hash: HashName;
  clock: Clock;
  log: Log;
}

/** What is known of one origin's index. */
interface Known {
  readonly origin: Origin;
  readonly kind: OriginPlace;
  /** The version of its file as it was last seen; undefined if there was none. */
  seen?: string | undefined;
  /** That of one which could not be used. */
  bad?: string | undefined;
  index?: PublishedIndex | undefined;
  /** A look at it, or its download, that is under way. */
  looking?: Promise<void> | undefined;
  lookedMs: number;
  /** Whether files have changed since: the index may have been made anew, too. */
  isDoubtful: boolean;
  /** Whether somebody has asked it since the last scan. */
  wasUsed: boolean;
}

/**
 * The indexes that lie beside the music, one an origin: each is opened once and shared, opened anew
 * when it was replaced, and let go of when nobody asked it from one scan to the next.
 */
export class PublishedIndexes implements AsyncDisposable {
  readonly #options: PublishedIndexesOptions;
  readonly #known: ReadonlyMap<string, Known>;
  readonly #stopping = new AbortController();
  #told = false;

  constructor(options: PublishedIndexesOptions) {
    this.#options = options;
    this.#known = new Map(options.origins.map(({ origin, url }): [string, Known] => [
      origin.name,
      { origin, kind: placeOf(url), lookedMs: -Infinity, isDoubtful: false, wasUsed: false },
    ]));
  }

  /** The names that are published of an origin. Throws the signal's reason. */
  async names(origin: string, signal: AbortSignal): Promise<PublishedIndex | undefined> {
    const known = this.#known.get(origin);
    if (!known) return undefined;
    await orAborted(this.#open(known), signal);
    return known.index;
  }

  /**
   * The chunks of a file's version by the index of any of its origins; undefined if none has them.
   * Throws the signal's reason alone.
   */
  async chunks(version: FileVersion, signal: AbortSignal): Promise<ChunkRegion[] | undefined> {
    for (const { origin, path, version: text } of version.sources) {
      const known = this.#known.get(origin);
      if (!known || !this.#options.isUp(origin)) continue;
      const file = { path, size: version.size, mtimeNs: version.mtimeNs, version: text };
      try {
        const list = await this.#chunks(known, file, signal);
        if (list) return list;
      } catch (error) {
        signal.throwIfAborted();
        this.#tell(origin, error);
      }
    }
    return undefined;
  }

  /** Files have changed: who lacks a version has the index looked at before it is believed. */
  doubt(): void {
    for (const known of this.#known.values()) known.isDoubtful = true;
  }

  /** Looks at each index whether it is another one by now; after a scan, or at the start. */
  async lookAgain(signal: AbortSignal): Promise<void> {
    for (const known of this.#known.values()) {
      if (!known.wasUsed) known.index = undefined;
      known.wasUsed = false;
      await orAborted(this.#look(known, { isOpened: known.index !== undefined }), signal);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(
      new MusicfsError("unavailable", "Cannot read an index: musicfs is stopping", {
        op: "published.stop",
        subject: NAMES_PATH,
      }),
    );
    await Promise.all([...this.#known.values()].map(({ looking }) => looking));
  }

  async #chunks(
    known: Known,
    file: { path: string; size: number; mtimeNs: bigint; version: string },
    signal: AbortSignal,
  ): Promise<ChunkRegion[] | undefined> {
    const { clock, hash } = this.#options;
    if (!known.index) await this.#waitFor(this.#open(known), signal);
    const asked = known.index;
    if (asked?.hash !== hash) return undefined;
    known.wasUsed = true;
    const list = await asked.chunks(file, { signal, hash });
    const wasLookedAt = clock.monotonic() - known.lookedMs < LOOK_AGAIN_MS_MIN;
    if (list || (wasLookedAt && !known.isDoubtful)) return list;
    await this.#waitFor(this.#look(known), signal);
    return known.index === asked ? undefined : await known.index?.chunks(file, { signal, hash });
  }

  async #waitFor(looking: Promise<void>, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    await orAborted(within(looking, { ms: OPEN_WAIT_MS_MAX, clock }), signal);
  }

  /** Opens the index, if there is one that is worth it. Never rejects. */
  async #open(known: Known): Promise<void> {
    while (known.looking) await known.looking;
    const { index, seen, bad, lookedMs, isDoubtful } = known;
    const isKnown = lookedMs > -Infinity && !isDoubtful && (seen === undefined || seen === bad);
    if (index || isKnown) return;
    await this.#look(known);
  }

  /** Finds out whether there is an index, or another one, and opens it. Never rejects. */
  #look(known: Known, { isOpened = true }: { isOpened?: boolean } = {}): Promise<void> {
    known.looking ??= this.#lookNow(known, isOpened).catch((error) => {
      if (!this.#stopping.signal.aborted) this.#tell(known.origin.name, error);
    }).finally(() => known.looking = undefined);
    return known.looking;
  }

  async #lookNow(known: Known, isOpened: boolean): Promise<void> {
    const { signal } = this.#stopping;
    const { origin, kind } = known;
    const isFirst = known.lookedMs === -Infinity;
    known.lookedMs = this.#options.clock.monotonic();
    known.isDoubtful = false;
    if (!isFirst || !isOpened) {
      const version = await versionOf(origin, signal);
      const isSame = version !== undefined && version === known.seen;
      known.seen = version;
      if (version === undefined) known.index = undefined;
      if (version === undefined || !isOpened || (isSame && known.index)) return;
    }
    const index = await PublishedIndex.open(origin, { kind, signal, log: this.#options.log });
    known.index = index;
    known.seen = index?.version ?? known.seen;
    known.bad = index ? undefined : known.seen;
  }

  #tell(origin: string, error: unknown): void {
    if (this.#told) return;
    this.#told = true;
    this.#options.log.warning("Cannot use a published index", { origin, error });
  }
}

async function versionOf(origin: Origin, signal: AbortSignal): Promise<string | undefined> {
  try {
    return (await origin.stat(NAMES_PATH, { signal, isBackground: true })).version;
  } catch (error) {
    if (error instanceof MusicfsError && error.code === "not_found") return undefined;
    throw error;
  }
}
