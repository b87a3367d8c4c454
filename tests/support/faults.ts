import type { ByteRange } from "../../src/base/bytes.ts";
import { type ErrorCode, MusicfsError } from "../../src/base/errors.ts";
import type { CallOptions, Origin, OriginEntry, OriginFile } from "../../src/origins/origin.ts";

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

/** An origin whose calls fail as the plan says, and otherwise reach `inner`. */
export class FaultyOrigin implements Origin {
  readonly name: string;

  constructor(readonly inner: Origin, readonly plan: FaultPlan) {
    this.name = inner.name;
  }

  async *list(folder: string, options: CallOptions): AsyncIterable<OriginEntry> {
    this.plan.check("list", folder);
    yield* this.inner.list(folder, options);
  }

  async stat(path: string, options: CallOptions): Promise<OriginEntry> {
    this.plan.check("stat", path);
    return await this.inner.stat(path, options);
  }

  async read(
    file: OriginFile,
    range: ByteRange,
    options: CallOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    this.plan.check("read", file.path);
    return await this.inner.read(file, range, options);
  }
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
