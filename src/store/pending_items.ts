/** Changes of items that wait to be written, as pure functions. */

import { type CacheItem, isPresent, type ItemKind, type StoredItem } from "./cache_item.ts";
import { SEGMENT, used } from "./lru_eviction.ts";

/** What happened to one item since the last write. */
export interface Pending {
  readonly kind: ItemKind;
  /** A copy. */
  readonly id: Uint8Array;
  /** The file came or changed its size. */
  readonly recorded?: Pick<CacheItem, "diskBytes" | "contentBytes" | "owner" | "lastUse">;
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
  if (older.recorded && newer.recorded && newer.recorded.owner === 0) {
    return { ...both, recorded: { ...newer.recorded, owner: older.recorded.owner } };
  }
  return both;
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
      segment: known ? stored.segment : SEGMENT.probation,
      references: stored?.references ?? 0,
      owner: recorded.owner === 0 ? stored?.owner ?? 0 : recorded.owner,
    };
  }
  if (usedAt === undefined || !isPresent(item)) return item;
  return used(item, usedAt);
}
