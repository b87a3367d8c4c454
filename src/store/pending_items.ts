/** Changes of items that wait to be written, as pure functions. */

import { type CacheItem, isPresent, type ItemKind, type StoredItem } from "./cache_item.ts";
import { SEGMENT, type Segment, used } from "./lru_eviction.ts";

/** What happened to one item since the last write. */
export interface Pending {
  readonly kind: ItemKind;
  /** A copy. */
  readonly id: Uint8Array;
  /** The file came or changed its size. */
  readonly recorded?:
    & Pick<CacheItem, "diskBytes" | "contentBytes" | "owner" | "lastUse">
    & { segment: Segment | undefined };
  /** The last use, s since 1970. */
  usedAt?: number;
}

/** A change that says nothing yet. */
export function asPending({ kind, id }: { kind: ItemKind; id: Uint8Array }): Pending {
  return { kind, id: id.slice() };
}

/** Two changes of one item as one. */
export function merged(older: Pending | undefined, newer: Pending): Pending {
  if (!older) return newer;
  const both = { ...older, ...newer };
  if (!older.recorded || !newer.recorded) return both;
  const owner = newer.recorded.owner === 0 ? older.recorded.owner : newer.recorded.owner;
  const segment = newer.recorded.segment ?? older.recorded.segment;
  return { ...both, recorded: { ...newer.recorded, owner, segment } };
}

/** What a change makes of the stored item; undefined if that is nothing. */
export function resolved(
  { recorded, usedAt }: Pending,
  stored: StoredItem | undefined,
): StoredItem | undefined {
  let item = stored;
  if (recorded) {
    const known = isPresent(stored);
    item = {
      diskBytes: recorded.diskBytes,
      contentBytes: recorded.contentBytes,
      lastUse: recorded.lastUse,
      since: known ? stored.since : recorded.lastUse,
      segment: segmentOf(recorded.segment, known ? stored.segment : undefined),
      references: stored?.references ?? 0,
      owner: recorded.owner === 0 ? stored?.owner ?? 0 : recorded.owner,
    };
  }
  if (usedAt === undefined || !isPresent(item)) return item;
  return used(item, usedAt);
}

/** What is pinned stays so, whatever becomes of the file. */
function segmentOf(wanted: Segment | undefined, stored: Segment | undefined): Segment {
  if (stored === SEGMENT.pinned) return stored;
  return wanted ?? stored ?? SEGMENT.probation;
}
