/** Items of the cache, and the bytes that the tables `items` and `lru` keep of them. */

import { SEGMENT, type Segment } from "./lru_eviction.ts";

export type ItemKind = "chunk" | "extent";

/** One file of the cache that can be evicted. */
export interface CacheItem {
  kind: ItemKind;
  /** The chunk's hash, or the 16 bytes of the extent's version key. */
  id: Uint8Array;
  /** What the file takes on disk, in whole blocks of 4 KiB. */
  diskBytes: number;
  /** Length of a chunk; the same as `diskBytes` for an extent. */
  contentBytes: number;
  /** S since 1970; see `USE_GRANULARITY_S`. */
  lastUse: number;
  /** When it came into the cache, s since 1970. */
  since: number;
  segment: Segment;
  /** How often chunk lists name it. */
  references: number;
  /** The version it came from, 0 for none: what belongs together is evicted together. */
  owner: number;
}

/**
 * A record of `items`. With `segment` 0 the chunk is not in the cache, but chunk lists name it: the
 * record keeps their number for the time when it comes back.
 */
export type StoredItem =
  & Omit<CacheItem, "kind" | "id" | "segment">
  & { segment: Segment | typeof ABSENT };

export const ABSENT = 0;

const SEGMENTS = Object.values(SEGMENT);

const KIND_BYTES = { chunk: 1, extent: 2 } as const satisfies Record<ItemKind, number>;

/** Length of a record of `items`. */
const ITEM_BYTES = 40;

/** Length of what stands before the id in a key of `lru`. */
const LRU_PREFIX_BYTES = 10;

/** Names an item in a `Map`. */
export function nameOf(kind: ItemKind, id: Uint8Array): string {
  return (kind === "chunk" ? "c" : "e") + id.toHex();
}

/** An item that is in the cache. */
export type PresentItem = StoredItem & { segment: Segment };

export function isPresent(item: StoredItem | undefined): item is PresentItem {
  return item !== undefined && item.segment !== ABSENT;
}

/** Key of `items`: u8 kind, id. */
export function itemKey(kind: ItemKind, id: Uint8Array): Uint8Array<ArrayBuffer> {
  const key = new Uint8Array(1 + id.length);
  key[0] = KIND_BYTES[kind];
  key.set(id, 1);
  return key;
}

/** What a key of `items` names; the id is a copy. */
export function decodeItemKey(key: Uint8Array): { kind: ItemKind; id: Uint8Array<ArrayBuffer> } {
  return { kind: kindOf(key[0]), id: key.slice(1) };
}

/** Record of `items`, big-endian: f64 × 3, u32 × 3, u8 segment, 3 bytes of zeros. */
export function encodeItem(item: StoredItem): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(ITEM_BYTES);
  const view = new DataView(bytes.buffer);
  view.setFloat64(0, item.diskBytes);
  view.setFloat64(8, item.contentBytes);
  view.setFloat64(16, item.owner);
  view.setUint32(24, item.lastUse);
  view.setUint32(28, item.since);
  view.setUint32(32, item.references);
  view.setUint8(36, item.segment);
  return bytes;
}

/** Reads what `encodeItem` wrote; keeps nothing of `bytes`. */
export function decodeItem(bytes: Uint8Array): StoredItem {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    diskBytes: view.getFloat64(0),
    contentBytes: view.getFloat64(8),
    owner: view.getFloat64(16),
    lastUse: view.getUint32(24),
    since: view.getUint32(28),
    references: view.getUint32(32),
    segment: segmentOf(view.getUint8(36)),
  };
}

/**
 * Key of `lru`: u8 segment, u32 last use, u32 group, u8 kind, id.
 *
 * The group is the owner's entry (a version id is `entry * 2^20 + sequence`), so that the chunks of
 * one track go together. What has no owner sorts last: it is a chunk that was stored this moment,
 * and is about to be named by the chunk list it was stored for.
 */
export function lruKey(
  kind: ItemKind,
  id: Uint8Array,
  { segment, lastUse, owner }: Pick<StoredItem, "segment" | "lastUse" | "owner">,
): Uint8Array<ArrayBuffer> {
  const key = new Uint8Array(LRU_PREFIX_BYTES + id.length);
  const view = new DataView(key.buffer);
  view.setUint8(0, segment);
  view.setUint32(1, lastUse);
  view.setUint32(5, owner === 0 ? 0xffff_ffff : Math.floor(owner / 2 ** 20));
  view.setUint8(9, KIND_BYTES[kind]);
  key.set(id, LRU_PREFIX_BYTES);
  return key;
}

/** What a key of `lru` names; the id is a copy. */
export function decodeLruKey(
  key: Uint8Array,
): { kind: ItemKind; id: Uint8Array<ArrayBuffer>; lastUse: number } {
  const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
  return {
    kind: kindOf(key[9]),
    id: key.slice(LRU_PREFIX_BYTES),
    lastUse: view.getUint32(1),
  };
}

/** Bytes that a file of `length` takes on disk, in blocks of 4 KiB. */
export function diskBytesOf(length: number): number {
  return Math.ceil(length / 4096) * 4096;
}

function kindOf(byte: number | undefined): ItemKind {
  return byte === KIND_BYTES.extent ? "extent" : "chunk";
}

/** A segment of another musicfs counts as probation. */
function segmentOf(byte: number): Segment | typeof ABSENT {
  if (byte === ABSENT) return byte;
  return SEGMENTS.find((segment) => segment === byte) ?? SEGMENT.probation;
}
