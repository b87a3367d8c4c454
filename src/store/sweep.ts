import { setImmediate } from "node:timers/promises";
import { CHUNK_BYTES_MAX } from "../chunking/chunk_sizes.ts";
import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { cString, type FileStatus, libc, statPath } from "../base/posix.ts";
import type { CacheIndex, CacheItem, ItemKind } from "./cache_index.ts";
import { diskBytesOf } from "./cache_item.ts";
import { entriesOf, FOLDER_NAMES, idOf, ITEM_FOLDERS } from "./layout.ts";

/** A chunk this young, in s, may be about to be named by the chunk list that it was stored for. */
const UNREFERENCED_S_MIN = 600;

/** What `sweep` works on, and how far it goes. */
export interface SweepOptions {
  cacheDir: string;
  cacheIndex: CacheIndex;
  clock: Clock;
  log: Log;
  /** Also deletes chunks that no chunk list has named for ten minutes. Never before the manifests are known. */
  dropUnreferenced?: boolean;
  /** Also empties `tmp/`: only while nobody else is writing, so at start. */
  emptyTmp?: boolean;
  /** Counts, and changes nothing. */
  dryRun?: boolean;
  signal?: AbortSignal;
  /** Called after each of the 512 folders. */
  onProgress?: (result: Readonly<SweepResult>) => void;
}

/** What `sweep` found, and unless it was a dry run set right. Sizes in bytes on disk. */
export interface SweepResult {
  /** Files that have a record and are as it says. */
  kept: number;
  /** Files that the index did not know, and knows now. */
  adopted: number;
  adoptedBytes: number;
  /** Records whose files are gone. */
  dropped: number;
  /** Files of a size that cannot be, deleted: torn by a crash. */
  torn: number;
  tornBytes: number;
  /** Chunks that no chunk list names, deleted with `dropUnreferenced`. */
  unreferenced: number;
  unreferencedBytes: number;
  /** What lay in `tmp/`, deleted with `emptyTmp`. */
  temporary: number;
  temporaryBytes: number;
  /** Files that are none of ours by their names; they are left alone. */
  foreign: number;
}

/** What is to be done with one folder. */
interface Plan {
  unlink: string[];
  remove: CacheItem[];
}

/**
 * Makes files and index agree, after a crash, for `gc`, and to fill the tables again when the index
 * is new: files without a record are adopted, records without a file dropped.
 *
 * Takes one of the 512 folders at a time, in one go without waiting, and lets other work go on in
 * between: so it is safe beside a mount, and its memory does not grow with the cache.
 */
export async function sweep(options: SweepOptions): Promise<SweepResult> {
  const result: SweepResult = {
    kept: 0,
    adopted: 0,
    adoptedBytes: 0,
    dropped: 0,
    torn: 0,
    tornBytes: 0,
    unreferenced: 0,
    unreferencedBytes: 0,
    temporary: 0,
    temporaryBytes: 0,
    foreign: 0,
  };
  if (options.emptyTmp) emptyFolder(`${options.cacheDir}/tmp`, { options, result });
  for (const kind of Object.keys(ITEM_FOLDERS) as ItemKind[]) {
    for (const folder of FOLDER_NAMES) {
      options.signal?.throwIfAborted();
      sweepFolder(folder, { kind, options, result });
      options.onProgress?.(result);
      await setImmediate();
    }
  }
  if (!options.dryRun) options.cacheIndex.flush();
  if (result.foreign > 0) {
    options.log.warning("There are files in the cache that are not musicfs's", {
      cacheDir: options.cacheDir,
      files: result.foreign,
    });
  }
  return result;
}

/** What the steps of one sweep share. */
interface Sweeping {
  options: SweepOptions;
  result: SweepResult;
}

function sweepFolder(
  folder: string,
  { kind, options, result }: Sweeping & { kind: ItemKind },
): void {
  const { cacheDir, cacheIndex, dryRun = false } = options;
  const path = `${cacheDir}/${ITEM_FOLDERS[kind]}/${folder}`;
  const known = new Map<string, CacheItem>();
  for (const item of cacheIndex.inFolder(kind, Number.parseInt(folder, 16))) {
    known.set(item.id.toHex(), item);
  }
  const plan: Plan = { unlink: [], remove: [] };
  for (const { name } of entriesOf(path)) {
    const id = idOf(name, folder);
    if (!id) {
      result.foreign += 1;
      continue;
    }
    const status = statPath(`${path}/${name}`);
    if (typeof status === "number") continue;
    const item = known.get(name);
    known.delete(name);
    const found = { kind, id, item, status, path: `${path}/${name}` };
    sweepFile(found, { plan, options, result });
  }
  result.dropped += known.size;
  plan.remove.push(...known.values());
  if (dryRun) return;
  for (const file of plan.unlink) libc.unlink(cString(file));
  if (plan.remove.length > 0) cacheIndex.removeAll(plan.remove);
}

/** One file of a folder, and its record if it has one. */
interface Found {
  kind: ItemKind;
  id: Uint8Array;
  item: CacheItem | undefined;
  status: FileStatus;
  path: string;
}

function sweepFile(found: Found, { plan, options, result }: Sweeping & { plan: Plan }): void {
  const { kind, item, status, path } = found;
  if (kind === "chunk" && !isPlausible(status.size, item)) {
    result.torn += 1;
    result.tornBytes += status.diskBytes;
    plan.unlink.push(path);
    if (item) plan.remove.push(item);
    return;
  }
  if (!item) {
    result.adopted += 1;
    result.adoptedBytes += status.diskBytes;
    record(found, options);
    return;
  }
  if (isUnreferenced(item, options)) {
    result.unreferenced += 1;
    result.unreferencedBytes += status.diskBytes;
    plan.unlink.push(path);
    plan.remove.push(item);
    return;
  }
  result.kept += 1;
  if (kind === "extent" && item.diskBytes !== diskBytesOf(status.diskBytes)) record(found, options);
}

/** Notes a file as it was found; its last use is what is known, or the time it was written. */
function record(
  { kind, id, item, status }: Found,
  { cacheIndex, clock, dryRun }: SweepOptions,
): void {
  if (dryRun) return;
  const seconds = (ms: number): number => Math.max(0, Math.floor(ms / 1000));
  const writtenMs = Number(status.mtimeNs / 1_000_000n);
  const diskBytes = kind === "chunk" ? status.size : status.diskBytes;
  cacheIndex.record({
    kind,
    id,
    diskBytes,
    contentBytes: diskBytes,
    owner: item?.owner ?? 0,
    lastUse: item?.lastUse ?? seconds(Math.min(writtenMs, clock.now())),
  });
}

function isPlausible(size: number, item: CacheItem | undefined): boolean {
  if (item) return size === item.contentBytes;
  return size >= 1 && size <= CHUNK_BYTES_MAX;
}

function isUnreferenced(item: CacheItem, { clock, dropUnreferenced }: SweepOptions): boolean {
  if (!dropUnreferenced || item.kind !== "chunk" || item.references > 0) return false;
  return clock.now() / 1000 - item.lastUse >= UNREFERENCED_S_MIN;
}

/** Deletes everything in a folder, and counts it. */
function emptyFolder(folder: string, { options, result }: Sweeping): void {
  for (const { name, isDirectory } of entriesOf(folder)) {
    const path = `${folder}/${name}`;
    const status = statPath(path);
    if (typeof status === "number") continue;
    result.temporary += 1;
    result.temporaryBytes += status.diskBytes;
    if (isDirectory) emptyFolder(path, { options, result });
    if (options.dryRun) continue;
    if (isDirectory) removeFolder(path, options.log);
    else libc.unlink(cString(path));
  }
}

function removeFolder(path: string, log: Log): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    log.warning("Cannot remove a temporary folder", { path, error });
  }
}
