import { setImmediate } from "node:timers/promises";
import { MusicfsError } from "../base/errors.ts";
import type { CacheIndex, CacheItem } from "./cache_index.ts";
import type { CasStore } from "./cas_store.ts";

/** Chunks that are looked at: 16 MiB at most, and of a disk of which 5 % is bad 96 % are found out. */
const SAMPLE_CHUNKS = 64;

/** Folders that chunks lie in. */
const FOLDERS = 256;

/** What `checkSample` looks at. */
export interface SampleCheckOptions {
  cacheIndex: CacheIndex;
  store: CasStore;
  /** Bytes of the hash that names chunks; others are nobody's. */
  hashBytes: number;
  /** Chance in [0, 1). */
  random: () => number;
  signal: AbortSignal;
}

/** What was found in a sample. */
export interface SampleReport {
  checked: number;
  /** Those that are missing, or not what their names say; deleted, to be fetched when needed. */
  bad: number;
}

/**
 * Reads some chunks of the cache, by chance, and compares them with their names: a disk that goes
 * bad is told of before somebody without a network finds out.
 */
export async function checkSample(options: SampleCheckOptions): Promise<SampleReport> {
  const { cacheIndex, store, hashBytes, random, signal } = options;
  const report = { checked: 0, bad: 0 };
  const below = (count: number): number => Math.floor(random() * count);
  for (let i = 0; i < SAMPLE_CHUNKS; i += 1) {
    await setImmediate();
    signal.throwIfAborted();
    const all = cacheIndex.inFolder("chunk", below(FOLDERS));
    const item = all[below(all.length)];
    if (item?.id.length !== hashBytes) continue;
    report.checked += 1;
    if (!isSound(store, item)) report.bad += 1;
  }
  return report;
}

function isSound(store: CasStore, { id, contentBytes }: CacheItem): boolean {
  try {
    return store.get(id, contentBytes).length === contentBytes;
  } catch (error) {
    if (!(error instanceof MusicfsError)) throw error;
    return error.code !== "corrupt" && error.code !== "not_found";
  }
}
