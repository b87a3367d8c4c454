/** All that is proven of the failure modes, and what is not. */

import type { Gap, Mutation } from "./mutation.ts";
import { ROWS_A } from "./rows_a.ts";
import { ROWS_B } from "./rows_b.ts";
import { ROWS_C } from "./rows_c.ts";
import { ROWS_D } from "./rows_d.ts";
import { ROWS_E } from "./rows_e.ts";
import { ROWS_FAULTS } from "./rows_faults.ts";
import { ROWS_HANDLES } from "./rows_handles.ts";
import { ROWS_N } from "./rows_n.ts";
import { ROWS_SUPERVISOR } from "./rows_supervisor.ts";
import { ROWS_SYSTEMD } from "./rows_systemd.ts";

export const MUTATIONS: readonly Mutation[] = [
  ...ROWS_A,
  ...ROWS_SUPERVISOR,
  ...ROWS_SYSTEMD,
  ...ROWS_HANDLES,
  ...ROWS_B,
  ...ROWS_C,
  ...ROWS_FAULTS,
  ...ROWS_D,
  ...ROWS_N,
  ...ROWS_E,
];

/** Layers of rows that no mutation proves yet. */
export const ABSENT: readonly Gap[] = [];
