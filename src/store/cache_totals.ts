import { isPresent, type ItemKind, type StoredItem } from "./cache_item.ts";
import { SEGMENT } from "./lru_eviction.ts";

/** What the cache holds, in sums. */
export interface CacheTotals {
  chunks: number;
  /** Bytes in the chunks. */
  chunkBytes: number;
  /** Bytes that the chunks take on disk. */
  chunkDiskBytes: number;
  extents: number;
  extentDiskBytes: number;
  /** Bytes in the chunks, each as often as chunk lists name it. */
  referencedBytes: number;
  /** Bytes on disk of protected items, chunks and extents; as of the last flush. */
  protectedDiskBytes: number;
  /** The same of heads and tails, and of what is pinned. */
  tagsDiskBytes: number;
  pinnedBytes: number;
}

/** An empty cache. */
export const TOTALS_ZERO: Readonly<CacheTotals> = {
  chunks: 0,
  chunkBytes: 0,
  chunkDiskBytes: 0,
  extents: 0,
  extentDiskBytes: 0,
  referencedBytes: 0,
  protectedDiskBytes: 0,
  tagsDiskBytes: 0,
  pinnedBytes: 0,
};

const TOTAL_NAMES = Object.keys(TOTALS_ZERO) as (keyof CacheTotals)[];

/** Adds `times` (1 or -1) what one item is worth. */
export function addToTotals(
  totals: CacheTotals,
  { kind, item, times }: { kind: ItemKind; item: StoredItem | undefined; times: 1 | -1 },
): void {
  if (!isPresent(item)) return;
  if (kind === "chunk") {
    totals.chunks += times;
    totals.chunkBytes += times * item.contentBytes;
    totals.chunkDiskBytes += times * item.diskBytes;
    totals.referencedBytes += times * item.contentBytes * item.references;
  } else {
    totals.extents += times;
    totals.extentDiskBytes += times * item.diskBytes;
  }
  const diskBytes = times * item.diskBytes;
  if (item.segment === SEGMENT.protected) totals.protectedDiskBytes += diskBytes;
  if (item.segment === SEGMENT.tags) totals.tagsDiskBytes += diskBytes;
  if (item.segment === SEGMENT.pinned) totals.pinnedBytes += diskBytes;
}

/** What `CacheIndex` keeps in `meta`, changed by each of its writes. */
export interface CacheState {
  /** Rises with every write, so that a write can be found to have been undone. */
  sequence: number;
  totals: CacheTotals;
}

/** f64 sequence, then the sums as f64, in the order of `TOTALS_ZERO`; new sums go to its end. */
export function encodeState({ sequence, totals }: CacheState): Uint8Array {
  const view = new DataView(new ArrayBuffer(8 * (1 + TOTAL_NAMES.length)));
  view.setFloat64(0, sequence);
  for (const [i, name] of TOTAL_NAMES.entries()) view.setFloat64(8 + 8 * i, totals[name]);
  return new Uint8Array(view.buffer);
}

/**
 * Reads what `encodeState` wrote; undefined stands for nothing written yet. A sum that an older
 * musicfs did not have is 0.
 */
export function decodeState(bytes: Uint8Array | undefined): CacheState {
  if (!bytes) return { sequence: 0, totals: { ...TOTALS_ZERO } };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const totals = { ...TOTALS_ZERO };
  for (const [i, name] of TOTAL_NAMES.entries()) {
    if (view.byteLength >= 16 + 8 * i) totals[name] = view.getFloat64(8 + 8 * i);
  }
  return { sequence: view.getFloat64(0), totals };
}
