import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";

/** Least time between two lines about failed reads, in ms. */
const SUMMARY_MS = 60_000;

/** A request that could not be answered. */
export interface ReadFailure {
  /** What was asked for: a path, or a node. */
  subject: string;
  error: unknown;
}

/**
 * Tells of readers' failures: the first at once, and then one line a minute that sums up, however
 * many there are. Each of them is there at debug.
 */
export class ReadFailures {
  readonly #clock: Clock;
  readonly #log: Log;
  #toldMs = -Infinity;
  #untold = 0;

  constructor({ clock, log }: { clock: Clock; log: Log }) {
    this.#clock = clock;
    this.#log = log;
  }

  note({ subject, error }: ReadFailure): void {
    const now = this.#clock.monotonic();
    if (now - this.#toldMs < SUMMARY_MS) {
      this.#untold += 1;
      this.#log.debug("Cannot read", { subject, error });
      return;
    }
    const others = this.#untold > 0 ? { othersSince: this.#untold } : {};
    this.#log.warning("Cannot read", { subject, error, ...others });
    this.#toldMs = now;
    this.#untold = 0;
  }
}
