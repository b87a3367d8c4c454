import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import { statPath } from "../base/posix.ts";
import { PROBE_BAD, PROBE_OK, type ProbeResult } from "./index_probe_result.ts";

/** Tells whether the index in `dir` is sound. Throws `unavailable` if it could not be found out. */
export type IndexProbe = (dir: string) => Promise<ProbeResult>;

/** The hidden subcommand of our own executable that runs `runIndexProbe`. */
export const PROBE_COMMAND = "__probe-index";

/** A damaged tree can have loops; a sound one takes 1 to 2.6 s for a million records, 100 MB. */
const TIME_MS_MIN = 20_000;
const BYTES_PER_MS_MIN = 5_000;

/** What damage does to a process. Others say nothing of the index: SIGKILL is the OOM killer's. */
const DAMAGE_SIGNALS: readonly (Deno.Signal | null)[] = [
  "SIGSEGV",
  "SIGBUS",
  "SIGABRT",
  "SIGILL",
  "SIGFPE",
];

/**
 * A probe in a child process: `command` is our own executable and what comes before the subcommand.
 */
export function childProbe(command: readonly [string, ...string[]], clock: Clock): IndexProbe {
  return async (dir) => {
    const [program, ...rest] = command;
    const args = [...rest, PROBE_COMMAND, dir];
    const timeMs = TIME_MS_MIN + dataBytes(dir) / BYTES_PER_MS_MIN;
    let child: Deno.ChildProcess;
    try {
      child = new Deno.Command(program, { args, stdin: "null", stdout: "piped", stderr: "piped" })
        .spawn();
    } catch (error) {
      throw unknown(dir, error instanceof Error ? error.message : String(error));
    }
    const stop = new AbortController();
    let late = false;
    const limit = clock.sleep(timeMs, stop.signal).then(() => {
      late = true;
      child.kill("SIGKILL");
    }, (error: unknown) => {
      if (!stop.signal.aborted) throw error;
    });
    const output = await child.output();
    stop.abort();
    await limit;
    if (late) return { bad: `the probe did not end within ${Math.round(timeMs / 1000)} s` };
    return judged(output, dir);
  };
}

function judged(output: Deno.CommandOutput, dir: string): ProbeResult {
  const { code, signal } = output;
  if (signal !== null) {
    if (DAMAGE_SIGNALS.includes(signal)) return { bad: `the probe died of ${signal}` };
    throw unknown(dir, `the probe was ended by ${signal}`);
  }
  if (code === PROBE_OK) return "ok";
  const line = new TextDecoder().decode(output.stdout).trim();
  if (code === PROBE_BAD) return { bad: line.replace(/^bad: /, "") };
  const complaint = new TextDecoder().decode(output.stderr).trim().split("\n")[0] ?? "";
  throw unknown(dir, `the probe ended with exit code ${code}: ${complaint}`);
}

function unknown(dir: string, why: string): MusicfsError {
  return new MusicfsError("unavailable", `Cannot probe the index in ${dir}: ${why}`, {
    op: "index.probe",
    subject: dir,
  });
}

function dataBytes(dir: string): number {
  const status = statPath(`${dir}/data.mdb`);
  return typeof status === "number" ? 0 : status.size;
}
