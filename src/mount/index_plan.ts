/** What of an earlier index still holds, and what must be read. */

import type { OriginEntry } from "../origins/origin.ts";
import { nameOf } from "../library/delta_detector.ts";
import { detectChanges, type FileChange } from "../library/detect_changes.ts";
import type { ChunkPart, NamedEntry, NamedFolder } from "../library/published_columns.ts";
import type { PublishedIndex } from "../library/published_index.ts";
import type { PublishedFolder } from "../library/published_names.ts";
import type { ScannedFile, ScannedFolder } from "../library/scan_origin.ts";

/** Parts of an earlier index beyond which all lists are written anew, into few of them. */
const PARTS_KEPT_MAX = 256;

/** So are they where more than half of the parts' bytes, and more than this, are of no use. */
const UNUSED_BYTES_MIN = 4 * 1024 * 1024;

/** A file whose list is not at hand. */
export interface IndexWork {
  entry: NamedEntry;
  file: OriginEntry;
  /** What an earlier index has of its content; undefined if all of it must be read. */
  earlier: NamedEntry | undefined;
  /** Whether it lay elsewhere, so that this is yet to be proven. */
  isMoved: boolean;
}

/** Differences to the earlier index. */
export interface ChangeCounts {
  added: number;
  changed: number;
  moved: number;
  gone: number;
}

/** The next index before anything was read. */
export interface IndexPlan {
  folders: NamedFolder[];
  work: IndexWork[];
  counts: ChangeCounts;
  /** Whether lists stay in the earlier index's parts. */
  keepsParts: boolean;
}

/** What a plan is made of. */
export interface PlanOptions {
  earlier: PublishedIndex | undefined;
  /** Numbers of its parts that are there. */
  usable: ReadonlySet<number>;
  /** Whether versions are ETags. */
  isBucket: boolean;
}

/** Compares what was scanned with an earlier index. */
export async function planIndex(
  scanned: readonly ScannedFolder[],
  { earlier, usable, isBucket }: PlanOptions,
): Promise<IndexPlan> {
  const counts: ChangeCounts = { added: 0, changed: 0, moved: 0, gone: 0 };
  const changes = new Map<string, FileChange>();
  for await (const change of detectChanges(filesOf(earlier?.folders() ?? []), filesOf(scanned))) {
    counts[COUNTED[change.kind]] += 1;
    if (change.kind !== "removed") changes.set(change.file.path, change);
  }
  const kept: IndexWork[] = [];
  const work: IndexWork[] = [];
  const take = (file: OriginEntry): NamedEntry => {
    const { path, kind, size, mtimeNs, target, version } = file;
    const etag = kind === "file" && isBucket ? version : "";
    const entry: NamedEntry = { name: nameOf(path), kind, size, mtimeNs, target, etag };
    if (kind !== "file") return entry;
    const change = changes.get(path);
    const known = change?.kind === "added" ? undefined : earlier?.find(pathBefore(change) ?? path);
    const isSame = !change || change.kind === "moved" ||
      // The same object, uploaded again.
      change.kind === "modified" && isBucket && change.from.version === version &&
        change.from.size === size;
    const hasList = known?.md5 !== undefined &&
      (size === 0 || known.list !== undefined && usable.has(known.list.part));
    const isMoved = change?.kind === "moved";
    if (!isSame || !hasList) work.push({ entry, file, earlier: undefined, isMoved: false });
    else if (isMoved && size > 0) work.push({ entry, file, earlier: known, isMoved });
    else {
      entry.md5 = known.md5;
      if (known.list) kept.push({ entry, file, earlier: known, isMoved: false });
    }
    return entry;
  };
  const folders = scanned.map(({ path, mtimeNs, entries }) => ({
    path,
    mtimeNs,
    entries: entries.map(take),
  }));
  const keepsParts = areWorthKeeping(earlier?.parts ?? [], kept);
  if (!keepsParts) work.push(...kept);
  else for (const { entry, earlier } of kept) if (earlier?.list) entry.list = { ...earlier.list };
  return { folders, work, counts, keepsParts };
}

/** Whether lists should stay where they are, or be copied into fewer and fuller parts. */
function areWorthKeeping(parts: readonly ChunkPart[], kept: readonly IndexWork[]): boolean {
  const used = kept.reduce((sum, { earlier }) => sum + (earlier?.list?.bytes ?? 0), 0);
  const unused = parts.reduce((sum, { bytes }) => sum + bytes, 0) - used;
  return parts.length <= PARTS_KEPT_MAX && (unused <= used || unused < UNUSED_BYTES_MIN);
}

const COUNTED = {
  added: "added",
  modified: "changed",
  moved: "moved",
  removed: "gone",
} as const satisfies Record<FileChange["kind"], keyof ChangeCounts>;

function pathBefore(change: FileChange | undefined): string | undefined {
  return change && "from" in change ? change.from.path : undefined;
}

function* filesOf(folders: Iterable<PublishedFolder>): Iterable<ScannedFile> {
  for (const { entries } of folders) {
    for (const { path, kind, size, mtimeNs, version } of entries) {
      if (kind === "file") yield { path, size, mtimeNs, version };
    }
  }
}
