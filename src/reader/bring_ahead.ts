import type { ByteRange } from "../base/bytes.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { FileVersion } from "../store/file_version.ts";

/** How what is fetched before anybody asks for it is fetched. */
export interface AheadOptions {
  signal: AbortSignal;
  isBackground: boolean;
}

/** Brings a range into the cache; what is there already is not fetched. */
export type Bring = (
  version: FileVersion,
  range: ByteRange,
  options: AheadOptions,
) => Promise<void>;

/**
 * Brings a range for a reader who has not asked for it yet, and so is told nothing of a failure: who
 * does ask is told.
 *
 * @returns whether it failed in a way that may pass
 */
export async function bringAhead(
  { version, range }: { version: FileVersion; range: ByteRange },
  { bring, log, signal, isBackground }: AheadOptions & { bring: Bring; log: Log },
): Promise<boolean> {
  try {
    await bring(version, range, { signal, isBackground });
    return false;
  } catch (error) {
    if (signal.aborted) return false;
    const fields = { path: version.sources[0].path, error };
    if (error instanceof MusicfsError) log.debug("Read-ahead failed", fields);
    else log.error("Read-ahead failed in a way nobody planned for", fields);
    return error instanceof MusicfsError && error.retryable;
  }
}
