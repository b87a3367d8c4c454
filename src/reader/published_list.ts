import { sameHash } from "../chunking/chunk_hash.ts";
import type { ChunkList } from "../chunking/chunk_list.ts";
import type { CacheIndex } from "../store/cache_index.ts";
import type { CasStore } from "../store/cas_store.ts";
import type { FileVersion } from "../store/file_version.ts";
import { DonorBytes } from "./donor_bytes.ts";
import type { Extents } from "./extents.ts";
import type { FetchedBytes } from "./fetched_bytes.ts";

/** Bytes that are compared at either end, where the chunk is here. */
const PROBE_BYTES = 4 * 1024;

/** What a list is compared by. */
export interface OwnListOptions {
  fetched: FetchedBytes;
  cacheIndex: CacheIndex;
  store: CasStore;
  extents: Extents;
  /** Names chunks. */
  digest: (bytes: Uint8Array) => Uint8Array<ArrayBuffer>;
}

/**
 * Whether a list that somebody published can be that of the version.
 *
 * A chunk that is fetched is checked by its hash, but one that is here already would be believed: so
 * if any is, the first and the last one are compared with the origin's bytes. What is fetched of a
 * chunk that is not here is the chunk, and stored.
 */
export async function isOwnList(
  version: FileVersion,
  list: ChunkList,
  options: OwnListOptions,
): Promise<boolean> {
  const { fetched, cacheIndex, store, digest } = options;
  if (!isAnyHere(list, cacheIndex)) return true;
  const own = new DonorBytes(version.id, list, { ...options, version: undefined });
  const length = Math.min(PROBE_BYTES, version.size);
  const ends = [0, version.size - length].map((offset) => {
    const here = own.read(offset, length);
    const i = list.indexAt(offset === 0 ? 0 : version.size - 1);
    const range = here ? { offset, length } : { offset: list.start(i), length: list.length(i) };
    return { here, range, hash: list.hash(i) };
  });
  await fetched.need(ends.map(({ range }) => range));
  for (const { here, range, hash } of ends) {
    const found = fetched.read(range.offset, range.length);
    if (!found || !sameHash(here ?? hash, here ? found : digest(found))) return false;
    if (!here) store.put(hash, found);
  }
  return true;
}

function isAnyHere(list: ChunkList, cacheIndex: CacheIndex): boolean {
  for (let i = 0; i < list.count; i += 1) {
    if (cacheIndex.find("chunk", list.hash(i))) return true;
  }
  return false;
}
