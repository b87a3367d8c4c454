import { setImmediate } from "node:timers/promises";
import { MusicfsError } from "../base/errors.ts";
import type { FileVersion } from "../store/file_version.ts";
import type { Cache } from "./cache.ts";

/** What was found in the parts of tracks that are not whole. */
export interface ExtentReport {
  /** Blocks that are not what their checksums say. */
  bad: number;
  /** Bad ones that are right again. */
  repaired: number;
}

/** Checks every extent of a version that is still known; each is read in one go. */
export async function verifyExtents(
  cache: Cache,
  options: { repair: boolean; onBad: (path: string) => void; signal: AbortSignal },
): Promise<ExtentReport> {
  const { cacheIndex, namespace, extents } = cache;
  const report: ExtentReport = { bad: 0, repaired: 0 };
  for (let shard = 0; shard < 256; shard += 1) {
    for (const { owner } of cacheIndex.inFolder("extent", shard)) {
      options.signal.throwIfAborted();
      const version = namespace.version(owner);
      if (!version) continue;
      const bad = extents.damaged(version);
      if (bad.length > 0) options.onBad(version.sources[0].path);
      report.bad += bad.length;
      if (options.repair && bad.length > 0) {
        await readAgain(cache, version, options.signal);
        report.repaired += bad.length - extents.damaged(version).length;
      }
      await setImmediate();
    }
  }
  return report;
}

/** Reads what is damaged as a reader would: the blocks are fetched and replace those that are bad. */
async function readAgain(
  { extents, reader }: Cache,
  version: FileVersion,
  signal: AbortSignal,
): Promise<void> {
  for (const range of extents.damaged(version)) {
    try {
      await reader.read(version, range, { signal, handle: 0 });
    } catch (error) {
      // Its origin cannot be read now: the block stays bad, and is found so by every reader.
      if (!(error instanceof MusicfsError)) throw error;
    }
  }
}
