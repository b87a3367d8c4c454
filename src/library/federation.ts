/**
 * How several origins make one tree. Pure: every decision about who wins, and about whose bytes
 * are the same, is made here.
 *
 * The origin of the highest priority that has a name decides what it is. What the others have
 * under it is kept in the entry, and shows as soon as they are the first. A file's bytes may be
 * read from the others as well, but only where they are proven to be those of the first.
 */

import type { Entry, EntrySource } from "./entry.ts";

/** What an entry is, by its sources. */
export type Merged = Pick<Entry, "kind" | "size" | "mtimeNs" | "target" | "listed">;

/** What is known of the contents of two sources. */
export type Verdict = "equal" | "different" | "unknown";

/** The hash of a source's head and tail, of the very version that it has; undefined if unknown. */
export type ProbeOf = (source: EntrySource) => Uint8Array | undefined;

/** The MD5 of an object that was not uploaded in parts; with "-" it is something else. */
const MD5_ETAG = /^"?([0-9a-f]{32})"?$/i;

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
 * A folder of one origin has that origin's time. Where there are several origins, or one that
 * knows no times of folders, the time only goes forward from `shownMtimeNs`, what was shown so
 * far: whoever changes the folder's names moves it.
 */
export function merged(sources: readonly EntrySource[], shownMtimeNs: bigint): Merged {
  const [first] = sources;
  if (first === undefined || first.kind === "folder") {
    const folders = foldersOf(sources);
    let mtimeNs = hasOwnTime(sources) ? 0n : shownMtimeNs;
    for (const folder of folders) if (folder.mtimeNs > mtimeNs) mtimeNs = folder.mtimeNs;
    const listed = folders.every((folder) => folder.listed);
    return { kind: "folder", size: 0, mtimeNs, target: "", listed };
  }
  const { kind, size, mtimeNs, target } = first;
  return { kind, size, mtimeNs, target, listed: false };
}

/** The sources of a folder that are listed: those for which it is one. */
export function foldersOf(sources: readonly EntrySource[]): EntrySource[] {
  return sources.filter((source) => source.kind === "folder");
}

/** Whether a folder shows its only origin's own time, which moves with its names by itself. */
export function hasOwnTime(sources: readonly EntrySource[]): boolean {
  const folders = foldersOf(sources);
  return folders.length === 1 && (folders[0]?.mtimeNs ?? 0n) > 0n;
}

/**
 * Compares what two sources hold under one name, without looking at their bytes.
 *
 * Proof is an equal size with an equal MD5 ETag, or with an equal hash of head and tail. Equal
 * version texts prove nothing: two disks may well say the same of different bytes.
 */
export function compareContents(a: EntrySource, b: EntrySource, probeOf: ProbeOf): Verdict {
  if (a.kind !== "file" || b.kind !== "file" || a.size !== b.size) return "different";
  if (a.size === 0) return "equal";
  const [md5OfA, md5OfB] = [md5Of(a), md5Of(b)];
  if (md5OfA !== undefined && md5OfB !== undefined) {
    return md5OfA === md5OfB ? "equal" : "different";
  }
  const [probeA, probeB] = [probeOf(a), probeOf(b)];
  // Of another length, one of them was made when another hash was configured.
  if (probeA === undefined || probeA.length !== probeB?.length) return "unknown";
  return isEqual(probeA, probeB) ? "equal" : "different";
}

/** Sources with their proofs, and what is missing for others. */
export interface Judged {
  sources: EntrySource[];
  /** Whether one of them has the winner's size and is yet to be compared with it. */
  isOpen: boolean;
}

/** Says of each source, the preferred one first, whether it is proven to hold the first's bytes. */
export function judge(sources: readonly EntrySource[], probeOf: ProbeOf): Judged {
  const [first] = sources;
  let isOpen = false;
  const judged = sources.map((source) => {
    let isProven = false;
    if (first?.kind === "file" && source !== first) {
      const verdict = compareContents(first, source, probeOf);
      isProven = verdict === "equal";
      isOpen ||= verdict === "unknown";
    }
    return withProof(source, isProven);
  });
  return { sources: judged, isOpen };
}

/**
 * Whether a file's bytes are still the same after its sources became others: the source that is
 * first now was proven to hold the bytes of the one that was, or is so by now.
 */
export function isSameContent(
  before: readonly EntrySource[],
  after: readonly EntrySource[],
): boolean {
  const [was, is] = [before[0], after[0]];
  if (was === undefined || is === undefined) return false;
  return readable(before).some((source) => isSameSource(source, is)) ||
    readable(after).some((source) => isSameSource(source, was));
}

/** Whether both are the same version at the same origin. */
export function isSameSource(a: EntrySource, b: EntrySource): boolean {
  return a.origin === b.origin && a.kind === b.kind && a.size === b.size && a.version === b.version;
}

/**
 * The sources that a file's bytes may be read from, the preferred one first: the first, and those
 * proven to hold the same.
 */
export function readableSources(entry: Entry): EntrySource[] {
  return readable(entry.sources);
}

function readable(sources: readonly EntrySource[]): EntrySource[] {
  return sources.filter((source, i) => i === 0 || source.isProven === true);
}

function withProof(source: EntrySource, isProven: boolean): EntrySource {
  if ((source.isProven ?? false) === isProven) return source;
  const { isProven: _, ...plain } = source;
  return isProven ? { ...plain, isProven } : plain;
}

function md5Of({ version }: EntrySource): string | undefined {
  return MD5_ETAG.exec(version)?.[1]?.toLowerCase();
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.every((byte, i) => byte === b[i]);
}
