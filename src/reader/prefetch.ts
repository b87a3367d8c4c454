import type { ByteRange } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { FileVersion } from "../store/file_version.ts";
import { type AheadOptions, type Bring, bringAhead } from "./bring_ahead.ts";
import {
  isHandedOut,
  NEXT_TRACK_START,
  nextTrackPiece,
  type NextTrackState,
} from "./next_track.ts";
import {
  afterRead,
  aheadOf,
  isInSequence,
  isStreaming,
  nextPiece,
  piecesAtOnce,
  READ_AHEAD_START,
  type ReadAheadState,
  windowBeyond,
  windowOf,
} from "./read_ahead.ts";

/** Handles whose reads are remembered. */
const HANDLES_MAX = 4096;

/** Files of which only the worker's reads are known; each is remembered as if it were a handle. */
const UNSEEN_MAX = 64;

/** Pieces on their way ahead of readers at once, over all handles. */
const PREFETCHES_MAX = 12;

/** And for the tracks after its own, of which nothing is fetched beside pieces of its own. */
const PREFETCHES_OF_NEXT = 2;

/**
 * How long a reader must still be reading after all of its file was here to count as one who plays,
 * in ms: a copy is over by then, and whoever copies comes to the next track soon enough.
 */
const PLAYS_MS = 2_000;

/** Tracks after the one that is played that one window may reach into. */
const NEXT_TRACKS_MAX = 3;

/** What `Prefetch` works with. */
export interface PrefetchOptions {
  /** Whether nothing of a range must be fetched. */
  isHere: (version: FileVersion, range: ByteRange) => boolean;
  bring: Bring;
  /** Bytes that may be kept ahead of each of so many readers. */
  windowMax: (readers: number) => number;
  /** The version that an id names; undefined if there is none (any more). */
  describe: (id: number) => FileVersion | undefined;
  /** The track that is played after this one; undefined if there is none. */
  nextTrack?: ((version: FileVersion) => FileVersion | undefined) | undefined;
  clock: Clock;
  log: Log;
}

interface Handle {
  readonly version: FileVersion;
  state: ReadAheadState;
  /** Ends what is queued for it. */
  stop: AbortController;
  /** Pieces on their way for it: of its own file, and of the tracks after that. */
  underWay: number;
  nextUnderWay: number;
  /** When all of its own file was first seen to be here, in monotonic ms; Infinity until then. */
  wholeMs: number;
  /** The tracks that come next, in order; found as the window reaches them. */
  following: { version: FileVersion; state: NextTrackState }[];
}

interface Piece {
  readonly version: FileVersion;
  readonly range: ByteRange;
}

/** Follows each handle's reads and fetches ahead of it, and of the track after it. */
export class Prefetch implements AsyncDisposable {
  /** By handle, in order of use. */
  readonly #handles = new Map<number, Handle>();
  /** By version id, in order of use: reads of which no handle is known. */
  readonly #unseen = new Map<number, Handle>();
  /** Handles for which something may have to be fetched. */
  readonly #hungry = new Set<Handle>();
  readonly #streaming = new Set<Handle>();
  readonly #tasks = new Set<Promise<void>>();
  /** Those of them that are ahead of readers. */
  #underWay = 0;
  readonly #options: PrefetchOptions;
  readonly #stop = new AbortController();

  constructor(options: PrefetchOptions) {
    this.#options = options;
  }

  /** Whether something is on its way ahead of a reader. */
  get isBusy(): boolean {
    return this.#underWay > 0;
  }

  /** Notes a read of a handle; handle 0 is nobody's. Bytes that it has read in sequence. */
  read(handle: number, version: FileVersion, range: ByteRange): number {
    if (handle === 0 || this.#closed) return 0;
    let known = this.#handles.get(handle);
    this.#handles.delete(handle);
    if (known?.version.id !== version.id) {
      if (known) this.#forget(known);
      known = this.#adopt(version, range) ?? newHandle(version);
    }
    this.#handles.set(handle, known);
    this.#bound(this.#handles, HANDLES_MAX);
    this.#advance(known, range);
    return known.state.run;
  }

  /** Notes that bytes of a version were read without passing here: its readers go on. */
  passed(id: number, { offset, length }: ByteRange): void {
    if (this.#closed) return;
    let found = false;
    for (const handle of this.#handles.values()) {
      const { version, state } = handle;
      if (version.id !== id || !isInSequence(state, offset)) continue;
      found = true;
      if (offset + length > state.next) this.#pass(handle, { offset, length });
    }
    if (!found) this.#passUnseen(id, { offset, length });
  }

  /** Begins to fetch what there is room for. */
  pump(): void {
    while (!this.#closed && this.#tasks.size < PREFETCHES_MAX) {
      const handle = this.#hungriest();
      if (!handle) return;
      const piece = this.#takeSafely(handle);
      if (piece) this.#fetchFor(handle, piece);
      else if (this.#hasPlace(handle)) this.#hungry.delete(handle);
    }
  }

  /** Fetches a range beside what somebody waits for, and as soon as that. */
  bringNow(version: FileVersion, range: ByteRange): void {
    if (this.#closed) return;
    this.#keep(this.#bring({ version, range }, { signal: this.#stop.signal, isBackground: false }));
  }

  /** Forgets a handle, what is queued for it, and what is known of reads of `id` without a handle. */
  release(handle: number, id?: number): void {
    const known = this.#handles.get(handle);
    this.#handles.delete(handle);
    if (known) this.#forget(known);
    const unseen = id === undefined ? undefined : this.#unseen.get(id);
    if (!unseen || id === undefined) return;
    this.#unseen.delete(id);
    this.#forget(unseen);
  }

  /** Resolves when nothing is on its way. */
  async idle(): Promise<void> {
    while (this.#tasks.size > 0) await Promise.all(this.#tasks);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(released());
    for (const handle of [...this.#handles.values(), ...this.#unseen.values()]) {
      this.#forget(handle);
    }
    this.#handles.clear();
    this.#unseen.clear();
    await this.idle();
  }

  get #closed(): boolean {
    return this.#stop.signal.aborted;
  }

  /** A handle's first read that is seen here may go on where the worker answered it. */
  #adopt(version: FileVersion, range: ByteRange): Handle | undefined {
    const unseen = this.#unseen.get(version.id);
    if (!unseen || !isInSequence(unseen.state, range.offset)) return undefined;
    this.#unseen.delete(version.id);
    return unseen;
  }

  #passUnseen(id: number, range: ByteRange): void {
    let handle = this.#unseen.get(id);
    this.#unseen.delete(id);
    if (!handle) {
      const version = this.#options.describe(id);
      if (!version) return;
      handle = newHandle(version);
    }
    this.#unseen.set(id, handle);
    this.#bound(this.#unseen, UNSEEN_MAX);
    this.#pass(handle, range);
  }

  #pass(handle: Handle, { offset, length }: ByteRange): void {
    const end = Math.min(offset + length, handle.version.size);
    this.#advance(handle, { offset, length: end - offset });
  }

  #advance(handle: Handle, range: ByteRange): void {
    if (!isInSequence(handle.state, range.offset)) {
      handle.stop.abort(released());
      handle.stop = new AbortController();
      handle.following = [];
      handle.wholeMs = Infinity;
    }
    handle.state = afterRead(handle.state, range);
    if (isStreaming(handle.state)) this.#streaming.add(handle);
    else this.#streaming.delete(handle);
    if (windowOf(handle.state, Infinity) > 0) this.#hungry.add(handle);
    else this.#hungry.delete(handle);
  }

  /** The handle whose reader comes to the end of what was fetched for it first; next tracks last. */
  #hungriest(): Handle | undefined {
    let found: Handle | undefined;
    let least = Infinity;
    for (const handle of this.#hungry) {
      if (!this.#hasPlace(handle)) continue;
      const ahead = aheadOf(handle.state) - handle.state.next +
        (isPastEnd(handle) ? Number.MAX_SAFE_INTEGER / 2 : 0);
      if (ahead >= least) continue;
      found = handle;
      least = ahead;
    }
    return found;
  }

  /** Whether one more piece may be fetched for it. */
  #hasPlace(handle: Handle): boolean {
    const { underWay, nextUnderWay, state, version } = handle;
    if (!isPastEnd(handle)) return underWay < piecesAtOnce(state);
    if (underWay > 0 || state.next >= version.size) return false;
    const now = this.#options.clock.monotonic();
    handle.wholeMs = Math.min(handle.wholeMs, now);
    return now - handle.wholeMs >= PLAYS_MS && nextUnderWay < PREFETCHES_OF_NEXT;
  }

  /** As `#take`; nothing about what is fetched ahead may end a read. */
  #takeSafely(handle: Handle): Piece | undefined {
    try {
      return this.#take(handle);
    } catch (error) {
      const { path } = handle.version.sources[0];
      this.#options.log.error("Cannot tell what to fetch ahead", { path, error });
      return undefined;
    }
  }

  /** The next piece to fetch for a handle, which is noted as asked for. */
  #take(handle: Handle): Piece | undefined {
    const { version } = handle;
    const windowMax = this.#options.windowMax(this.#streaming.size);
    const place = { size: version.size, windowMax };
    for (;;) {
      const range = nextPiece(handle.state, place);
      if (!range) break;
      handle.state = { ...handle.state, ahead: range.offset + range.length };
      if (!this.#options.isHere(version, range)) return { version, range };
    }
    if (!isPastEnd(handle) || !this.#hasPlace(handle)) return undefined;
    return this.#takeFollowing(handle, windowBeyond(handle.state, place));
  }

  /** What the window reaches of the tracks after this one. */
  #takeFollowing(handle: Handle, beyond: number): Piece | undefined {
    let budget = beyond;
    for (let i = 0; budget > 0 && i < NEXT_TRACKS_MAX; i += 1) {
      const track = this.#following(handle, i);
      if (!track) return undefined;
      const { version } = track;
      const { size } = version;
      for (;;) {
        const next = nextTrackPiece(track.state, { size, budget });
        if (!next) break;
        track.state = next.state;
        if (!this.#options.isHere(version, next.piece)) return { version, range: next.piece };
      }
      if (!isHandedOut(track.state, size)) return undefined;
      budget -= size;
    }
    return undefined;
  }

  /** The `i`-th track after the handle's own; the ones before it are known. */
  #following(handle: Handle, i: number): Handle["following"][number] | undefined {
    const known = handle.following[i];
    if (known) return known;
    const last = handle.following.at(-1)?.version ?? handle.version;
    const version = this.#options.nextTrack?.(last);
    const isKnown = handle.following.some((track) => track.version.id === version?.id);
    if (!version || isKnown || version.id === handle.version.id) return undefined;
    const track = { version, state: NEXT_TRACK_START };
    handle.following.push(track);
    return track;
  }

  #fetchFor(handle: Handle, piece: Piece): void {
    const counter = piece.version === handle.version ? "underWay" : "nextUnderWay";
    handle[counter] += 1;
    this.#underWay += 1;
    const { signal } = handle.stop;
    const ended = this.#bring(piece, { signal, isBackground: true }).then((isRetryable) => {
      handle[counter] -= 1;
      this.#underWay -= 1;
      if (!isRetryable || signal.aborted) return;
      askAgain(handle, piece);
      this.#hungry.delete(handle);
    });
    this.#keep(ended);
  }

  /** Remembers a task until it has ended, and goes on then. */
  #keep(ended: Promise<unknown>): void {
    const task = ended.then(() => {
      this.#tasks.delete(task);
      this.pump();
    });
    this.#tasks.add(task);
  }

  #bring(piece: Piece, options: AheadOptions): Promise<boolean> {
    return bringAhead(piece, { ...this.#options, ...options });
  }

  #forget(handle: Handle): void {
    handle.stop.abort(released());
    this.#hungry.delete(handle);
    this.#streaming.delete(handle);
  }

  #bound(handles: Map<number, Handle>, max: number): void {
    if (handles.size <= max) return;
    for (const [key, handle] of handles) {
      handles.delete(key);
      this.#forget(handle);
      return;
    }
  }
}

function newHandle(version: FileVersion): Handle {
  const stop = new AbortController();
  const state = READ_AHEAD_START;
  const wholeMs = Infinity;
  return { version, state, stop, underWay: 0, nextUnderWay: 0, wholeMs, following: [] };
}

/** Whether all of the handle's own file was asked for. */
function isPastEnd({ state, version }: Handle): boolean {
  return aheadOf(state) >= version.size;
}

/** With the reader's next read; what came meanwhile is not fetched twice. */
function askAgain(handle: Handle, { version, range }: Piece): void {
  if (version.id !== handle.version.id || range.offset < handle.state.next) return;
  handle.state = { ...handle.state, ahead: Math.min(handle.state.ahead, range.offset) };
}

function released(): MusicfsError {
  return new MusicfsError("timed_out", "Nobody reads on here", {
    op: "reader.prefetch",
    subject: "handle",
  });
}
