import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import { ROOT_ID } from "../library/node_id.ts";
import { localFolder } from "../origins/open.ts";
import type { Cache } from "./cache.ts";

/** A disk that spins up needs about 8 s. */
const LIST_MS_MAX = 15_000;

/**
 * Refuses a local origin that was never listed and cannot be read: more likely a typing error than
 * a disk that comes back. One that is known, and a remote one, may be down: the mount then shows
 * what is known.
 *
 * Throws `unavailable`, `denied` or `not_found`.
 */
export async function checkFirstSight(cache: Cache, clock: Clock): Promise<void> {
  const { config, namespace } = cache;
  const known = new Set(
    namespace.entry(ROOT_ID)?.sources.filter((source) => source.listed)
      .map((source) => namespace.identityOf(source.origin)),
  );
  for (const { name, url } of config.origins) {
    const folder = localFolder(url);
    if (folder === undefined || known.has(name)) continue;
    // The bare one: what fails here is told by the error, and is no outage to log.
    const origin = cache.origins.find((origin) => origin.name === name);
    if (!origin || hasTracks(cache, name)) continue;
    const limit = new AbortController();
    const timer = new AbortController();
    const late = clock.sleep(LIST_MS_MAX, timer.signal).then(
      () => limit.abort(tooLate(folder)),
      () => undefined,
    );
    try {
      for await (const _ of origin.list("", { signal: limit.signal })) break;
    } catch (cause) {
      if (!(cause instanceof MusicfsError) || cause.code === "timed_out") throw cause;
      const why = cause.code === "denied"
        ? "permission denied."
        : "it is missing; is its disk mounted?";
      throw new MusicfsError(
        cause.code,
        `Cannot read the origin ${folder}: ${why} It was never scanned, so there is nothing to show`,
        { op: "mount.first_sight", subject: folder, cause },
      );
    } finally {
      timer.abort();
      await late;
    }
  }
}

/** Whether cached tracks of it were found when the index was made again. */
function hasTracks({ namespace }: Cache, origin: string): boolean {
  for (const entry of namespace.children(ROOT_ID, 0)) {
    if (entry.sources.some((source) => namespace.identityOf(source.origin) === origin)) return true;
  }
  return false;
}

function tooLate(folder: string): MusicfsError {
  return new MusicfsError(
    "timed_out",
    `Cannot read the origin ${folder}: no answer within ${
      LIST_MS_MAX / 1000
    } s. Check that it is ` +
      "mounted",
    { op: "mount.first_sight", subject: folder },
  );
}
