import type { ChunkList } from "../chunking/chunk_list.ts";
import type { CacheIndex } from "../store/cache_index.ts";
import type { FileVersion } from "../store/file_version.ts";
import { SEGMENT } from "../store/lru_eviction.ts";
import { touchesTags } from "./tag_regions.ts";

/** Chunks `[first, end)` of a list. */
export interface Chunks {
  readonly list: ChunkList;
  readonly first: number;
  readonly end: number;
}

/**
 * Notes of chunks that were just stored that they are pinned, or hold bytes of the file's head or
 * tail. In memory, to be written with the next commit.
 */
export function keepLonger(
  { cacheIndex, pinned }: { cacheIndex: CacheIndex; pinned: ReadonlySet<number> },
  version: FileVersion,
  { list, first, end }: Chunks,
): void {
  const isPinned = pinned.has(version.id);
  for (let i = first; i < end; i += 1) {
    const length = list.length(i);
    if (!isPinned && !touchesTags({ offset: list.start(i), length }, version.size)) continue;
    cacheIndex.record({
      kind: "chunk",
      id: list.hash(i),
      diskBytes: length,
      contentBytes: length,
      owner: 0,
      segment: isPinned ? SEGMENT.pinned : SEGMENT.tags,
    });
  }
}
