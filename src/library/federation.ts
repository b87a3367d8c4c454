/**
 * How several origins make one tree. Pure: every decision about who wins is made here.
 *
 * The origin of the highest priority that has a name decides what it is. What the others have
 * under it is kept in the entry, and shows as soon as they are the first.
 */

import type { Entry, EntrySource } from "./entry.ts";

/** What an entry is, by its sources. */
export type Merged = Pick<Entry, "kind" | "size" | "mtimeNs" | "target" | "listed">;

/** The sources in the order in which they are preferred. */
export function inOrder(
  sources: readonly EntrySource[],
  rankOf: (origin: number) => number,
): EntrySource[] {
  return sources.toSorted((a, b) => rankOf(a.origin) - rankOf(b.origin));
}

/**
 * What the sources, the preferred one first, make of an entry.
 *
 * A folder changed when it last changed at any origin; `shownMtimeNs` is what was shown so far,
 * and stands for origins that know no times of folders.
 */
export function merged(sources: readonly EntrySource[], shownMtimeNs: bigint): Merged {
  const [first] = sources;
  if (first === undefined || first.kind === "folder") {
    const folders = foldersOf(sources);
    let mtimeNs = 0n;
    for (const folder of folders) if (folder.mtimeNs > mtimeNs) mtimeNs = folder.mtimeNs;
    return {
      kind: "folder",
      size: 0,
      mtimeNs: mtimeNs === 0n ? shownMtimeNs : mtimeNs,
      target: "",
      listed: folders.every((folder) => folder.listed),
    };
  }
  const { kind, size, mtimeNs, target } = first;
  return { kind, size, mtimeNs, target, listed: false };
}

/** The sources of a folder that are listed: those for which it is one. */
export function foldersOf(sources: readonly EntrySource[]): EntrySource[] {
  return sources.filter((source) => source.kind === "folder");
}

/** Whether the bytes that were the entry's are still the entry's. */
export function isSameContent(before: EntrySource, after: EntrySource): boolean {
  return before.origin === after.origin && before.size === after.size &&
    before.version === after.version;
}

/**
 * The sources that a file's bytes may be read from: the first, and those proven to hold the same.
 *
 * Nothing is proven yet: that takes probes, or ETags of one and the same kind. Equal sizes and
 * equal version texts of different origins prove nothing, and unproven bytes never mix.
 */
export function readableSources(entry: Entry): EntrySource[] {
  return entry.sources.slice(0, 1);
}
