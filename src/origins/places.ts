/** What a place is asked for with. */
export interface PlaceOptions {
  /** Leaves the queue with its reason. */
  signal: AbortSignal;
  /** Goes behind all who are not, and never takes the last places. */
  isBackground?: boolean | undefined;
}

/**
 * A bounded number of places and the queue before them: readers first, each kind in order.
 *
 * A quarter of the places are kept from background calls, so that no reader ever waits until a
 * long download in the background is over.
 */
export class Places {
  readonly #backgroundMax: number;
  #taken = 0;
  #background = 0;
  readonly #readers = new Set<() => void>();
  readonly #others = new Set<() => void>();

  constructor(readonly max: number) {
    this.#backgroundMax = Math.max(1, max - Math.ceil(max / 4));
  }

  /** Calls that have no place yet. */
  get queued(): number {
    return this.#readers.size + this.#others.size;
  }

  /**
   * Takes a place: what is returned gives it back, once, whoever calls it.
   *
   * Undefined stands for a wait; see {@linkcode Places.wait}.
   */
  tryTake({ isBackground = false }: PlaceOptions): (() => void) | undefined {
    if (!this.#isFree(isBackground)) return undefined;
    return this.#take(isBackground);
  }

  /** As `tryTake()`, when a place is free. */
  wait({ signal, isBackground = false }: PlaceOptions): Promise<() => void> {
    const queue = isBackground ? this.#others : this.#readers;
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const leave = (): void => {
        queue.delete(enter);
        reject(signal.reason);
      };
      const enter = (): void => {
        queue.delete(enter);
        signal.removeEventListener("abort", leave);
        resolve(this.#take(isBackground));
      };
      queue.add(enter);
      signal.addEventListener("abort", leave);
    });
  }

  #isFree(isBackground: boolean): boolean {
    if (this.#taken >= this.max) return false;
    return !isBackground || this.#background < this.#backgroundMax;
  }

  #take(isBackground: boolean): () => void {
    this.#taken += 1;
    if (isBackground) this.#background += 1;
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#taken -= 1;
      if (isBackground) this.#background -= 1;
      this.#next();
    };
  }

  #next(): void {
    const [reader] = this.#readers;
    if (reader && this.#isFree(false)) return reader();
    const [other] = this.#others;
    if (other && this.#isFree(true)) other();
  }
}
