import { MusicfsError } from "../base/errors.ts";

/** What is left to say when nobody could answer. */
export class Failures {
  #first: unknown;
  #lastRetryable: MusicfsError | undefined;

  add(error: unknown): void {
    this.#first ??= error;
    if (error instanceof MusicfsError && error.retryable) this.#lastRetryable = error;
  }

  get verdict(): unknown {
    return this.#lastRetryable ?? this.#first;
  }
}
