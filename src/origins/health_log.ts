import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";

/** The least time between two lines that say that an origin begins to fail, in ms. */
const QUIET_MS = 60_000;

/** Logs where an origin begins and ends to fail: an outage is not a line a read. */
export class HealthLog {
  readonly #origin: string;
  readonly #parts: { readonly clock: Clock; readonly log: Log };
  /** Whether the last line said that it fails. */
  #isTold = false;
  #toldMs = -Infinity;
  #failedCalls = 0;

  constructor(origin: string, parts: { readonly clock: Clock; readonly log: Log }) {
    this.#origin = origin;
    this.#parts = parts;
  }

  answered(): void {
    if (this.#isTold) this.#parts.log.info("Origin answers again", { origin: this.#origin });
    this.#isTold = false;
    this.#failedCalls = 0;
  }

  failed(error: unknown): void {
    this.#failedCalls += 1;
    const { clock, log } = this.#parts;
    if (this.#isTold || clock.monotonic() - this.#toldMs < QUIET_MS) return;
    this.#isTold = true;
    this.#toldMs = clock.monotonic();
    const fields = { origin: this.#origin, error };
    if (error instanceof MusicfsError) log.warning("Origin fails", fields);
    else log.error("Origin failed in a way nobody planned for", fields);
  }

  /** The one line a minute of an outage. */
  stillOffline(seconds: number, lastError: string | null): void {
    this.#isTold = true;
    this.#parts.log.warning("Origin is offline", {
      origin: this.#origin,
      seconds: Math.round(seconds),
      failedCalls: this.#failedCalls,
      lastError,
    });
  }
}
