import type { ByteRange } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { orAborted } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { GuardedOrigin, OriginCounters } from "../origins/guarded.ts";
import type { HealthMonitor } from "../origins/health_monitor.ts";
import { letGo } from "../origins/linked_abort.ts";
import type { FileVersion } from "../store/file_version.ts";
import { Flight } from "./flight.ts";

/** What a fetcher is made of. */
export interface ContentFetcherOptions {
  /** By `Origin.name`. */
  origins: ReadonlyMap<string, GuardedOrigin>;
  /** The one that the origins are guarded with; decides which of a version's sources is asked. */
  health: HealthMonitor;
  clock: Clock;
  log: Log;
  /** How long one call keeps trying, over all sources, in ms. */
  readTimeoutMs: number;
  /** Chance in [0, 1), for jitter. */
  random: () => number;
}

/** How one range is fetched. */
export interface FetchOptions {
  /** The waiter leaves with the signal's reason; the download goes on if it is under way. */
  signal: AbortSignal;
  /**
   * Given what this call causes to be read, before the call returns and also if it does not: pieces
   * of the range, each once. It must not throw.
   */
  keep?: (offset: number, bytes: Uint8Array<ArrayBuffer>) => void;
  /**
   * Whether no reader waits for it (read-ahead, `warm`, proofs): it then queues behind what readers
   * wait for, until one of them comes to wait for it too.
   */
  isBackground?: boolean;
}

/**
 * Brings ranges of files from their origins: exact bytes or a typed error.
 *
 * Calls that overlap share the origin's reads: what is on its way is awaited, and only the gaps are
 * asked for. Any error is followed by the next source, the healthiest first, and so is silence;
 * when all have failed, retryable errors are tried again until `readTimeoutMs` is over. A missing or
 * changed file that no source has is an answer.
 */
export class ContentFetcher implements AsyncDisposable {
  readonly #flights = new Map<number, Flight[]>();
  #closed: MusicfsError | undefined;
  readonly #options: ContentFetcherOptions;

  /** For reads that begin from now on; see `ContentFetcherOptions`. */
  readTimeoutMs: number;

  constructor(options: ContentFetcherOptions) {
    this.#options = options;
    this.readTimeoutMs = options.readTimeoutMs;
  }

  /**
   * Exactly the bytes of `range`, which must lie within the version.
   *
   * The result may be shared with other callers of the same range: it must not be written to.
   */
  async fetch(
    version: FileVersion,
    range: ByteRange,
    { signal, keep, isBackground = false }: FetchOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    signal.throwIfAborted();
    if (this.#closed) throw this.#closed;
    const parts = this.#cover(version, range, { keep, isBackground });
    for (const part of parts) part.join({ isBackground });
    const timer = new AbortController();
    try {
      const all = Promise.all(parts.map((part) => part.done));
      const inTime = Promise.race([all, this.#timeOut(parts, timer.signal)]);
      return assemble(parts, await orAborted(inTime, signal), range);
    } finally {
      letGo(timer);
      for (const part of parts) part.leave();
    }
  }

  /** Waits until what is on its way of a version by now has come, or failed. */
  async landed(versionId: number): Promise<void> {
    const flights = this.#flights.get(versionId) ?? [];
    await Promise.allSettled(flights.map((flight) => flight.done));
  }

  /** Whether an origin that has the version is not known to be down. */
  isUp({ sources }: FileVersion): boolean {
    return sources.some(({ origin }) => this.#options.health.isUp(origin));
  }

  /** Ranges that are on their way. */
  get flights(): number {
    let count = 0;
    for (const flights of this.#flights.values()) count += flights.length;
    return count;
  }

  /** Calls, bytes and errors so far, by the origin's name. */
  counters(): ReadonlyMap<string, Readonly<OriginCounters>> {
    return new Map(
      Array.from(this.#options.origins, ([name, { counters: { calls, bytes, errors } }]) => [
        name,
        { calls, bytes, errors },
      ]),
    );
  }

  /** Ends all that is under way; who still waits gets `unavailable`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= new MusicfsError("unavailable", "Cannot fetch: musicfs is stopping", {
      op: "fetch.close",
      subject: "fetcher",
    });
    const flights = [...this.#flights.values()].flat();
    for (const flight of flights) flight.abort(this.#closed);
    await Promise.allSettled(flights.map((flight) => flight.done));
  }

  /** Flights that cover the range between them, in order; starts those that are missing. */
  #cover(version: FileVersion, range: ByteRange, how: StartOptions): Flight[] {
    const end = range.offset + range.length;
    const flights = this.#flights.get(version.id) ?? [];
    const known = flights
      .filter((flight) =>
        !flight.abandoned && flight.range.offset < end && flight.end > range.offset
      )
      .sort((a, b) => a.range.offset - b.range.offset);
    const parts: Flight[] = [];
    let at = range.offset;
    for (const flight of known) {
      if (flight.range.offset > at) {
        const gap = { offset: at, length: flight.range.offset - at };
        parts.push(this.#start(version, gap, how));
      }
      parts.push(flight);
      at = flight.end;
    }
    if (at < end) parts.push(this.#start(version, { offset: at, length: end - at }, how));
    return parts;
  }

  #start(version: FileVersion, range: ByteRange, how: StartOptions): Flight {
    const flight = new Flight(version, range, { ...this.#options, ...how });
    const flights = this.#flights.get(version.id) ?? [];
    flights.push(flight);
    this.#flights.set(version.id, flights);
    const forget = (): void => {
      const at = flights.indexOf(flight);
      if (at >= 0) flights.splice(at, 1);
      if (flights.length === 0 && this.#flights.get(version.id) === flights) {
        this.#flights.delete(version.id);
      }
    };
    flight.done.then(forget, forget);
    return flight;
  }

  async #timeOut(parts: readonly Flight[], signal: AbortSignal): Promise<never> {
    const { clock } = this.#options;
    const { readTimeoutMs } = this;
    await clock.sleep(readTimeoutMs, signal);
    const known = parts.map((part) => part.lastError).find((error) => error !== undefined);
    const path = parts[0]?.version.sources[0].path ?? "";
    const message = `Cannot read "${path}": no origin answered within ${readTimeoutMs} ms. ` +
      "Check the origin with `musicfs status`.";
    throw known ?? new MusicfsError("timed_out", message, { op: "fetch.read", subject: path });
  }
}

/** How a flight that is missing is started. */
interface StartOptions {
  keep: FetchOptions["keep"];
  isBackground: boolean;
}

/** Cuts the range out of the flights' bytes; without a copy if one flight holds it all. */
function assemble(
  parts: readonly Flight[],
  bytes: readonly Uint8Array<ArrayBuffer>[],
  range: ByteRange,
): Uint8Array<ArrayBuffer> {
  const end = range.offset + range.length;
  const pieces = parts.map((part, i) => {
    const { offset } = part.range;
    const from = Math.max(0, range.offset - offset);
    return (bytes[i] ?? new Uint8Array()).subarray(from, Math.min(end, part.end) - offset);
  });
  const [only] = pieces;
  if (only && pieces.length === 1) return only;
  const whole = new Uint8Array(range.length);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
