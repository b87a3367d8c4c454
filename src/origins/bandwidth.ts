import type { Clock } from "../base/clock.ts";
import { letGo } from "./linked_abort.ts";

/** Share of a second's bytes that one request may ask for. */
const PIECES_PER_SECOND = 4;

/** No request is cut into pieces smaller than this, in bytes: each costs a round trip. */
const PIECE_BYTES_MIN = 16 * 1024;

/** How much of a timer's lateness is made up for, in ms; more would be a burst. */
const LATE_MS_MAX = 20;

/** What bytes are asked for with. */
export interface TakeOptions {
  /** Leaves the queue with its reason. */
  signal: AbortSignal;
  /** Goes behind all who are not. */
  isBackground?: boolean | undefined;
}

interface Waiting {
  readonly bytes: number;
  readonly enter: () => void;
}

/**
 * How many bytes a second all origins together may be asked for.
 *
 * Nothing is saved up: requests start no closer together than their bytes need at this rate, so
 * that the rate holds over any second, give or take a piece of 16 KiB.
 */
export class BandwidthLimit {
  readonly #clock: Clock;
  #rate: number | undefined;
  /** When the bytes granted so far are paid for, on the monotonic clock. */
  #freeAt = 0;
  readonly #readers = new Set<Waiting>();
  readonly #others = new Set<Waiting>();
  #timer: AbortController | undefined;

  /** @param bytesPerSecond > 0; undefined for no limit */
  constructor(bytesPerSecond: number | undefined, clock: Clock) {
    this.#rate = bytesPerSecond;
    this.#clock = clock;
  }

  /** Bytes a second, or undefined for no limit. */
  get rate(): number | undefined {
    return this.#rate;
  }

  /** The most that one request should ask for, in bytes; `Infinity` without a limit. */
  get pieceBytes(): number {
    if (this.#rate === undefined) return Infinity;
    return Math.max(PIECE_BYTES_MIN, Math.floor(this.#rate / PIECES_PER_SECOND));
  }

  /** Another limit from now on, also for those who wait. */
  setRate(bytesPerSecond: number | undefined): void {
    const now = this.#clock.monotonic();
    const owedBytes = Math.max(0, this.#freeAt - now) * (this.#rate ?? 0);
    this.#rate = bytesPerSecond;
    this.#freeAt = bytesPerSecond === undefined ? now : now + owedBytes / bytesPerSecond;
    this.#serve();
  }

  /**
   * Waits for leave to ask for `bytes`: readers first, each kind in order.
   *
   * Undefined if there is nothing to wait for. Throws the signal's reason.
   */
  take(bytes: number, { signal, isBackground = false }: TakeOptions): Promise<void> | undefined {
    if (this.#rate === undefined) return undefined;
    const isFree = this.#readers.size + this.#others.size === 0 &&
      this.#clock.monotonic() >= this.#freeAt;
    if (isFree) {
      this.#grant(bytes, 0);
      return undefined;
    }
    const queue = isBackground ? this.#others : this.#readers;
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const leave = (): void => {
        queue.delete(waiting);
        reject(signal.reason);
        this.#serve();
      };
      const enter = (): void => {
        queue.delete(waiting);
        signal.removeEventListener("abort", leave);
        this.#grant(bytes, LATE_MS_MAX);
        resolve();
      };
      const waiting = { bytes, enter };
      queue.add(waiting);
      signal.addEventListener("abort", leave);
      this.#serve();
    });
  }

  #grant(bytes: number, lateMs: number): void {
    if (this.#rate === undefined) return;
    const from = Math.max(this.#freeAt, this.#clock.monotonic() - lateMs);
    this.#freeAt = from + bytes / this.#rate * 1_000;
  }

  /** Lets in whoever's turn has come, and sleeps until the next one's has. */
  #serve(): void {
    if (this.#timer) letGo(this.#timer);
    this.#timer = undefined;
    for (;;) {
      const [next] = this.#readers.size > 0 ? this.#readers : this.#others;
      if (!next) return;
      const waitMs = this.#rate === undefined ? 0 : this.#freeAt - this.#clock.monotonic();
      if (waitMs > 0) return this.#sleep(waitMs);
      next.enter();
    }
  }

  #sleep(ms: number): void {
    const timer = new AbortController();
    this.#timer = timer;
    this.#clock.sleep(ms, timer.signal).then(() => {
      if (this.#timer === timer) this.#serve();
    }, () => undefined);
  }
}
