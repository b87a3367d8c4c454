import type { ByteRange } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { type ErrorCode, MusicfsError } from "../base/errors.ts";
import { Histogram } from "../base/histogram.ts";
import { ORIGIN_READS_MAX, SCAN_FOLDERS_MAX } from "../base/limits.ts";
import type { BandwidthLimit } from "./bandwidth.ts";
import type { WatchedOptions } from "./call_watcher.ts";
import { exact } from "./exact.ts";
import type { OriginKind } from "./health.ts";
import type { HealthMonitor } from "./health_monitor.ts";
import type { Origin, OriginEntry, OriginFile, TreePage } from "./origin.ts";
import { PartialRead } from "./partial_read.ts";
import { Places } from "./places.ts";
import { retrying } from "./retrying.ts";
import { timeLimited } from "./time_limit.ts";

/**
 * How long a call may go without progress, in ms. A disk that was spun down needs about 8 s; a
 * connection that was cut is better given up early, for a fresh one works as soon as the link does.
 */
const STALL_MS: Readonly<Record<OriginKind, number>> = { local: 15_000, remote: 10_000 };

/** A local origin's read tells of no bytes before its end; slower than 1 Mbit/s is hanging. */
const LOCAL_BYTES_PER_SECOND_MIN = 125_000;

/** What one origin was asked for, and what came of it. */
export interface OriginCounters {
  /** Reads; a read that is cut into pieces counts each. */
  calls: number;
  /** Bytes that arrived. */
  bytes: number;
  /** Reads that failed, whatever the reason. */
  errors: number;
}

/** All that a guarded origin counts. */
export interface GuardedCounters extends OriginCounters {
  lists: number;
  stats: number;
  /** Failed calls of every kind; `other` is what was no `MusicfsError`. */
  errorsByCode: Partial<Record<ErrorCode | "other", number>>;
}

/** What an origin is guarded with. */
export interface GuardOptions {
  /** Decides the time limits, and how many failures take it offline. */
  kind: OriginKind;
  clock: Clock;
  /** Told of what every call shows, and asked whether the origin has just refused us. */
  health: HealthMonitor;
  /** Shared by all origins. */
  bandwidth?: BandwidthLimit | undefined;
}

/**
 * Makes single attempts at an origin safe: at most 16 reads, 16 listings and 16 stats at once, each
 * within a time limit, within the bandwidth, of exactly the length asked for, counted, and known to
 * `health`, which from now on watches and probes the origin.
 */
export function guardOrigin(raw: Origin, options: GuardOptions): GuardedOrigin {
  return new GuardedOrigin(raw, options);
}

/**
 * A guarded origin whose calls are tried again, unless it has been offline for a while: what the
 * library lists through.
 */
export function steady(
  guarded: Origin,
  { clock, random, health }: { clock: Clock; random: () => number; health: HealthMonitor },
): Origin {
  return retrying(guarded, {
    clock,
    random,
    isWorthIt: () => health.isWorthRetrying(guarded.name),
  });
}

/** See {@linkcode guardOrigin}. */
export class GuardedOrigin implements Origin {
  readonly counters: GuardedCounters = {
    calls: 0,
    bytes: 0,
    errors: 0,
    lists: 0,
    stats: 0,
    errorsByCode: {},
  };
  /** Attempts at reads and stats, from when the origin was asked until all had come, or failed. */
  readonly durations: Histogram = new Histogram();
  readonly #options: GuardOptions;
  /** Each for itself: a read never waits for a scan, nor a `stat` for the listing it belongs to. */
  readonly #reads = new Places(ORIGIN_READS_MAX);
  readonly #lists = new Places(SCAN_FOLDERS_MAX);
  readonly #stats = new Places(ORIGIN_READS_MAX);
  /** One attempt: time limit, exact length, health. */
  readonly #attempts: Origin;

  readonly listTree?: NonNullable<Origin["listTree"]>;

  constructor(readonly raw: Origin, options: GuardOptions) {
    const { kind, clock, health } = options;
    const stallMs = STALL_MS[kind];
    const limits = kind === "local"
      ? { clock, stallMs, bytesPerSecondMin: LOCAL_BYTES_PER_SECOND_MIN }
      : { clock, stallMs };
    this.#options = options;
    const attempts = health.watching(raw, { kind, calls: exact(timeLimited(raw, limits)) });
    this.#attempts = attempts;
    const { listTree } = attempts;
    if (listTree) {
      this.listTree = (cursor, call) =>
        this.#listPage((guarded) => listTree.call(attempts, cursor, guarded), call);
    }
  }

  get name(): string {
    return this.raw.name;
  }

  /** Calls that wait until one of those under way is over. */
  get queued(): number {
    return this.#reads.queued + this.#lists.queued + this.#stats.queued;
  }

  async *list(folder: string, options: WatchedOptions): AsyncIterable<OriginEntry> {
    using place = await this.#enter(this.#lists, options);
    this.counters.lists += 1;
    try {
      yield* this.#attempts.list(folder, place.options);
    } catch (error) {
      this.#failed(error, options);
      throw error;
    }
  }

  async #listPage(
    call: (options: WatchedOptions) => Promise<TreePage>,
    options: WatchedOptions,
  ): Promise<TreePage> {
    using place = await this.#enter(this.#lists, options);
    this.counters.lists += 1;
    try {
      return await call(place.options);
    } catch (error) {
      this.#failed(error, options);
      throw error;
    }
  }

  async stat(path: string, options: WatchedOptions): Promise<OriginEntry> {
    using place = await this.#enter(this.#stats, options);
    this.counters.stats += 1;
    using _timed = this.#timed();
    try {
      return await this.#attempts.stat(path, place.options);
    } catch (error) {
      this.#failed(error, options);
      throw error;
    }
  }

  async read(
    file: OriginFile,
    range: ByteRange,
    options: WatchedOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    using place = await this.#enter(this.#reads, options);
    const pieceBytes = this.#options.bandwidth?.pieceBytes ?? Infinity;
    if (range.length <= pieceBytes) return await this.#readPiece(file, range, place);
    const whole = new Uint8Array(range.length);
    let done = 0;
    while (done < range.length) {
      const length = Math.min(this.#options.bandwidth?.pieceBytes ?? Infinity, range.length - done);
      try {
        const piece = { offset: range.offset + done, length };
        whole.set(await this.#readPiece(file, piece, place), done);
      } catch (error) {
        throw done > 0 ? brokenOff(error, whole, done) : error;
      }
      done += length;
    }
    return whole;
  }

  async #readPiece(
    file: OriginFile,
    range: ByteRange,
    place: Place,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { options } = place;
    const turn = this.#options.bandwidth?.take(range.length, options);
    if (turn) {
      options.watcher?.paused(true);
      try {
        await turn;
      } finally {
        options.watcher?.paused(false);
      }
    }
    place.start();
    this.counters.calls += 1;
    using _timed = this.#timed();
    try {
      const bytes = await this.#attempts.read(file, range, options);
      this.counters.bytes += bytes.length;
      return bytes;
    } catch (error) {
      if (error instanceof PartialRead) this.counters.bytes += error.received.length;
      if (!options.signal.aborted) this.counters.errors += 1;
      this.#failed(error, options);
      throw error;
    }
  }

  /** Counts, when it is disposed of, how long that took. */
  #timed(): Disposable {
    const { clock } = this.#options;
    const began = clock.monotonic();
    return { [Symbol.dispose]: () => this.durations.observe(clock.monotonic() - began) };
  }

  async #enter(places: Places, options: WatchedOptions): Promise<Place> {
    options.signal.throwIfAborted();
    const refusal = this.#options.health.refusal(this.name);
    if (refusal) throw refusal;
    const giveBack = places.tryTake(options) ?? await places.wait(options);
    return new Place(giveBack, { options, keeps: this.#options.kind === "local" });
  }

  #failed(error: unknown, { signal }: WatchedOptions): void {
    if (signal.aborted) return;
    const code = error instanceof MusicfsError ? error.code : "other";
    const { errorsByCode } = this.counters;
    errorsByCode[code] = (errorsByCode[code] ?? 0) + 1;
  }
}

/**
 * A place that is held until the call is over.
 *
 * What a dead NAS never answers holds a thread for good: such a call keeps its place when it is
 * given up. A remote origin has nothing of ours but a connection, which it closes.
 */
class Place implements Disposable {
  readonly options: WatchedOptions;
  readonly #giveBack: () => void;
  #left: Promise<unknown> | undefined;
  #hasStarted = false;

  constructor(
    giveBack: () => void,
    { options, keeps }: { options: WatchedOptions; keeps: boolean },
  ) {
    this.#giveBack = giveBack;
    this.options = keeps ? { ...options, onLeftBehind: (call) => this.#left = call } : options;
  }

  start(): void {
    if (this.#hasStarted) return;
    this.#hasStarted = true;
    this.options.watcher?.started();
  }

  [Symbol.dispose](): void {
    if (this.#hasStarted) this.options.watcher?.ended();
    if (this.#left) this.#left.then(this.#giveBack, this.#giveBack);
    else this.#giveBack();
  }
}

/** What is to be thrown when a later piece of a read failed. */
function brokenOff(error: unknown, whole: Uint8Array<ArrayBuffer>, done: number): unknown {
  if (!(error instanceof MusicfsError) || !error.retryable) return error;
  let received = done;
  if (error instanceof PartialRead) {
    whole.set(error.received, done);
    received += error.received.length;
  }
  const { message, op, subject } = error;
  return new PartialRead(message, {
    received: whole.slice(0, received),
    op,
    subject,
    cause: error,
  });
}
