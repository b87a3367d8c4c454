import { MusicfsError } from "../base/errors.ts";

/**
 * A body that broke off: what came of it is right, and the read goes on after it.
 *
 * `unavailable`, so whoever knows nothing of parts simply asks again for all of it.
 */
export class PartialRead extends MusicfsError {
  /** The first bytes of the range: at least one, and fewer than were asked for. */
  readonly received: Uint8Array<ArrayBuffer>;

  constructor(
    message: string,
    { received, ...context }: {
      received: Uint8Array<ArrayBuffer>;
      op: string;
      subject: string;
      cause?: unknown;
    },
  ) {
    super("unavailable", message, context);
    this.received = received;
  }
}
