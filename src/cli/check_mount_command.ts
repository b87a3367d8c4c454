import {
  checkAllMounts,
  checkMount,
  leavesStale,
  type MountReport,
  PATIENT_LIMITS,
  reportLine,
  SYSTEMD_LIMITS,
} from "../mount/check_mount.ts";
import type { CliContext } from "./context.ts";
import { printable, printJson } from "./output.ts";

/**
 * How long systemd waits for this command, in ms, after a daemon that could not even mount: units
 * try again 100 ms later and never give up, which is meant for daemons that somebody waits for.
 */
const FAILED_START_MS = 2_000;

export interface CheckMountArguments {
  mountpoint: string | undefined;
  dryRun: boolean;
  json: boolean;
}

/**
 * The plain forms of `check-mount`, without the option parser: systemd waits for this command
 * before every restart. undefined for anything else, which the parser then judges.
 */
export function quickCheckMountArguments(argv: readonly string[]): CheckMountArguments | undefined {
  const words = argv.filter((word) => !word.startsWith("-"));
  const options = argv.filter((word) => word.startsWith("-"));
  if (words.length > 1 || words[0] === "" || new Set(options).size < options.length) {
    return undefined;
  }
  if (!options.every((option) => option === "--dry-run" || option === "--json")) return undefined;
  return {
    mountpoint: words[0],
    dryRun: options.includes("--dry-run"),
    json: options.includes("--json"),
  };
}

/** `musicfs check-mount`; exit code 1 if a stale mount remains. */
export async function runCheckMount(
  { mountpoint, dryRun, json }: CheckMountArguments,
  context: CliContext,
): Promise<number> {
  // Set by systemd for ExecStopPost=; "timeout" also when the daemon did not stop in time.
  const serviceResult = context.env("SERVICE_RESULT");
  const options = {
    clock: context.clock,
    limits: serviceResult === undefined ? PATIENT_LIMITS : SYSTEMD_LIMITS,
    dryRun,
    detachUnanswered: serviceResult === "timeout",
  };
  const reports: MountReport[] = mountpoint === undefined
    ? await checkAllMounts(options)
    : await checkMount(mountpoint, options);
  if (json) printJson(context.stdout, reports);
  else for (const report of reports) context.stdout.write(printable(reportLine(report)) + "\n");
  if (couldNotStart(context) && reports.every(({ state }) => state === "absent")) {
    await context.clock.sleep(FAILED_START_MS);
  }
  if (!leavesStale(reports)) return 0;
  const stale = reports.filter((report) => report.state === "stale" && !report.detached)
    .map((report) => printable(report.path)).join(", ");
  const remedy = dryRun ? "run it without --dry-run" : `run "umount -l" as root`;
  context.stderr.write(`musicfs: A stale mount remains at ${stale}; ${remedy}\n`);
  return 1;
}

/** Whether this is `ExecStopPost=` of a daemon that ended with exit code 1. Source: systemd.exec(5). */
function couldNotStart({ env }: CliContext): boolean {
  return env("SERVICE_RESULT") === "exit-code" && env("EXIT_STATUS") === "1";
}
