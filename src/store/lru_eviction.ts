/**
 * What goes when the cache is full, as pure functions: values in, values out.
 *
 * The order is that of a segmented LRU. What comes in is on _probation_; what is used again
 * {@linkcode PROMOTE_AFTER_S} after it came in is _protected_. All of probation goes before anything
 * protected, so one scan through the library, which uses everything once, cannot drive out the
 * albums that are played. The protected part is held to {@linkcode PROTECTED_SHARE} of the limit:
 * what is over goes back to probation and keeps its place there by its last use.
 *
 * Above both are _tags_: heads and tails of files, which are all that a tag reader asks for, held to
 * {@linkcode TAGS_SHARE} in the same way. What is _pinned_ is never evicted.
 */

/** The order of eviction: items of a lower segment go first. Stored in the index. */
export const SEGMENT = { probation: 16, protected: 64, tags: 128, pinned: 192 } as const;

export type Segment = typeof SEGMENT[keyof typeof SEGMENT];

/** A use this soon after the last changes nothing, in s: a player must not cause a write a second. */
export const USE_GRANULARITY_S = 60;

/** A use this long after an item came in is a second session, and protects it; in s. */
export const PROMOTE_AFTER_S = 300;

/** Largest part of the limit that protected items may take. */
export const PROTECTED_SHARE = 0.8;

/** Largest part of the limit that heads and tails may take. */
export const TAGS_SHARE = 0.5;

/** Demotion goes on to this part of a share, so that it is not needed again for the next item. */
const SHARE_AFTER = 0.9375;

/** Most that is evicted beyond what is needed, in bytes; see {@linkcode extraBytes}. */
const EXTRA_BYTES_MAX = 32 * 1024 * 1024;

/** When and how an item was used. Times are s since 1970. */
export interface Usage {
  /** When it came into the cache. */
  readonly since: number;
  readonly lastUse: number;
  readonly segment: Segment;
}

/** What a use at `now` makes of an item; the same object if it changes nothing. */
export function used<T extends Usage>(item: T, now: number): T {
  if (now - item.lastUse < USE_GRANULARITY_S) return item;
  const again = now - item.since >= PROMOTE_AFTER_S;
  const segment = again ? Math.max(item.segment, SEGMENT.protected) as Segment : item.segment;
  return { ...item, lastUse: now, segment };
}

/** How much `chooseVictims` is to free, in bytes. */
export interface Need {
  needBytes: number;
  /** Freed on top if anything is freed, to make one commit do for many chunks. */
  extraBytes: number;
}

/**
 * The items to evict: the shortest start of `oldestFirst` that holds `needBytes + extraBytes`, so
 * never more than that and one item; all of them if that is not enough.
 */
export function chooseVictims<T extends { readonly diskBytes: number }>(
  oldestFirst: Iterable<T>,
  { needBytes, extraBytes }: Need,
): T[] {
  const victims: T[] = [];
  if (needBytes <= 0) return victims;
  let rest = needBytes + extraBytes;
  for (const item of oldestFirst) {
    victims.push(item);
    rest -= item.diskBytes;
    if (rest <= 0) break;
  }
  return victims;
}

/** Evicted beyond need, in bytes: 1/16 of the limit, at most 32 MiB. */
export function extraBytes(limitBytes: number): number {
  return Math.min(Math.floor(limitBytes / 16), EXTRA_BYTES_MAX);
}

/**
 * The items of a segment that go back to probation: none while they take no more than `share` of the
 * limit, else the oldest, until 15/16 of the share are left. At most `max` at once.
 */
export function chooseDemotions<T extends { readonly diskBytes: number }>(
  oldestFirst: Iterable<T>,
  { segmentBytes, share, limitBytes, max }: {
    segmentBytes: number;
    share: number;
    limitBytes: number;
    max: number;
  },
): T[] {
  if (segmentBytes <= limitBytes * share) return [];
  const needBytes = segmentBytes - limitBytes * share * SHARE_AFTER;
  const bounded = Iterator.from(oldestFirst).take(max);
  return chooseVictims(bounded, { needBytes, extraBytes: 0 });
}

/**
 * What the index, manifests and folders may grow by between two measurements, in bytes: 1/28 of the
 * limit, at most 8 MiB.
 *
 * A `du` that runs beside writes counts a chunk that is evicted a moment later and the one in its
 * place: it saw up to 2.4 MB more than was ever there, at a limit of 64 MiB.
 */
export function marginBytes(limitBytes: number): number {
  return Math.min(Math.ceil(limitBytes / 28), 8 * 1024 * 1024);
}
