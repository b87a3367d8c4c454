import { setImmediate } from "node:timers/promises";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { FileVersion } from "../store/file_version.ts";
import type { Manifests, Takeover } from "../store/manifests.ts";
import type { Extents } from "./extents.ts";

/** Versions that go over in one commit: each writes a file of some KB, a commit takes 3 ms. */
const BATCH_MAX = 16;

/** What `Takeovers` works with. */
export interface TakeoversOptions {
  manifests: Manifests;
  extents: Extents;
  log: Log;
}

/**
 * Keeps what is cached of a version usable when another origin, proven to hold the same bytes, is
 * its preferred one: what lies on disk lies under a key of the preferred origin.
 *
 * An origin that goes can be that of every file, so the work is done in batches, behind what readers
 * wait for; a version that is read meanwhile is seen to before. What a crash or a stop leaves undone
 * costs no more than bytes that are fetched again.
 */
export class Takeovers implements AsyncDisposable {
  readonly #options: TakeoversOptions;
  /** By version id, in order of time. */
  readonly #waiting = new Map<number, Takeover>();
  #running: Promise<void> | undefined;
  #closing = false;

  constructor(options: TakeoversOptions) {
    this.#options = options;
  }

  /** Notes a takeover, to be seen to soon. */
  add(before: FileVersion, after: FileVersion): void {
    if (this.#closing) return;
    const waiting = this.#waiting.get(after.id);
    if (!waiting && !this.#isCached(before)) {
      // Nothing is to be done but to know what is on its way for it.
      this.#work([{ before, after }]);
      return;
    }
    this.#waiting.set(after.id, { before: waiting?.before ?? before, after });
    this.#running ??= this.#run();
  }

  /** Sees to a version now, if it waits; to be called before its files are looked at. */
  settle(id: number): void {
    if (this.#waiting.size === 0) return;
    const takeover = this.#waiting.get(id);
    if (!takeover) return;
    this.#waiting.delete(id);
    this.#work([takeover]);
  }

  /** Resolves when nothing waits. */
  async idle(): Promise<void> {
    while (this.#running) await this.#running;
  }

  /** Leaves what waits as it is. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true;
    this.#waiting.clear();
    await this.idle();
  }

  async #run(): Promise<void> {
    try {
      await setImmediate();
      while (this.#waiting.size > 0) {
        const batch = [...this.#waiting.values().take(BATCH_MAX)];
        for (const { after } of batch) this.#waiting.delete(after.id);
        this.#work(batch);
        await setImmediate();
      }
    } finally {
      this.#running = undefined;
    }
  }

  #isCached(version: FileVersion): boolean {
    const { manifests, extents } = this.#options;
    try {
      return manifests.has(version.id) || extents.has(version);
    } catch (error) {
      if (error instanceof MusicfsError) return true;
      throw error;
    }
  }

  #work(batch: readonly Takeover[]): void {
    const { manifests, extents, log } = this.#options;
    const moves = new Map<FileVersion, () => void>();
    try {
      for (const takeover of batch) {
        const inIndex = extents.rekey(takeover);
        if (inIndex) moves.set(takeover.after, inIndex);
      }
      const also = (): void => moves.values().forEach((move) => move());
      manifests.rekey(batch, moves.size > 0 ? also : undefined);
    } catch (error) {
      // A file that the index does not know would count against no limit.
      for (const version of moves.keys()) extents.drop(version);
      const fields = { versions: batch.length, error };
      if (error instanceof MusicfsError) log.debug("What is cached was not taken over", fields);
      else log.error("Taking over what is cached failed in a way nobody planned for", fields);
    }
  }
}
