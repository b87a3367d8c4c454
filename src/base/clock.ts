/** Where time comes from. Tests pass a clock of their own; nothing else in `src/` reads the time. */
export interface Clock {
  /** Wall-clock time in ms since 1970; it may jump. Only for what is shown or kept on disk. */
  now(): number;

  /** Ms since some fixed moment; never goes back. For intervals and time limits. */
  monotonic(): number;

  /** Resolves after `ms`; rejects with the signal's reason if that comes first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const abort = (): void => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", abort);
        resolve();
      }, ms);
      signal?.addEventListener("abort", abort, { once: true });
    }),
};
