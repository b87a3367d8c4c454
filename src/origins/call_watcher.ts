import type { CallOptions } from "./origin.ts";

/** Told how far a call has come on its way to an origin. None of its methods may throw. */
export interface CallWatcher {
  /** An attempt has left the queues: from now on the origin itself is asked. */
  started(): void;
  /** An attempt that had started is over. */
  ended(): void;
  /** An attempt begins or ceases to wait for its share of the bandwidth, which is nobody's fault. */
  paused(isPaused: boolean): void;
}

/**
 * What the wrappers tell each other beside what every origin is told. Each of them passes on the
 * options that it has no use for.
 */
export interface WatchedOptions extends CallOptions {
  watcher?: CallWatcher | undefined;
  /** Given what was given up and goes on all the same, so that its place is not taken. */
  onLeftBehind?: ((call: Promise<unknown>) => void) | undefined;
}
