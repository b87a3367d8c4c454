import { type CheckResult, examine } from "../mount/doctor.ts";
import { doctorChecks } from "../mount/doctor_checks.ts";
import type { CliContext } from "./context.ts";
import { oneLine, type Output, printJson } from "./output.ts";

/** `musicfs doctor`: one line a check; exit code 1 if one failed. */
export async function runDoctor(
  { json }: { json: boolean },
  context: CliContext,
): Promise<number> {
  const checks = await examine(doctorChecks(context), context);
  const count = (state: CheckResult["state"]): number =>
    checks.filter((check) => check.state === state).length;
  const failed = count("failed");
  if (json) printJson(context.stdout, { failed, warnings: count("warning"), checks });
  else for (const check of checks) printCheck(context.stdout, check);
  return failed === 0 ? 0 : 1;
}

function printCheck(stdout: Output, { name, state, found, remedy }: CheckResult): void {
  stdout.write(`${state.padEnd(7)}  ${oneLine(name)}: ${oneLine(found)}\n`);
  if (remedy !== null) stdout.write(`${" ".repeat(9)}-> ${oneLine(remedy)}\n`);
}
