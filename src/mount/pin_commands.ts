/** `warm`, `pin` and `unpin`, as the daemon and the command line both run them. */

import { MusicfsError } from "../base/errors.ts";
import type { Entry } from "../library/entry.ts";
import type { FileVersion } from "../store/file_version.ts";
import type {
  PinResult,
  PinsResult,
  PinStatus,
  TypedPath,
  UnpinResult,
  WarmOptions,
  WarmResult,
} from "./cache_commands.ts";
import { findTyped, namesOf } from "./library_paths.ts";
import { isWithin, outermost, type Pins } from "./pins.ts";
import {
  isPinned,
  measure,
  type Measured,
  missingBytes,
  protect,
  roomBytes,
  versionsBelow,
  type WarmCache,
  type WarmParts,
  type WarmReader,
  WarmRun,
} from "./warm.ts";

/** What is needed of a `FileReader` beyond fetching. */
export interface PinReader extends WarmReader {
  /** Has what is cached of a version never evicted. */
  pin(version: FileVersion): void;
  /** Takes that back, but for chunks that `others` have, too. */
  unpin(version: FileVersion, others: Iterable<FileVersion>): void;
}

/** What these commands work on. */
export interface PinParts extends WarmParts {
  reader: PinReader;
  pins: Pins;
}

/** A path that was found. */
interface Found {
  entry: Entry;
  path: string;
}

/** Fetches what is missing of the paths. */
export async function warm(parts: PinParts, options: WarmOptions): Promise<WarmResult> {
  const job = endingWith(parts, options.signal);
  refuseWithoutCache(job, "warm");
  const found = await findAll(job, options.paths);
  const run = await startRun(job, found, { verb: "warm", onProgress: options.onProgress });
  await run.fetch(found.map(({ entry }) => entry), (version) => protect(job.cache, version));
  return run.result();
}

/** Writes the pins down, then fetches what is missing of them. */
export async function pin(parts: PinParts, options: WarmOptions): Promise<PinResult> {
  const job = endingWith(parts, options.signal);
  refuseWithoutCache(job, "pin");
  const found = await findAll(job, options.paths);
  const run = await startRun(job, found, { verb: "pin", onProgress: options.onProgress });
  const pinned = found.map(({ path }) => path);
  job.pins.add(pinned, job.clock.now());
  await run.fetch(found.map(({ entry }) => entry), (version) => job.reader.pin(version));
  return { ...run.result(), pinned };
}

/** Removes pins, and those below them. Throws `not_found` for what is not pinned. */
export async function unpin(
  parts: PinParts,
  { paths }: { paths: readonly TypedPath[] },
): Promise<UnpinResult> {
  const { cache, pins, reader, signal } = parts;
  const known = paths.map((typed) => pinnedPath(pins, typed));
  const unpinned = known.flatMap((path) => pins.remove(path));
  for await (const version of versionsBelow(cache, unpinned, signal)) {
    // What others share with it is pinned again below: once, and not for each file.
    if (!pins.above(version.sources[0].path)) reader.unpin(version, []);
  }
  await pinAgain(parts);
  return { unpinned: unpinned.toSorted() };
}

/** The pins, and what is yet to come of them. */
export async function listPins({ cache, pins, signal }: PinParts): Promise<PinsResult> {
  const listed: PinStatus[] = [];
  for (const { path, sinceMs } of pins.list()) {
    const status = { path, since_ms: sinceMs, files: 0, bytes: 0, missing_bytes: 0 };
    for await (const version of versionsBelow(cache, [path], signal)) {
      status.files += 1;
      status.bytes += version.size;
      status.missing_bytes += missingBytes(cache, version);
    }
    listed.push(status);
  }
  return {
    pins: listed,
    pinned_bytes: cache.cacheIndex.totals().pinnedBytes,
    limit_bytes: cache.space.limitBytes,
  };
}

/** Pins what is here of all pins. */
async function pinAgain({ cache, pins, reader, signal }: PinParts): Promise<void> {
  const paths = pins.list().map(({ path }) => path);
  for await (const version of versionsBelow(cache, paths, signal)) {
    if (!isPinned(cache, version)) reader.pin(version);
  }
}

async function findAll(
  { cache, signal }: PinParts,
  paths: readonly TypedPath[],
): Promise<Found[]> {
  const found = new Map<string, Found>();
  for (const typed of paths) {
    const one = await findTyped(cache, typed, signal);
    found.set(one.path, one);
  }
  return outermost(found.keys()).flatMap((path) => found.get(path) ?? []);
}

/** Lists and measures what is to be fetched. Throws `full` if it cannot be kept beside the pins. */
async function startRun(
  job: PinParts,
  found: readonly Found[],
  { verb, onProgress }: { verb: string; onProgress: WarmOptions["onProgress"] },
): Promise<WarmRun> {
  const { cache, pins, signal } = job;
  const failures: [path: string, error: MusicfsError][] = [];
  const total = await measure(cache, found.map(({ entry }) => entry), {
    signal,
    unlisted: (folder, error) => failures.push([cache.namespace.pathOf(folder.id), error]),
  });
  const others = pins.list().filter(({ path }) => !found.some((one) => isWithin(path, one.path)))
    .map(({ path }) => path);
  // Of a folder that is pinned already, a part is asked for.
  const entries = outermost(others).flatMap((path) => cache.namespace.find(path) ?? []);
  const within = found.every(({ path }) => others.some((other) => isWithin(path, other)));
  const pinned = await measure(cache, entries, { signal });
  const needBytes = pinned.diskBytes + (within ? 0 : total.diskBytes);
  if (needBytes > roomBytes(cache)) throw tooMuch(cache, { verb, found, total, pinned });
  const run = new WarmRun(job, { total, onProgress });
  for (const [path, error] of failures) run.fail(path, error);
  return run;
}

/** The path that is pinned, or that pins lie below. */
function pinnedPath(pins: Pins, { typed, candidates }: TypedPath): string {
  const paths = candidates.map((candidate) => namesOf(candidate).join("/"));
  const known = paths.find((path) => pins.list().some((pin) => isWithin(pin.path, path)));
  if (known !== undefined) return known;
  const above = paths.map((path) => pins.above(path)).find((pin) => pin !== undefined);
  const why = above
    ? `it is pinned as a part of "${above.path || "/"}"; unpin that, and pin what is to stay`
    : `it is not pinned; "musicfs pin" lists what is`;
  throw new MusicfsError("not_found", `Cannot unpin "${typed}": ${why}`, {
    op: "pins.remove",
    subject: typed,
  });
}

/** The same, ending with the client, too. */
function endingWith(parts: PinParts, signal: AbortSignal | undefined): PinParts {
  return signal ? { ...parts, signal: AbortSignal.any([parts.signal, signal]) } : parts;
}

function refuseWithoutCache({ cache }: PinParts, verb: string): void {
  if (cache.config.cache !== "off") return;
  throw new MusicfsError(
    "invalid",
    `Cannot ${verb}: with cache = "off" nothing is kept; use --cache on or auto`,
    { op: `cache.${verb}`, subject: cache.config.cacheDir },
  );
}

function tooMuch(
  cache: WarmCache,
  { verb, found, total, pinned }: {
    verb: string;
    found: readonly Found[];
    total: Measured;
    pinned: Measured;
  },
): MusicfsError {
  const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const beside = pinned.diskBytes > 0 ? ` beside ${mib(pinned.diskBytes)} that are pinned` : "";
  const what = found.length === 1 ? `"${found[0]?.path || "/"}"` : `${found.length} paths`;
  const room = `${mib(Math.max(0, roomBytes(cache)))} of max_size, ${mib(cache.space.limitBytes)}`;
  return new MusicfsError(
    "full",
    `Cannot ${verb} ${what}: ${total.files} files would take ${mib(total.diskBytes)}${beside}, ` +
      `and there is room for ${room}. Raise --max-size, or ${verb} less`,
    { op: `cache.${verb}`, subject: what },
  );
}
