/** All that `musicfs doctor` looks at: the one place where it touches the machine. */

import type { Check } from "./doctor.ts";
import { judgeKernel } from "./doctor_kernel.ts";

/** What there is to look at. */
export interface DoctorParts {
  env: (name: string) => string | undefined;
}

export function doctorChecks(_parts: DoctorParts): Check[] {
  return [
    {
      name: "kernel",
      look: () => judgeKernel({ release: Deno.osRelease(), isRoot: Deno.uid() === 0 }),
    },
  ];
}
