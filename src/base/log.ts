/** Fields beside a log message; an `Error` is written with its stack and cause chain. */
export type LogFields = Readonly<Record<string, unknown>>;

/**
 * Where messages go. Components are handed a `Log`; they never make one.
 *
 * `debug` is for one line a read and the like; `info` for what an operator wants to see once;
 * `warning` for what musicfs mends by itself; `error` for what somebody must look at.
 */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warning(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

/** A log that keeps nothing. */
export const silentLog: Log = {
  debug(): void {},
  info(): void {},
  warning(): void {},
  error(): void {},
};
