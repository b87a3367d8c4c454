/** Why a timer is let go that is not needed any more; nobody sees it. */
const OVER = "over";

/**
 * An abort controller that also follows another signal, until it is disposed of.
 *
 * `AbortSignal.any` would do, but what it makes of a signal that lives as long as the daemon is
 * held for as long in some runtimes; this leaves nothing behind.
 */
export class LinkedAbort implements Disposable {
  readonly #controller = new AbortController();
  readonly #parent: AbortSignal;
  readonly #follow = (): void => this.#controller.abort(this.#parent.reason);

  constructor(parent: AbortSignal) {
    this.#parent = parent;
    if (parent.aborted) this.#follow();
    else parent.addEventListener("abort", this.#follow);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason: unknown): void {
    this.#controller.abort(reason);
  }

  [Symbol.dispose](): void {
    this.#parent.removeEventListener("abort", this.#follow);
  }
}

/** Ends a sleep that nobody waits for; a reason of its own would cost a stack trace each time. */
export function letGo(timer: AbortController): void {
  timer.abort(OVER);
}
