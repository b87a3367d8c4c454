/** A behaviour removed from the program on purpose, and the test that must notice. */

import type { RowId } from "./failure_modes.ts";

/** Where a test meets the failure: in-process, a real daemon and mount, a real network, systemd. */
export type Layer = "P" | "D" | "N" | "S";

export interface Mutation {
  row: RowId;
  layer: Layer;
  /** What musicfs does, as the sentence that becomes untrue. */
  behaviour: string;
  test: TestName;
  /** What is changed in words, with the behaviour gone. */
  removed: string;
  /** The file of the program that is changed; `search` stands in it exactly once. */
  file: string;
  search: string;
  replace: string;
  /** Time limit of the test, in s, where it needs more than `LIMIT_S`. */
  limitS?: number;
  /** Set where the test ends with its process: it hangs without the behaviour, or is killed by it. */
  takesProcess?: true;
}

/** The test that fails. */
export interface TestName {
  file: string;
  /** Without steps. */
  name: string;
  /** Where its name is written, if not in its file: a contract's tests. */
  spelled?: string;
}

/** A layer of a row that no mutation proves, and why. */
export interface Gap {
  row: RowId;
  layer: Layer;
  reason: string;
}

/** How long a test may take, in s; a loaded machine of two cores is slow. */
export const LIMIT_S = 120;
