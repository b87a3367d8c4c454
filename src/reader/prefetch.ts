import type { ByteRange } from "../base/bytes.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { FileVersion } from "../store/file_version.ts";
import { planReadAhead, READ_AHEAD_START, type ReadAheadState } from "./read_ahead.ts";

/** Handles whose reads are remembered. */
const HANDLES_MAX = 4096;

/** Ranges on their way ahead of readers at once, over all handles. */
const PREFETCHES_MAX = 32;

/** Brings a range into the cache; what is there already is not fetched. */
export type Bring = (version: FileVersion, range: ByteRange, signal: AbortSignal) => Promise<void>;

interface Handle {
  version: FileVersion;
  state: ReadAheadState;
  /** Ends what is queued for it. */
  stop: AbortController;
}

/** Follows each handle's reads and fetches ahead of it, in the background. */
export class Prefetch implements AsyncDisposable {
  /** By handle, in order of use. */
  readonly #handles = new Map<number, Handle>();
  readonly #tasks = new Set<Promise<void>>();
  readonly #bring: Bring;
  readonly #log: Log;
  #closed = false;

  constructor(bring: Bring, { log }: { log: Log }) {
    this.#bring = bring;
    this.#log = log;
  }

  /** Notes a read of a handle; handle 0 is nobody's. */
  read(handle: number, version: FileVersion, range: ByteRange): void {
    if (handle === 0 || this.#closed) return;
    let known = this.#handles.get(handle);
    this.#handles.delete(handle);
    if (known?.version.id !== version.id) {
      known?.stop.abort(released());
      known = { version, state: READ_AHEAD_START, stop: new AbortController() };
    }
    this.#handles.set(handle, known);
    if (this.#handles.size > HANDLES_MAX) this.#forgetOldest();
    this.#advance(known, range);
  }

  /** Notes that bytes of a version were read without passing here: its streaming handles go on. */
  passed(id: number, { offset, length }: ByteRange): void {
    for (const handle of this.#handles.values()) {
      const { next, ahead, window } = handle.state;
      if (handle.version.id !== id || window === 0) continue;
      const end = Math.min(offset + length, handle.version.size);
      if (offset > Math.max(next, ahead) || end <= next) continue;
      const from = Math.max(offset, next);
      this.#advance(handle, { offset: from, length: end - from });
    }
  }

  /** Forgets a handle, and what is queued for it. */
  release(handle: number): void {
    this.#handles.get(handle)?.stop.abort(released());
    this.#handles.delete(handle);
  }

  /** Resolves when nothing is on its way. */
  async idle(): Promise<void> {
    while (this.#tasks.size > 0) await Promise.all(this.#tasks);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const handle of this.#handles.keys()) this.release(handle);
    await this.idle();
  }

  #advance(handle: Handle, range: ByteRange): void {
    const { version } = handle;
    const { state, prefetch, jumped } = planReadAhead(handle.state, range, version.size);
    handle.state = state;
    if (jumped) {
      handle.stop.abort(released());
      handle.stop = new AbortController();
    }
    for (const ahead of prefetch) {
      if (this.#tasks.size >= PREFETCHES_MAX) return;
      const task = this.#run(version, ahead, handle.stop.signal);
      this.#tasks.add(task);
      task.finally(() => this.#tasks.delete(task));
    }
  }

  async #run(version: FileVersion, range: ByteRange, signal: AbortSignal): Promise<void> {
    try {
      await this.#bring(version, range, signal);
    } catch (error) {
      if (signal.aborted) return;
      const fields = { path: version.sources[0].path, error };
      // The reader will ask for these bytes itself, and be told.
      if (error instanceof MusicfsError) this.#log.debug("Read-ahead failed", fields);
      else this.#log.error("Read-ahead failed in a way nobody planned for", fields);
    }
  }

  #forgetOldest(): void {
    for (const handle of this.#handles.keys()) {
      this.release(handle);
      return;
    }
  }
}

function released(): MusicfsError {
  return new MusicfsError("timed_out", "Nobody reads on here", {
    op: "reader.prefetch",
    subject: "handle",
  });
}
