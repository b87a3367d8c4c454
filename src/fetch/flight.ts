import type { ByteRange } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { CallWatcher, WatchedOptions } from "../origins/call_watcher.ts";
import { failover, type FailoverMember } from "../origins/failover.ts";
import type { HealthMonitor } from "../origins/health_monitor.ts";
import type { Origin } from "../origins/origin.ts";
import { retrying } from "../origins/retrying.ts";
import type { FileVersion } from "../store/file_version.ts";

/** Ends a queued attempt that is to be made again, before those that nobody waits for. */
const PROMOTED = new MusicfsError("timed_out", "A reader has come to wait for this range", {
  op: "fetch.flight",
  subject: "flight",
});

/**
 * The shortest outage whose end is not waited for, in ms: a file that alone cannot be read, on an
 * origin that else answers, is not to be tried again and again.
 */
const OUTAGE_MS_MIN = 1_000;

/** What a flight needs from its fetcher. */
export interface FlightOptions {
  /** By the origin's name; single attempts, guarded. */
  readonly origins: ReadonlyMap<string, Origin>;
  readonly health: HealthMonitor;
  readonly clock: Clock;
  readonly random: () => number;
  readonly isBackground: boolean;
  /** Given the bytes before any waiter is, also when nobody waits any more. */
  readonly keep: ((offset: number, bytes: Uint8Array<ArrayBuffer>) => void) | undefined;
}

/**
 * One range of one version on its way from whichever source has it.
 *
 * It belongs to nobody: those who wait come and go. It goes on while somebody waits or a download is
 * under way; it ends when nobody waits and it is queued, or about to be tried again.
 */
export class Flight {
  readonly end: number;
  /** Settles with exactly `range.length` bytes, or the last error. */
  readonly done: Promise<Uint8Array<ArrayBuffer>>;
  /** Why the last round failed, while the next one is awaited. */
  lastError: unknown;
  #wanted = 0;
  #underWay = 0;
  #isBackground: boolean;
  readonly #stop = new AbortController();
  /** Ends the attempt that is being made; the flight goes on, unless it has been stopped. */
  #attempt = this.#stop;

  constructor(
    readonly version: FileVersion,
    readonly range: ByteRange,
    readonly options: FlightOptions,
  ) {
    this.end = range.offset + range.length;
    this.#isBackground = options.isBackground;
    this.done = this.#run();
    // Whoever waits is told; a flight that fails with nobody waiting is nobody's error.
    this.done.catch(() => undefined);
  }

  /** Whether it has been given up, so that nobody may join it. */
  get abandoned(): boolean {
    return this.#stop.signal.aborted;
  }

  /** One more waits for it; a reader brings it forward if it is queued in the background. */
  join({ isBackground }: { isBackground: boolean }): void {
    this.#wanted += 1;
    if (isBackground || !this.#isBackground) return;
    this.#isBackground = false;
    if (this.#underWay === 0) this.#attempt.abort(PROMOTED);
  }

  leave(): void {
    this.#wanted -= 1;
    if (this.#wanted === 0 && this.#underWay === 0) this.#abandon();
  }

  /** Ends it whatever it is doing; who waits gets `reason`. */
  abort(reason: unknown): void {
    this.#stop.abort(reason);
    this.#attempt.abort(reason);
  }

  #abandon(): void {
    this.abort(
      new MusicfsError("timed_out", "Nobody waits for this range any more", {
        op: "fetch.flight",
        subject: this.version.sources[0].path,
      }),
    );
  }

  async #run(): Promise<Uint8Array<ArrayBuffer>> {
    const { size, sources: [{ path, version }] } = this.version;
    const origin = this.#origin();
    for (;;) {
      try {
        const bytes = await origin.read({ path, size, version }, this.range, this.#callOptions());
        this.options.keep?.(this.range.offset, bytes);
        return bytes;
      } catch (error) {
        if (this.abandoned) throw this.#stop.signal.reason;
        if (error !== PROMOTED) throw error;
      }
    }
  }

  #callOptions(): WatchedOptions {
    const isBackground = this.#isBackground;
    // Only a flight in the background can be brought forward, and only once.
    this.#attempt = isBackground ? new AbortController() : this.#stop;
    return { signal: this.#attempt.signal, isBackground, watcher: this.#watcher };
  }

  readonly #watcher: CallWatcher = {
    started: () => this.#underWay += 1,
    ended: () => this.#underWay -= 1,
    paused: () => undefined,
  };

  #origin(): Origin {
    const { origins, health, clock, random } = this.options;
    const { size, sources } = this.version;
    const members: FailoverMember[] = [];
    for (const { origin: name, path, version } of sources) {
      const origin = origins.get(name);
      if (origin) members.push({ origin, locate: () => ({ path, size, version }) });
    }
    if (members.length === 0) throw notConfigured(this.version);
    return retrying(failover(members, { health, clock }), {
      clock,
      random,
      repeatLast: true,
      isWorthIt: () => {
        // Whoever comes from now on must not be given this flight's last error at once.
        if (this.#wanted === 0) this.#abandon();
        return this.#wanted > 0;
      },
      onFailure: (error) => this.lastError = error,
      onReturn: (wake) =>
        health.onChange(({ name, offlineMs }) => {
          const isOurs = sources.some(({ origin }) => origin === name);
          if (isOurs && offlineMs >= OUTAGE_MS_MIN) wake();
        }),
    });
  }
}

function notConfigured({ sources: [{ origin, path }] }: FileVersion): MusicfsError {
  const message = `Cannot read "${path}": origin ${origin} is not configured any more. Add it ` +
    "again, or run `musicfs scan`.";
  return new MusicfsError("not_found", message, { op: "fetch.read", subject: path });
}
