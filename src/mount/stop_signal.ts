import type { Log } from "../base/log.ts";

/** Why a daemon stops. `handover`: without unmounting, because a successor takes the mount over. */
export type StopReason = "signal" | "handover" | "unmount" | "outside" | "fault";

/** Waits for whatever is to end the daemon; the first reason counts. */
export class StopSignal implements Disposable {
  readonly #reason = Promise.withResolvers<StopReason>();
  readonly #listeners = new Map<Deno.Signal, () => void>();
  /** What SIGHUP does. */
  onHangup: () => void = () => {};
  #stopping = false;

  /** `exitNow` is called by a second SIGTERM or SIGINT. */
  constructor(log: Log, exitNow: () => void) {
    const terminate = (signal: Deno.Signal): void => {
      if (this.#stopping) {
        log.warning("A second signal: ending now", { signal });
        return exitNow();
      }
      this.stop("signal");
    };
    this.#listen("SIGTERM", () => terminate("SIGTERM"));
    this.#listen("SIGINT", () => terminate("SIGINT"));
    this.#listen("SIGUSR1", () => this.stop("handover"));
    this.#listen("SIGHUP", () => this.onHangup());
  }

  get stopped(): Promise<StopReason> {
    return this.#reason.promise;
  }

  stop(reason: StopReason): void {
    this.#stopping = true;
    this.#reason.resolve(reason);
  }

  [Symbol.dispose](): void {
    for (const [signal, listener] of this.#listeners) Deno.removeSignalListener(signal, listener);
  }

  #listen(signal: Deno.Signal, listener: () => void): void {
    Deno.addSignalListener(signal, listener);
    this.#listeners.set(signal, listener);
  }
}
