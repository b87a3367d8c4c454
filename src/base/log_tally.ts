import type { Clock } from "./clock.ts";
import type { Log, LogFields } from "./log.ts";

/** A log that counts what needs a look, and remembers the last error, for `musicfs status`. */
export class LogTally implements Log {
  warnings = 0;
  errors = 0;
  /** The last error's message and its cause, on one line; null before the first. */
  lastError: string | null = null;
  /** When, in ms since 1970. */
  lastErrorMs: number | null = null;

  constructor(readonly inner: Log, readonly clock: Clock) {}

  debug(message: string, fields?: LogFields): void {
    this.inner.debug(message, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.inner.info(message, fields);
  }

  warning(message: string, fields?: LogFields): void {
    this.warnings += 1;
    this.inner.warning(message, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.errors += 1;
    const cause = fields?.error instanceof Error ? `: ${fields.error.message}` : "";
    this.lastError = `${message}${cause}`.replace(/\s+/g, " ");
    this.lastErrorMs = this.clock.now();
    this.inner.error(message, fields);
  }
}
