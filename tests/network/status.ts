/** What `musicfs status --json` says of a daemon. */

import { type Daemon, musicfs } from "../support/daemon.ts";
import { eventually } from "../support/process.ts";

export interface OriginState {
  name: string;
  state: string;
  bytes_read: number;
  errors: number;
  last_error: string | null;
}

export interface Status {
  origins: OriginState[];
  library: { files: number };
  reads: { from_cache_bytes: number; from_origin_bytes: number };
}

export async function statusOf(daemon: Daemon): Promise<Status> {
  const args = ["status", "--json", "--cache-dir", daemon.cacheDir];
  const { code, stdout, stderr } = await musicfs(args);
  if (code !== 0) throw new Error(`musicfs status ended with ${code}: ${stderr}`);
  return JSON.parse(stdout);
}

/** One origin of it, by name or, for one without, by what its name ends with. */
export async function originOf(daemon: Daemon, name: string): Promise<OriginState> {
  const { origins } = await statusOf(daemon);
  const found = origins.find((origin) => origin.name.endsWith(name));
  if (!found) throw new Error(`No origin ${name}: ${JSON.stringify(origins)}`);
  return found;
}

/** Waits until an origin is in one of `states`. */
export async function originIs(
  daemon: Daemon,
  { name, states, ms }: { name: string; states: readonly string[]; ms: number },
): Promise<void> {
  let last: OriginState | undefined;
  const what = (): string => `${name} ${states.join(" or ")}, not ${JSON.stringify(last)}`;
  try {
    await eventually(async () => {
      last = await originOf(daemon, name);
      return states.includes(last.state);
    }, { ms, what: "the state" });
  } catch (error) {
    throw new Error(`Not within ${ms} ms: ${what()}\n${daemon.log.slice(-3_000)}`, {
      cause: error,
    });
  }
}
