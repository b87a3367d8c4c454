import type { ByteRange } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";

/** A READ that failed sooner costs nobody much when it is made again, in ms. */
const LATE_MS_MIN = 1_000;

/** The kernel asks again at once; a loaded machine takes a while to, in ms. */
const AGAIN_MS_MAX = 200;

/** A READ that was given up. */
interface Failure extends ByteRange {
  node: number;
  origin: string;
  errno: number;
  atMs: number;
}

/**
 * READs whose time was over a moment ago.
 *
 * The kernel reads ahead of the very first byte, and hides that its READ failed: it makes another
 * one for the page that its reader waits for, and only if that fails the reader gets its error. The
 * reader would so wait twice as long as it may; what it asks for is known to be late.
 */
export class LateFailures {
  readonly #clock: Clock;
  /** The oldest first. */
  #failures: Failure[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A READ of a file of `origin` that began at `beganMs` failed with `errno`. */
  note(
    node: number,
    range: ByteRange,
    { origin, errno, beganMs }: { origin: string; errno: number; beganMs: number },
  ): void {
    const atMs = this.#clock.monotonic();
    if (atMs - beganMs < LATE_MS_MIN) return;
    this.#failures.push({ ...range, node, origin, errno, atMs });
  }

  /** A READ of one of its files had its bytes: what is asked for now may have them as well. */
  answered(origin: string): void {
    if (this.#failures.length === 0) return;
    this.#failures = this.#failures.filter((failure) => failure.origin !== origin);
  }

  /** The errno for a READ that lies within one that was given up just now; undefined for all others. */
  errnoOf(node: number, { offset, length }: ByteRange): number | undefined {
    if (this.#failures.length === 0) return undefined;
    const oldestMs = this.#clock.monotonic() - AGAIN_MS_MAX;
    this.#failures = this.#failures.filter(({ atMs }) => atMs >= oldestMs);
    return this.#failures.find((failure) =>
      failure.node === node && offset >= failure.offset &&
      offset + length <= failure.offset + failure.length
    )?.errno;
  }
}
