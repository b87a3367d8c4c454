/**
 * What is in the cache and when it was used, over the tables `items` and `lru`.
 *
 * What comes in and what is used waits in memory and is written with the next commit, whoever makes
 * it: a commit costs 2 to 3 ms, and neither a player nor a download may cause one a chunk. What is
 * lost in a crash is found again by `sweep`. References and removals are written at once.
 *
 * A write that joins an outer transaction is only as good as that: what it took from memory is kept
 * in _limbo_ until the outer transaction has ended, and goes back if it failed. To tell, every write
 * also stores a number that only rises.
 */

import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import {
  ABSENT,
  type CacheItem,
  decodeItem,
  decodeItemKey,
  decodeLruKey,
  diskBytesOf,
  isPresent,
  itemKey,
  type ItemKind,
  nameOf,
  type PresentItem,
  type StoredItem,
} from "./cache_item.ts";
import {
  addToTotals,
  type CacheState,
  type CacheTotals,
  decodeState,
  encodeState,
  TOTALS_ZERO,
} from "./cache_totals.ts";
import { ItemDraft } from "./item_draft.ts";
import { UseClock } from "./use_clock.ts";
import { asPending, merged, type Pending, resolved } from "./pending_items.ts";
import type { Index, Table } from "./index.ts";
import { SEGMENT, type Segment } from "./lru_eviction.ts";

export type { CacheItem, ItemKind } from "./cache_item.ts";
export type { CacheTotals } from "./cache_totals.ts";

/** Names one item. */
export interface ItemName {
  kind: ItemKind;
  /** The chunk's hash, or the 16 bytes of the extent's version key. */
  id: Uint8Array;
}

/** What `CacheIndex.record` is told. */
export interface NewItem extends ItemName {
  /** What the file takes on disk; rounded up to blocks of 4 KiB here. */
  diskBytes: number;
  /** Length of a chunk; default `diskBytes`. */
  contentBytes?: number;
  /** The version it came from; 0 if that is not known, or not yet: `reference` tells it too. */
  owner: number;
  /** S since 1970, for what is found on disk; default now. */
  lastUse?: number;
  /** Where it belongs, unless it is pinned; default where it is, or probation. */
  segment?: Segment | undefined;
}

/** A chunk as chunk lists name it. */
export interface ChunkName {
  hash: Uint8Array;
  length: number;
}

/** Changes that wait in memory before they are written on their own, about 200 bytes each. */
const PENDING_MAX = 8192;

/** Records of `lru` read at once. */
const PAGE_ITEMS = 256;

const META_KEY = new TextEncoder().encode("cache_index");

/** What a write that joined an outer transaction took from memory. */
interface Limbo {
  /** The last number written in that transaction; less is stored when it was undone. */
  sequence: number;
  /** Commits before it. */
  generation: number;
  pending: ReadonlyMap<string, Pending>;
}

/** Table of contents of `chunks/` and `extents/`. Only the daemon's main thread has one. */
export class CacheIndex {
  readonly #index: Index;
  readonly #items: Table;
  readonly #lru: Table;
  readonly #meta: Table;
  #pending = new Map<string, Pending>();
  #pendingMax = PENDING_MAX;
  #limbo: Limbo | undefined;
  #totals: CacheTotals;
  #sequence: number;
  readonly #uses: UseClock;

  constructor(index: Index, clock: Clock) {
    this.#index = index;
    this.#items = index.table("items");
    this.#lru = index.table("lru");
    this.#meta = index.table("meta");
    const saved = this.#readState();
    this.#totals = saved.totals;
    this.#sequence = saved.sequence;
    this.#uses = new UseClock(clock, this.#lru);
  }

  /**
   * Notes that a file is there, or has another size now, and was used just now. Counted at once in
   * `totals()`; written with the next commit.
   */
  record(item: NewItem): void {
    this.#settle();
    const diskBytes = diskBytesOf(item.diskBytes);
    const name = nameOf(item.kind, item.id);
    const old = this.#pending.get(name);
    const stored = this.#load(item.kind, item.id);
    const now = item.lastUse ?? this.#uses.next(diskBytes);
    const contentBytes = item.contentBytes ?? diskBytes;
    const next = merged(old, {
      ...asPending(item),
      recorded: { diskBytes, contentBytes, owner: item.owner, lastUse: now, segment: item.segment },
    });
    this.#count(item.kind, old ? resolved(old, stored) : stored, -1);
    this.#count(item.kind, resolved(next, stored), 1);
    this.#remember(name, next);
  }

  /**
   * Notes a use, in memory. Changes nothing for what is not in the cache, nor within
   * `USE_GRANULARITY_S` of the last use.
   */
  use(kind: ItemKind, id: Uint8Array): void {
    this.#settle();
    const name = nameOf(kind, id);
    const usedAt = this.#uses.next(0);
    const old = this.#pending.get(name);
    if (old) old.usedAt = usedAt;
    else this.#remember(name, { ...asPending({ kind, id }), usedAt });
  }

  /**
   * Forgets an item, at once, and says whether it was there. Joins an outer transaction, else makes
   * a commit of its own.
   */
  remove(kind: ItemKind, id: Uint8Array): boolean {
    return this.removeAll([{ kind, id }]) === 1;
  }

  /** Forgets items in one transaction; how many of them were there. */
  removeAll(names: Iterable<ItemName>): number {
    let removed = 0;
    this.#write((draft) => {
      removed = 0;
      for (const { kind, id } of names) {
        const entry = draft.load(kind, id);
        if (!isPresent(entry.next)) continue;
        removed += 1;
        entry.next = entry.next.references === 0
          ? undefined
          : { ...entry.next, segment: ABSENT, diskBytes: 0 };
      }
    });
    return removed;
  }

  /** Puts items into another segment, in one transaction; their last use stays. */
  move(names: Iterable<ItemName>, segment: Segment): void {
    this.#write((draft) => {
      for (const { kind, id } of names) {
        const entry = draft.load(kind, id);
        if (isPresent(entry.next)) entry.next = { ...entry.next, segment };
      }
    });
  }

  /** As `move`, but only what is in a lower segment. */
  raise(names: Iterable<ItemName>, segment: Segment): void {
    this.#write((draft) => {
      for (const { kind, id } of names) {
        const entry = draft.load(kind, id);
        if (isPresent(entry.next) && entry.next.segment < segment) {
          entry.next = { ...entry.next, segment };
        }
      }
    });
  }

  /**
   * Has an item go by another id from now on, with all that is known of it, in one transaction; what
   * was known of the other is forgotten. For extents alone: chunks are referenced by their ids.
   */
  rename(from: ItemName, to: ItemName): void {
    this.#write((draft) => {
      const old = draft.load(from.kind, from.id);
      draft.load(to.kind, to.id).next = old.next;
      old.next = undefined;
    });
  }

  /** What is known of an item, what waits in memory included; undefined if it is not there. */
  find(kind: ItemKind, id: Uint8Array): CacheItem | undefined {
    this.#settle();
    const stored = this.#load(kind, id);
    const pending = this.#pending.get(nameOf(kind, id));
    const item = pending ? resolved(pending, stored) : stored;
    return isPresent(item) ? asCacheItem(kind, id.slice(), item) : undefined;
  }

  /**
   * Notes that a chunk list of version `owner` names `chunks`; a chunk counts as often as it is
   * named. Belongs in the transaction that stores the list. A chunk that is not in the cache is
   * remembered too, for when it comes back.
   */
  reference(chunks: Iterable<ChunkName>, owner: number): void {
    this.#write((draft) => {
      for (const { hash, length } of chunks) {
        const entry = draft.load("chunk", hash);
        const item = entry.next ?? absentChunk(length);
        entry.next = {
          ...item,
          references: item.references + 1,
          owner: item.owner === 0 ? owner : item.owner,
        };
      }
    });
  }

  /**
   * Takes back what `reference` noted; the chunks themselves stay. A chunk that no list names any
   * more is not pinned any more.
   */
  dereference(chunks: Iterable<ChunkName>): void {
    this.#write((draft) => {
      for (const { hash } of chunks) {
        const entry = draft.load("chunk", hash);
        if (!entry.next) continue;
        const references = Math.max(0, entry.next.references - 1);
        const gone = references === 0 && !isPresent(entry.next);
        const unpinned = references === 0 && entry.next.segment === SEGMENT.pinned;
        const segment = unpinned ? SEGMENT.probation : entry.next.segment;
        entry.next = gone ? undefined : { ...entry.next, references, segment };
      }
    });
  }

  /** Writes all that waits in memory, in one transaction; joins an outer one. */
  flush(): void {
    this.#settle();
    if (this.#pending.size > 0) this.#write(() => {});
  }

  /**
   * The items in the order of eviction, of one segment or of all. Flushes first. The caller may
   * remove items while it walks; what comes in meanwhile may or may not be seen.
   */
  *oldest(segment?: Segment): Iterable<CacheItem> {
    this.flush();
    let start: Uint8Array = Uint8Array.of(segment ?? 0);
    const end = Uint8Array.of(segment === undefined ? 0xff : segment + 1);
    while (true) {
      const page: Uint8Array[] = [];
      for (const { key } of this.#lru.range({ start, end })) {
        page.push(key.slice());
        if (page.length === PAGE_ITEMS) break;
      }
      for (const key of page) {
        const { kind, id } = decodeLruKey(key);
        const item = this.#load(kind, id);
        if (isPresent(item)) yield asCacheItem(kind, id, item);
      }
      const last = page.at(-1);
      if (!last || page.length < PAGE_ITEMS) return;
      start = after(last);
    }
  }

  /** The items whose id begins with `byte`, sorted by id: those of one of the 256 folders. Flushes first. */
  inFolder(kind: ItemKind, byte: number): CacheItem[] {
    this.flush();
    const start = itemKey(kind, Uint8Array.of(byte));
    const end = byte === 255
      ? Uint8Array.of((start[0] ?? 0) + 1)
      : itemKey(kind, Uint8Array.of(byte + 1));
    const found: CacheItem[] = [];
    for (const { key, value } of this.#items.range({ start, end })) {
      const item = decodeItem(value);
      if (isPresent(item)) found.push(asCacheItem(kind, decodeItemKey(key).id, item));
    }
    return found;
  }

  /** Sums over all items, what waits in memory included; O(1). The object is the caller's. */
  totals(): CacheTotals {
    this.#settle();
    return { ...this.#totals };
  }

  /** What `totals()` must be, counted from the records; O(n), for tests and `doctor`. Flushes first. */
  recount(): CacheTotals {
    this.flush();
    const totals = { ...TOTALS_ZERO };
    const all = { start: Uint8Array.of(0), end: Uint8Array.of(255) };
    for (const { key, value } of this.#items.range(all)) {
      addToTotals(totals, { kind: decodeItemKey(key).kind, item: decodeItem(value), times: 1 });
    }
    return totals;
  }

  /** Writes what waits in memory, then what `edit` changes, in one transaction. */
  #write(edit: (draft: ItemDraft) => void): void {
    this.#settle();
    const before = this.#index.generation();
    this.#sequence += 1;
    const sequence = this.#sequence;
    const totals = this.#index.transaction(() => {
      const draft = new ItemDraft(this.#items, this.#lru);
      for (const pending of this.#pending.values()) {
        const entry = draft.load(pending.kind, pending.id);
        entry.next = resolved(pending, entry.next);
      }
      edit(draft);
      const sums = this.#readState().totals;
      draft.save(sums);
      this.#meta.put(META_KEY, encodeState({ sequence, totals: sums }));
      return sums;
    });
    const joined = this.#index.generation() === before;
    if (joined) this.#enterLimbo(sequence, before);
    this.#pending = new Map();
    this.#pendingMax = PENDING_MAX;
    this.#totals = totals;
  }

  #enterLimbo(sequence: number, generation: number): void {
    const pending = mergedMaps(this.#limbo?.pending, this.#pending);
    this.#limbo = { sequence, generation, pending };
  }

  /** Finds out what became of an outer transaction, and takes back what it did not keep. */
  #settle(): void {
    const limbo = this.#limbo;
    if (!limbo) return;
    const saved = this.#readState();
    if (saved.sequence >= limbo.sequence) {
      if (this.#index.generation() !== limbo.generation) this.#limbo = undefined;
      return;
    }
    this.#limbo = undefined;
    this.#pending = mergedMaps(limbo.pending, this.#pending);
    this.#totals = saved.totals;
    for (const pending of this.#pending.values()) {
      if (!pending.recorded) continue;
      const stored = this.#load(pending.kind, pending.id);
      this.#count(pending.kind, stored, -1);
      this.#count(pending.kind, resolved(pending, stored), 1);
    }
  }

  /** Keeps a change for the next write; writes now if there are too many. */
  #remember(name: string, pending: Pending): void {
    this.#pending.set(name, pending);
    if (this.#pending.size < this.#pendingMax) return;
    try {
      this.flush();
    } catch (error) {
      if (!(error instanceof MusicfsError)) throw error;
      // The disk may be full. Uses may be lost, files may not: they count against the limit.
      for (const [key, { recorded }] of this.#pending) if (!recorded) this.#pending.delete(key);
      this.#pendingMax = this.#pending.size + PENDING_MAX;
      if (this.#pending.size >= 16 * PENDING_MAX) throw error;
    }
  }

  #count(kind: ItemKind, item: StoredItem | undefined, times: 1 | -1): void {
    addToTotals(this.#totals, { kind, item, times });
  }

  #load(kind: ItemKind, id: Uint8Array): StoredItem | undefined {
    const value = this.#items.get(itemKey(kind, id));
    return value && decodeItem(value);
  }

  #readState(): CacheState {
    return decodeState(this.#meta.get(META_KEY));
  }
}

function asCacheItem(kind: ItemKind, id: Uint8Array, item: PresentItem): CacheItem {
  return { kind, id, ...item };
}

function absentChunk(length: number): StoredItem {
  return {
    diskBytes: 0,
    contentBytes: length,
    lastUse: 0,
    since: 0,
    segment: ABSENT,
    references: 0,
    owner: 0,
  };
}

/** The first key after `key`. */
function after(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

function mergedMaps(
  older: ReadonlyMap<string, Pending> | undefined,
  newer: ReadonlyMap<string, Pending>,
): Map<string, Pending> {
  const all = new Map(older ?? []);
  for (const [name, pending] of newer) all.set(name, merged(all.get(name), pending));
  return all;
}
