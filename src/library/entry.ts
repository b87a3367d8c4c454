import type { EntryKind } from "../origins/origin.ts";

/** What one origin holds under a name of the tree. */
export interface EntrySource {
  /** Number of the origin, from the table `origins`. */
  origin: number;
  kind: EntryKind;
  size: number;
  mtimeNs: bigint;
  version: string;
  target: string;
  /** For a folder: whether this origin listed it completely at least once. */
  listed: boolean;
  /** The last scan that saw it; a scan that is resumed skips what it has seen. */
  lastScan: number;
  /**
   * For a folder that is `listed`: only a published index has said so, not yet the origin. What is
   * missing in there was never really there.
   */
  isPublished?: boolean;
  /**
   * For a file's source that is not the first: whether its bytes are proven to be those of the
   * first. `NamespaceEdit` alone sets it, with every change of the sources.
   */
  isProven?: boolean;
}

/** One name in the tree, as it is kept in the table `entries`. */
export interface Entry {
  id: number;
  /** Entry id of the folder; the root is its own parent. */
  parent: number;
  /** UTF-8; 1 to 255 bytes, no "/" and no NUL; "" for the root. */
  name: string;
  kind: EntryKind;
  /** Counts the versions of a file from 1; 0 for folders and symlinks. */
  sequence: number;
  size: number;
  mtimeNs: bigint;
  /** Where a symlink points; "" for all others. */
  target: string;
  /** For a folder: whether every origin that has it listed it completely at least once. */
  listed: boolean;
  /** The origins that have it, the preferred one first; never empty but for the root. */
  sources: EntrySource[];
}

/** A folder that an origin is said to have, before anybody asked it what is in there. */
export function unlistedFolder(origin: number): EntrySource {
  return {
    origin,
    kind: "folder",
    size: 0,
    mtimeNs: 0n,
    version: "",
    target: "",
    listed: false,
    lastScan: 0,
  };
}
