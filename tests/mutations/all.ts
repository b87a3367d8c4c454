/** All that is proven of the failure modes, and what is not. */

import type { Gap, Mutation } from "./mutation.ts";
import { ROWS_A } from "./rows_a.ts";
import { ROWS_B } from "./rows_b.ts";
import { ROWS_C } from "./rows_c.ts";
import { ROWS_D } from "./rows_d.ts";
import { ROWS_E } from "./rows_e.ts";
import { ROWS_HANDLES } from "./rows_handles.ts";
import { ROWS_N } from "./rows_n.ts";
import { ROWS_SUPERVISOR } from "./rows_supervisor.ts";

export const MUTATIONS: readonly Mutation[] = [
  ...ROWS_A,
  ...ROWS_SUPERVISOR,
  ...ROWS_HANDLES,
  ...ROWS_B,
  ...ROWS_C,
  ...ROWS_D,
  ...ROWS_N,
  ...ROWS_E,
];

const TO_COME = "to come with issue 6";

/** Layers of rows that no mutation proves yet. */
export const ABSENT: readonly Gap[] = [
  { row: "A4", layer: "S", reason: TO_COME },
  { row: "A4b", layer: "S", reason: TO_COME },
  { row: "A4c", layer: "S", reason: TO_COME },
  { row: "A5", layer: "S", reason: TO_COME },
  { row: "A6", layer: "S", reason: TO_COME },
  { row: "C1", layer: "D", reason: TO_COME },
  { row: "C2", layer: "D", reason: TO_COME },
  { row: "C5", layer: "P", reason: TO_COME },
  { row: "C5", layer: "D", reason: TO_COME },
  { row: "E7", layer: "D", reason: TO_COME },
  { row: "E9", layer: "S", reason: TO_COME },
];
