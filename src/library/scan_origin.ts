import { Limiter } from "../base/concurrency.ts";
import { SCAN_FOLDERS_MAX } from "../base/limits.ts";
import { LinkedAbort } from "../origins/linked_abort.ts";
import type { Origin, OriginEntry } from "../origins/origin.ts";
import { Listing } from "./delta_detector.ts";

/** A file as an origin has it now. It has no identity in any library. */
export interface ScannedFile {
  path: string;
  size: number;
  mtimeNs: bigint;
  version: string;
}

/** A folder as an origin lists it now. */
export interface ScannedFolder {
  path: string;
  mtimeNs: bigint;
  /** In the order of the UTF-8 bytes of their names; what cannot be a name is left out. */
  entries: readonly OriginEntry[];
}

/** How an origin is walked. */
export interface WalkOptions {
  signal: AbortSignal;
  /** Names of files and folders that are left out. */
  hidden: ReadonlySet<string>;
  /** Told of a folder that cannot be listed, which is then left out; without it the walk ends. */
  onError?: ((folder: string, error: unknown) => void) | undefined;
}

/** A folder that is yet to be given out. */
interface Waiting {
  path: string;
  mtimeNs: bigint;
  listing: Promise<readonly OriginEntry[]> | undefined;
}

/**
 * Yields every file of an origin: those of a folder by name, then those of its folders, as
 * `comparePaths` has it.
 *
 * Throws what a listing throws: when it ends without an error the walk was complete. What is held
 * in memory are the names of folders that are yet to come, and some listings ahead.
 */
export async function* scanOrigin(
  origin: Origin,
  options: WalkOptions,
): AsyncGenerator<ScannedFile> {
  for await (const { entries } of walkOrigin(origin, options)) {
    for (const { path, kind, size, mtimeNs, version } of entries) {
      if (kind === "file") yield { path, size, mtimeNs, version };
    }
  }
}

/** Yields every folder, depth first, each before what is in it, with what lies in it. */
export async function* walkOrigin(
  origin: Origin,
  options: WalkOptions,
): AsyncGenerator<ScannedFolder> {
  const { signal, onError } = options;
  using leaving = new LinkedAbort(signal);
  const call = { signal: leaving.signal };
  const limiter = new Limiter(SCAN_FOLDERS_MAX);
  const list = (path: string): Promise<readonly OriginEntry[]> => {
    const listing = limiter.run(() => listed(origin, path, { ...options, ...call }), call.signal);
    listing.catch(() => undefined); // Whoever comes to it is told.
    return listing;
  };
  const { mtimeNs } = await origin.stat("", call);
  // The next one is the last.
  const waiting: Waiting[] = [{ path: "", mtimeNs, listing: undefined }];
  try {
    for (let next = waiting.pop(); next; next = waiting.pop()) {
      signal.throwIfAborted();
      let entries: readonly OriginEntry[];
      try {
        entries = await (next.listing ?? list(next.path));
      } catch (error) {
        signal.throwIfAborted();
        if (!onError || next.path === "") throw error;
        onError(next.path, error);
        continue;
      }
      for (const { path, kind, mtimeNs } of entries.toReversed()) {
        if (kind === "folder") waiting.push({ path, mtimeNs, listing: undefined });
      }
      for (const ahead of waiting.slice(-SCAN_FOLDERS_MAX)) ahead.listing ??= list(ahead.path);
      yield { path: next.path, mtimeNs: next.mtimeNs, entries };
    }
  } finally {
    leaving.abort("over");
  }
}

async function listed(
  origin: Origin,
  folder: string,
  { signal, hidden }: WalkOptions,
): Promise<readonly OriginEntry[]> {
  const listing = new Listing(folder, hidden);
  for await (const entry of origin.list(folder, { signal })) listing.add(entry);
  const places = listing.inOrder(Uint32Array.from({ length: listing.count }, (_, i) => i));
  return Array.from(places, (place) => listing.at(place));
}
