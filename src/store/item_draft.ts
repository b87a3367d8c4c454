import {
  decodeItem,
  encodeItem,
  isPresent,
  itemKey,
  type ItemKind,
  lruKey,
  nameOf,
  type StoredItem,
} from "./cache_item.ts";
import { addToTotals, type CacheTotals } from "./cache_totals.ts";
import type { Table } from "./index.ts";

/** One item before and after a transaction. */
export interface DraftEntry {
  readonly kind: ItemKind;
  readonly id: Uint8Array;
  readonly stored: StoredItem | undefined;
  /** What is to be stored; undefined: no record. Set it, and `ItemDraft.save` writes the difference. */
  next: StoredItem | undefined;
}

/**
 * The items that one transaction changes: each record is read once and written once, however many
 * changes it goes through, and its place in `lru` is moved along.
 */
export class ItemDraft {
  readonly #items: Table;
  readonly #lru: Table;
  readonly #entries = new Map<string, DraftEntry>();

  constructor(items: Table, lru: Table) {
    this.#items = items;
    this.#lru = lru;
  }

  /** The item as it will be, for changing. `id` must stay as it is until `save`. */
  load(kind: ItemKind, id: Uint8Array): DraftEntry {
    const name = nameOf(kind, id);
    const known = this.#entries.get(name);
    if (known) return known;
    const value = this.#items.get(itemKey(kind, id));
    const stored = value && decodeItem(value);
    const entry = { kind, id, stored, next: stored };
    this.#entries.set(name, entry);
    return entry;
  }

  /** Writes what changed, within a transaction, and brings `totals` up to date. */
  save(totals: CacheTotals): void {
    for (const { kind, id, stored, next } of this.#entries.values()) {
      if (stored === next) continue;
      addToTotals(totals, { kind, item: stored, times: -1 });
      addToTotals(totals, { kind, item: next, times: 1 });
      this.#saveOrder({ kind, id, stored, next });
      if (next) this.#items.put(itemKey(kind, id), encodeItem(next));
      else if (stored) this.#items.remove(itemKey(kind, id));
    }
  }

  #saveOrder({ kind, id, stored, next }: DraftEntry): void {
    const moved = !isPresent(stored) || !isPresent(next) || stored.segment !== next.segment ||
      stored.lastUse !== next.lastUse || stored.owner !== next.owner;
    if (isPresent(stored) && moved) this.#lru.remove(lruKey(kind, id, stored));
    if (!isPresent(next) || (!moved && stored?.diskBytes === next.diskBytes)) return;
    const diskBytes = new Uint8Array(8);
    new DataView(diskBytes.buffer).setFloat64(0, next.diskBytes);
    this.#lru.put(lruKey(kind, id, next), diskBytes);
  }
}
