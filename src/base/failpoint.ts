/**
 * Places in the code that can be made to fail, stop or die, for tests of what happens then.
 *
 * `MUSICFS_FAILPOINTS` holds `name=actions;name=actions`, and actions are written as in TiKV's
 * fail-rs: `[P%][N*]action[(argument)]`, several joined by `->`. The first one that is neither
 * used up (`N*`) nor left out by chance (`P%`) is done. Actions:
 *
 * - `off`: nothing
 * - `return` or `return(code)`: throws a `MusicfsError`, `unavailable` or the code named
 * - `panic` or `panic(text)`: throws an `Error`, as a bug would
 * - `print` or `print(text)`: writes a line
 * - `sleep(ms)`: blocks this thread
 * - `kill`: SIGKILL to this process (not in fail-rs)
 */
import { type ErrorCode, MusicfsError } from "./errors.ts";

/** What failpoints need of the world. */
export interface FailpointTools {
  /** A number in [0, 1). */
  random: () => number;
  print: (line: string) => void;
}

interface Action {
  /** Does it; the name is the failpoint's. */
  run: (name: string) => void;
  /** Chance of being done, in [0, 1]. */
  chance: number;
  /** How often it may still be done. */
  left: number;
}

interface Active {
  points: ReadonlyMap<string, readonly Action[]>;
  random: () => number;
}

const TERM = /^(?:(\d+(?:\.\d+)?)%)?(?:(\d+)\*)?([a-z]+)(?:\(([^)]*)\))?$/;

const CODES = {
  not_found: true,
  denied: true,
  unavailable: true,
  timed_out: true,
  changed: true,
  corrupt: true,
  full: true,
  invalid: true,
} satisfies Record<ErrorCode, true>;

let active: Active | undefined;

/** Does what was asked for at this point; costs one test while nothing was. */
export function failpoint(name: string): void {
  if (active !== undefined) reach(name, active);
}

/**
 * Turns failpoints on in this thread; "" turns them off. Only `main` and workers call this, and
 * only if `MUSICFS_FAILPOINTS` is set. Throws `invalid` if the text cannot be understood.
 */
export function enableFailpoints(spec: string, tools: FailpointTools): void {
  const points = new Map<string, readonly Action[]>();
  for (const part of spec.split(";")) {
    const text = part.trim();
    if (text === "") continue;
    const at = text.indexOf("=");
    if (at < 1) throw unreadable(text);
    const actions = text.slice(at + 1).split("->").map((term) => parseTerm(term.trim(), tools));
    points.set(text.slice(0, at).trim(), actions);
  }
  active = points.size === 0 ? undefined : { points, random: tools.random };
}

function reach(name: string, { points, random }: Active): void {
  for (const action of points.get(name) ?? []) {
    if (action.chance < 1 && random() >= action.chance) continue;
    if (action.left === 0) continue;
    action.left -= 1;
    return action.run(name);
  }
}

function parseTerm(term: string, tools: FailpointTools): Action {
  const [matched, percent, count, kind, argument] = TERM.exec(term) ?? [];
  const run = matched === undefined ? undefined : actionOf(kind ?? "", argument, tools);
  if (run === undefined) throw unreadable(term);
  const chance = percent === undefined ? 1 : Number(percent) / 100;
  return { run, chance, left: count === undefined ? Infinity : Number(count) };
}

function actionOf(
  kind: string,
  argument: string | undefined,
  { print }: FailpointTools,
): Action["run"] | undefined {
  switch (kind) {
    case "off":
      return () => undefined;
    case "return":
      return returning(argument ?? "unavailable");
    case "panic":
      return (name) => {
        throw new Error(argument ?? `Failpoint ${name} panicked`);
      };
    case "print":
      return (name) => print(argument ?? `Failpoint ${name} reached`);
    case "sleep":
      return sleeping(Number(argument));
    case "kill":
      return () => Deno.kill(Deno.pid, "SIGKILL");
    default:
      return undefined;
  }
}

function returning(code: string): Action["run"] | undefined {
  if (!isErrorCode(code)) return undefined;
  return (name) => {
    throw new MusicfsError(code, `Failpoint ${name} failed`, { op: "failpoint", subject: name });
  };
}

function sleeping(ms: number): Action["run"] | undefined {
  if (!Number.isInteger(ms) || ms < 0) return undefined;
  return () => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  };
}

function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(CODES, text);
}

function unreadable(text: string): MusicfsError {
  const message = `Cannot read the failpoint "${text}". Write name=[P%][N*]action[(argument)], ` +
    "with the action off, return, panic, print, sleep or kill.";
  return new MusicfsError("invalid", message, { op: "failpoint.enable", subject: text });
}
