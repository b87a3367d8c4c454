import type { ByteRange } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import type { WatchedOptions } from "./call_watcher.ts";
import { Failures } from "./failures.ts";
import type { Origin, OriginEntry, OriginFile } from "./origin.ts";
import { ReadRace } from "./read_race.ts";

/** One of several origins that are proven to hold the same bytes. */
export interface FailoverMember {
  readonly origin: Origin;
  /** The file as this member names it. */
  locate(file: OriginFile): OriginFile;
}

/** What failover needs to know of health; `HealthMonitor` is one. */
export interface FailoverHealth {
  /** The items in the order in which to ask; those that are equally well stay as given. */
  order<T>(items: readonly T[], nameOf: (item: T) => string): readonly T[];
  /** This origin was asked at `startedMs` and had gone silent when another one answered. */
  overtaken(name: string, startedMs: number): void;
}

/** How several origins are made one. */
export interface FailoverOptions {
  health: FailoverHealth;
  clock: Clock;
  /** How long a member may send nothing until the next one is asked beside it; 1500 by default. */
  hedgeMs?: number;
}

/**
 * Asks the member that is best off, and the next one after any error: what one lacks another is
 * proven to hold. A read that goes on after another member broke off asks only for the rest.
 *
 * While nothing comes for `hedgeMs` the next member is asked beside the others; the first whole
 * answer counts, and the others are given up. When all have failed, the last retryable error is
 * thrown, else the first: a `PartialRead` if anything came.
 *
 * @param members at least one, the preferred one first
 */
export function failover(members: readonly FailoverMember[], options: FailoverOptions): Origin {
  return new Failover(members, options);
}

class Failover implements Origin {
  readonly name: string;
  readonly #members: readonly FailoverMember[];
  readonly #options: FailoverOptions;

  constructor(members: readonly FailoverMember[], options: FailoverOptions) {
    const [first] = members;
    if (!first) throw new TypeError("Failover needs an origin");
    this.name = first.origin.name;
    this.#members = members;
    this.#options = options;
  }

  async *list(folder: string, options: WatchedOptions): AsyncIterable<OriginEntry> {
    const failures = new Failures();
    for (const { origin } of this.#order()) {
      let hasBegun = false;
      try {
        for await (const entry of origin.list(folder, options)) {
          hasBegun = true;
          yield entry;
        }
        return;
      } catch (error) {
        // Half a listing of one and half of another would be a listing of none.
        if (hasBegun || options.signal.aborted) throw error;
        failures.add(error);
      }
    }
    throw failures.verdict;
  }

  async stat(path: string, options: WatchedOptions): Promise<OriginEntry> {
    const failures = new Failures();
    for (const { origin } of this.#order()) {
      try {
        return await origin.stat(path, options);
      } catch (error) {
        if (options.signal.aborted) throw error;
        failures.add(error);
      }
    }
    throw failures.verdict;
  }

  read(
    file: OriginFile,
    range: ByteRange,
    options: WatchedOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const [only] = this.#members;
    if (only && this.#members.length === 1) {
      return only.origin.read(only.locate(file), range, options);
    }
    const race = new ReadRace(this.#order(), { ...this.#options, file, range, options });
    return race.run();
  }

  #order(): readonly FailoverMember[] {
    return this.#options.health.order(this.#members, ({ origin }) => origin.name);
  }
}
