import { setImmediate } from "node:timers";
import type { Clock } from "../../src/base/clock.ts";

interface Sleeper {
  wakeAt: number;
  wake: () => void;
}

/** A clock that stands still until a test moves it. */
export class VirtualClock implements Clock {
  #ms = 0;
  #sleepers: Sleeper[] = [];

  constructor(readonly startMs = 1_700_000_000_000) {}

  now(): number {
    return this.startMs + this.#ms;
  }

  monotonic(): number {
    return this.#ms;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const leave = (): void => {
        this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
        reject(signal?.reason);
      };
      const wake = (): void => {
        signal?.removeEventListener("abort", leave);
        resolve();
      };
      const sleeper: Sleeper = { wakeAt: this.#ms + ms, wake };
      this.#sleepers.push(sleeper);
      signal?.addEventListener("abort", leave, { once: true });
    });
  }

  /** How long each sleeper still has, in ms, the next one first. */
  get sleeping(): number[] {
    return this.#sleepers.map((sleeper) => sleeper.wakeAt - this.#ms).sort((a, b) => a - b);
  }

  /** Moves on and wakes whoever's time has come; resolves when they have had their turn. */
  async advance(ms: number): Promise<void> {
    this.#ms += ms;
    const due = this.#sleepers.filter((sleeper) => sleeper.wakeAt <= this.#ms);
    this.#sleepers = this.#sleepers.filter((sleeper) => sleeper.wakeAt > this.#ms);
    for (const sleeper of due) sleeper.wake();
    await this.settle();
  }

  /** Lets everything that can go on without time go on. */
  async settle(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}
