import type { Log } from "../base/log.ts";
import type { StopSignal } from "./stop_signal.ts";

/** Faults after which a daemon that has not stopped by then does not wait for it. */
const FAULTS_MAX = 3;

/**
 * Logs what nobody caught, with its stack, and takes the daemon down in order: nothing may be left
 * hanging in a mount whose daemon no longer knows what it is doing.
 *
 * `giveUp` is called with the third fault: stopping in order has failed, too. The result puts
 * everything back.
 */
export function catchFaults(
  { log, stop, giveUp }: { log: Log; stop: Pick<StopSignal, "stop">; giveUp: () => void },
): Disposable {
  let seen = 0;
  const fault = (kind: string, error: unknown): void => {
    log.error(`Unhandled ${kind}`, { thread: "main", error });
    seen += 1;
    stop.stop("fault");
    if (seen === FAULTS_MAX) giveUp();
  };
  const onError = (event: ErrorEvent): void => {
    event.preventDefault();
    fault("error", event.error);
  };
  const onRejection = (event: PromiseRejectionEvent): void => {
    event.preventDefault();
    fault("rejection", event.reason);
  };
  globalThis.addEventListener("error", onError);
  globalThis.addEventListener("unhandledrejection", onRejection);
  return {
    [Symbol.dispose]: () => {
      globalThis.removeEventListener("error", onError);
      globalThis.removeEventListener("unhandledrejection", onRejection);
    },
  };
}
