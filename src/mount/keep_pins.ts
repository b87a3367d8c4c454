import { setImmediate } from "node:timers/promises";
import type { Clock } from "../base/clock.ts";
import type { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Entry } from "../library/entry.ts";
import type { WarmResult } from "./cache_commands.ts";
import { filesBelow } from "./library_paths.ts";
import type { PinReader } from "./pin_commands.ts";
import { outermost, type Pins } from "./pins.ts";
import {
  cachedBytesOf,
  currentVersion,
  isPinned,
  roomBytes,
  type WarmCache,
  WarmRun,
} from "./warm.ts";

/** After a change below a pin, time for the rest of an album to appear, in ms. */
const SETTLE_MS = 2_000;

/** Time until an origin that was down is asked again for what is pinned, in ms. */
const RETRY_MS = 60_000;

/** What the task works on. */
export interface KeepPinsParts {
  cache: WarmCache;
  reader: PinReader;
  pins: Pins;
  clock: Clock;
  /** Ends the task, with its reason. */
  signal: AbortSignal;
  log: Log;
}

/**
 * Keeps what is pinned on this disk: what appears or changes below a pin is fetched and never
 * evicted. Looks at all pins at the start, after each change below one, and every `poll_interval`.
 *
 * Origins that are down are asked again the next time. Ends with the signal's reason only.
 */
export async function keepPins(parts: KeepPinsParts): Promise<void> {
  const { cache, pins, clock, signal } = parts;
  const kept = new KeptVersions(parts);
  let wake = new AbortController();
  const stopListening = cache.library.listen((events) => {
    if (pins.size > 0 && events.some(({ path }) => pins.above(path))) wake.abort();
  });
  const stopWatching = pins.listen(() => {
    kept.doubt();
    wake.abort();
  });
  try {
    for (;;) {
      signal.throwIfAborted();
      wake = new AbortController();
      const isComplete = await kept.bringUpToDate();
      const { pollIntervalMs } = cache.config;
      const waitMs = isComplete ? pollIntervalMs : Math.min(RETRY_MS, pollIntervalMs);
      const either = AbortSignal.any([signal, wake.signal]);
      // Ended early by a change, or by the end: both are looked at below.
      await clock.sleep(waitMs, either).catch(() => undefined);
      signal.throwIfAborted();
      if (wake.signal.aborted) await clock.sleep(SETTLE_MS, signal);
    }
  } finally {
    stopListening();
    stopWatching();
  }
}

/** What is known to be whole and pinned, and the way there. */
class KeptVersions {
  readonly #parts: KeepPinsParts;
  /** Version ids by entry. */
  #known = new Map<number, number>();
  /** Whether what is known may have been undone. */
  #isDoubted = false;
  /** What was said last, so that it is said once. */
  #complaint = "";

  constructor(parts: KeepPinsParts) {
    this.#parts = parts;
  }

  /** From now on nothing is known: chunks that files share may have been let go. */
  doubt(): void {
    this.#isDoubted = true;
  }

  /**
   * Fetches and pins what is not; once more if chunks were let go meanwhile. False if something is
   * left to fetch.
   */
  async bringUpToDate(): Promise<boolean> {
    for (;;) {
      const isComplete = await this.#lookAtAll();
      if (!this.#isDoubted) return isComplete;
      this.#isDoubted = false;
      this.#known.clear();
    }
  }

  async #lookAtAll(): Promise<boolean> {
    const { cache, reader, pins, signal, log } = this.#parts;
    const paths = outermost(pins.list().map(({ path }) => path));
    const roots = paths.flatMap((path) => cache.namespace.find(path) ?? []);
    const before = this.#known;
    this.#known = new Map();
    const run = new WarmRun(this.#parts, { total: { files: 0, bytes: 0, diskBytes: 0 } });
    const unlisted = (folder: Entry, error: MusicfsError): void =>
      log.debug("A pinned folder cannot be listed now", { folder: folder.name, error });
    const room = roomBytes(cache);
    let needBytes = 0;
    let tooMany = 0;
    for await (const page of filesBelow(cache, roots, { signal, unlisted })) {
      const fitting = page.filter(({ size }) => {
        needBytes += cachedBytesOf(size);
        return needBytes <= room;
      });
      tooMany += page.length - fitting.length;
      const todo: Entry[] = [];
      for (const entry of fitting) {
        if (!this.#isKept(entry, before)) todo.push(entry);
        await setImmediate();
      }
      await run.fetch(todo, (version) => reader.pin(version));
      for (const entry of todo) this.#isKept(entry, before);
    }
    for (const id of before.values()) this.#letGo(id);
    const result = run.result();
    this.#report(result, tooMany);
    return result.failed === 0;
  }

  /**
   * Whether a file is whole and pinned; then it is noted, and taken from `before`. A version that it
   * replaced is let go: nobody asked to keep that.
   */
  #isKept({ id }: Entry, before: Map<number, number>): boolean {
    const { cache } = this.#parts;
    const entry = cache.namespace.entry(id);
    const version = entry && currentVersion(cache, entry);
    const earlier = before.get(id);
    before.delete(id);
    const isNew = earlier !== version?.id;
    if (earlier !== undefined && isNew) this.#letGo(earlier);
    if (!version) return true;
    // What is pinned is not evicted: once is enough to look at each chunk.
    if (isNew && !isPinned(cache, version)) return false;
    this.#known.set(id, version.id);
    return true;
  }

  #letGo(id: number): void {
    const { cache, reader } = this.#parts;
    const version = cache.namespace.version(id);
    if (!version) return;
    reader.unpin(version, []);
    this.doubt();
  }

  #report({ fetched_bytes, failed, failures }: WarmResult, tooMany: number): void {
    const { log } = this.#parts;
    if (fetched_bytes > 0) log.info("Fetched what is pinned", { bytes: fetched_bytes });
    if (tooMany > 0) {
      this.#complain("Not all that is pinned fits into max_size; raise it, or unpin something", {
        files: tooMany,
      });
    } else if (failed > 0) {
      const [first] = failures;
      this.#complain("Not all that is pinned could be fetched; it is tried again", {
        files: failed,
        ...first,
      });
    } else this.#complaint = "";
  }

  #complain(message: string, fields: Record<string, unknown>): void {
    if (this.#complaint === message) return;
    this.#complaint = message;
    this.#parts.log.warning(message, fields);
  }
}
