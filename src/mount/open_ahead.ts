/** The origins of a mount: small enough to be loaded, and connecting, before all else is. */

import { within } from "../base/concurrency.ts";
import type { Log } from "../base/log.ts";
import { type OpenedOrigin, type OpenOptions, openOrigin } from "../origins/open.ts";
import type { Config } from "./config.ts";

/**
 * Longest wait for a client library to be loaded and a connection to be made, in ms: 40 and a round
 * trip. What is loaded next keeps the thread busy for 80: a handshake that has begun goes on beside.
 */
const BEGUN_MS_MAX = 100;

/** An origin as it was configured. */
export interface RawOrigin {
  origin: OpenedOrigin;
  url: string;
}

/** Opened origins, the preferred one first; they end together. */
export interface RawOrigins extends AsyncDisposable {
  list: readonly RawOrigin[];
}

/** Opens the origins. Nothing is connected. Throws `invalid` for a URL that cannot be used. */
export async function openRaw(config: Config, options: OpenOptions): Promise<RawOrigins> {
  await using stack = new AsyncDisposableStack();
  const list: RawOrigin[] = [];
  for (const address of config.origins.toSorted((a, b) => a.priority - b.priority)) {
    list.push({ origin: stack.use(await openOrigin(address, options)), url: address.url });
  }
  const owned = stack.move();
  return { list, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Origins on their way. */
export interface OpeningAhead {
  raw: Promise<RawOrigins>;
  /** Resolves when those that are far have begun to connect; soon, whatever becomes of it. */
  begun: Promise<unknown>;
}

/**
 * Opens the origins of a mount and, where no names are known yet, has them connect at once: nothing
 * can be shown before one has answered, and a far one takes ten round trips for that. Whatever is
 * loaded after `begun` is loaded meanwhile.
 */
export function openAhead(
  config: Config,
  options: OpenOptions,
): OpeningAhead {
  const raw = openRaw(config, options);
  const connecting = raw.then(async ({ list }) => {
    if (!isNew(config.cacheDir)) return;
    await Promise.all(list.map(({ origin }) => connect(origin, options.log)));
  }).catch(() => {/* Told to who waits for the origins. */});
  return { raw, begun: within(connecting, { ms: BEGUN_MS_MAX, clock: options.clock }) };
}

async function connect(origin: OpenedOrigin, log: Log): Promise<void> {
  try {
    await origin.connect?.({ signal: new AbortController().signal });
  } catch (error) {
    // Whoever needs it is told by a call of his own.
    log.debug("Cannot connect ahead of the mount", { origin: origin.name, error });
  }
}

function isNew(cacheDir: string): boolean {
  try {
    return Deno.statSync(`${cacheDir}/index/data.mdb`).size === 0;
  } catch (error) {
    return error instanceof Deno.errors.NotFound;
  }
}
