/** The tree's root: an entry id and a node id at once (`FUSE_ROOT_ID`). */
export const ROOT_ID = 1;

/** The first entry id given out; smaller ones are the root and the cookies of `.` and `..`. */
export const FIRST_ENTRY_ID = 16;

/** Versions one entry can have; with entry ids of 32 bits, node ids stay below 2^52. */
export const SEQUENCES = 2 ** 20;

/** What the kernel calls version `sequence` of an entry; folders and symlinks have only version 0. */
export function nodeIdOf(entryId: number, sequence: number): number {
  return entryId === ROOT_ID ? ROOT_ID : entryId * SEQUENCES + sequence;
}

/** The entry that a node id names some version of. */
export function entryIdOf(nodeId: number): number {
  return nodeId === ROOT_ID ? ROOT_ID : Math.floor(nodeId / SEQUENCES);
}

/** Which version of its entry a node id names. */
export function sequenceOf(nodeId: number): number {
  return nodeId === ROOT_ID ? 0 : nodeId % SEQUENCES;
}
