import type { ByteRange } from "../../src/base/bytes.ts";
import type { Clock } from "../../src/base/clock.ts";
import { orAborted } from "../../src/base/concurrency.ts";
import { type ErrorCode, MusicfsError } from "../../src/base/errors.ts";
import type { CallOptions, Origin, OriginEntry, OriginFile } from "../../src/origins/origin.ts";
import { PartialRead } from "../../src/origins/partial_read.ts";

/** Decides which of the calls it is asked about fail. */
export class FaultPlan {
  /** Faults given so far. */
  hits = 0;
  #calls = 0;

  constructor(
    readonly failAt: number,
    readonly lasts: "once" | "for_good",
    readonly code: ErrorCode = "unavailable",
  ) {}

  /** Throws if the plan says that this call, the n-th since the start, fails. */
  check(op: string, subject: string): void {
    this.#calls += 1;
    const fails = this.lasts === "once" ? this.#calls === this.failAt : this.#calls >= this.failAt;
    if (!fails) return;
    this.hits += 1;
    throw new MusicfsError(this.code, `Injected fault ${this.failAt}`, { op, subject });
  }
}

/** What a `FaultyOrigin` does with its calls. Counts begin when the mode is set. */
export type FaultMode =
  | { kind: "healthy" }
  /** Every nth call fails. */
  | { kind: "every"; nth: number; code?: ErrorCode }
  /** After so many good calls all fail. */
  | { kind: "after"; calls: number; code?: ErrorCode }
  /** Every call fails. */
  | { kind: "error"; code: ErrorCode; message?: string }
  /** Calls wait for `ms` of the clock before they reach the origin. */
  | { kind: "slow"; ms: number }
  /** Bytes come one piece every `ms`, with progress told of each. */
  | { kind: "trickle"; pieces: number; ms: number }
  /** Calls never answer; `heeds` says whether they end with their signal (they do). */
  | { kind: "hang"; heeds?: boolean }
  /** Reads break off after so many bytes, and listings after so many names. */
  | { kind: "partial"; count: number }
  /** Reads return so many bytes too many (or, below 0, too few). */
  | { kind: "over_long"; bytes: number }
  /** Reads find another version. */
  | { kind: "changed" };

/** What a `FaultyOrigin` is made of beside the origin. */
export interface FaultyOptions {
  plan?: FaultPlan;
  mode?: FaultMode;
  /** For the modes that take time. */
  clock?: Clock;
}

/**
 * An origin whose calls fail as the plan and the mode say, and otherwise reach `inner`. The mode may
 * be changed at any time; it counts for the calls that begin from then on.
 */
export class FaultyOrigin implements Origin {
  readonly name: string;
  /** Calls so far, by method. */
  readonly calls = { list: 0, stat: 0, read: 0 };
  /** Ranges of all reads so far, in order. */
  readonly ranges: ByteRange[] = [];
  /** Calls that have begun and not ended, and the most there ever were. */
  readonly underWay = { now: 0, max: 0 };
  readonly plan: FaultPlan | undefined;
  readonly #clock: Clock | undefined;
  #mode: FaultMode;
  #sinceMode = 0;
  #hung: (() => void)[] = [];

  constructor(readonly inner: Origin, options: FaultPlan | FaultyOptions = {}) {
    const { plan, mode = { kind: "healthy" }, clock } = options instanceof FaultPlan
      ? { plan: options }
      : options;
    this.name = inner.name;
    this.plan = plan;
    this.#mode = mode;
    this.#clock = clock;
  }

  set mode(mode: FaultMode) {
    this.#mode = mode;
    this.#sinceMode = 0;
  }

  get mode(): FaultMode {
    return this.#mode;
  }

  /** Ends what hangs, as if the connection were closed. */
  endHung(): void {
    for (const end of this.#hung.splice(0)) end();
  }

  async *list(folder: string, options: CallOptions): AsyncIterable<OriginEntry> {
    const mode = await this.#begin("list", folder, options);
    try {
      let left = mode.kind === "partial" ? mode.count : Infinity;
      for await (const entry of this.inner.list(folder, options)) {
        if (left <= 0) throw fault("unavailable", "list", folder);
        left -= 1;
        options.onProgress?.();
        yield entry;
      }
    } finally {
      this.underWay.now -= 1;
    }
  }

  async stat(path: string, options: CallOptions): Promise<OriginEntry> {
    await this.#begin("stat", path, options);
    try {
      return await this.inner.stat(path, options);
    } finally {
      this.underWay.now -= 1;
    }
  }

  async read(
    file: OriginFile,
    range: ByteRange,
    options: CallOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    this.ranges.push(range);
    const mode = await this.#begin("read", file.path, options);
    try {
      if (mode.kind === "changed") throw fault("changed", "read", file.path);
      const bytes = await this.inner.read(file, range, options);
      options.onProgress?.();
      if (mode.kind === "partial" && mode.count < bytes.length) {
        const received = bytes.slice(0, mode.count);
        if (mode.count === 0) throw fault("unavailable", "read", file.path);
        throw new PartialRead("Broke off", { received, op: "faulty.read", subject: file.path });
      }
      if (mode.kind !== "over_long") return bytes;
      const wrong = new Uint8Array(bytes.length + mode.bytes);
      wrong.set(bytes.subarray(0, wrong.length));
      return wrong;
    } finally {
      this.underWay.now -= 1;
    }
  }

  /** Counts the call and has it fail, wait or hang before it reaches the origin. */
  async #begin(
    method: keyof FaultyOrigin["calls"],
    subject: string,
    options: CallOptions,
  ): Promise<FaultMode> {
    const { signal } = options;
    signal.throwIfAborted();
    this.calls[method] += 1;
    this.#sinceMode += 1;
    const [mode, nth] = [this.#mode, this.#sinceMode];
    this.plan?.check(method, subject);
    const fails = mode.kind === "error" || mode.kind === "every" && nth % mode.nth === 0 ||
      mode.kind === "after" && nth > mode.calls;
    if (fails) {
      const message = mode.kind === "error" ? mode.message : undefined;
      throw fault(mode.code ?? "unavailable", method, subject, message);
    }
    this.underWay.now += 1;
    this.underWay.max = Math.max(this.underWay.max, this.underWay.now);
    try {
      await this.#delay(mode, options);
    } catch (error) {
      this.underWay.now -= 1;
      throw error;
    }
    return mode;
  }

  async #delay(mode: FaultMode, { signal, onProgress }: CallOptions): Promise<void> {
    if (mode.kind === "hang") {
      const ended = Promise.withResolvers<never>();
      const error = fault("unavailable", "hang", this.name);
      this.#hung.push(() => ended.reject(error));
      await (mode.heeds === false ? ended.promise : orAborted(ended.promise, signal));
    }
    if (mode.kind !== "slow" && mode.kind !== "trickle") return;
    if (!this.#clock) throw new TypeError(`${mode.kind} needs a clock`);
    for (let i = 0; i < (mode.kind === "slow" ? 1 : mode.pieces); i += 1) {
      await this.#clock.sleep(mode.ms, signal);
      if (mode.kind === "trickle") onProgress?.();
    }
  }
}

function fault(code: ErrorCode, method: string, subject: string, message?: string): MusicfsError {
  return new MusicfsError(code, message ?? `Injected ${code}`, { op: `faulty.${method}`, subject });
}

/** How `forEachFault` varies its plans. */
export interface FaultOptions {
  code?: ErrorCode;
  /** Faults tried at most for each kind; the loop ends earlier when the body meets none. */
  limit?: number;
}

/**
 * Runs `body` with the first fault point failing, then the second, and so on, until it
 * runs to its end without meeting one; first with faults that pass, then with lasting ones.
 * The shape is SQLite's I/O error testing (sqlite.org/testing.html, section 3.2).
 *
 * @returns how many fault points were met
 */
export async function forEachFault(
  body: (plan: FaultPlan) => Promise<void>,
  { code = "unavailable", limit = 1_000 }: FaultOptions = {},
): Promise<number> {
  let points = 0;
  for (const lasts of ["once", "for_good"] as const) {
    for (let failAt = 1; failAt <= limit; failAt += 1) {
      const plan = new FaultPlan(failAt, lasts, code);
      await body(plan);
      if (plan.hits === 0) break;
      points += 1;
    }
  }
  return points;
}
