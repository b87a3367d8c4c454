import { type ChunkHash, hex } from "../chunking/chunk_hash.ts";

/** Where the bytes of a version may be read. */
export interface VersionSource {
  /** Identity of the origin (`Origin.name`). */
  origin: string;
  path: string;
  version: string;
}

/**
 * One version of one file, as reader, fetch and store know it: no folder, no inode, no name but
 * what an origin is asked for.
 */
export interface FileVersion {
  /** The node id: names file and version, stable within an epoch of the index, < 2^53. */
  readonly id: number;
  readonly size: number;
  readonly mtimeNs: bigint;
  /** Origins proven to hold this very content, the preferred one first; never empty. */
  readonly sources: readonly [VersionSource, ...VersionSource[]];
}

/**
 * What a version is called on disk, in 32 hex digits: `manifests/ab/<key>`, `extents/ab/<key>`.
 *
 * It hashes the preferred source's origin, path and version, so that it outlives the index.
 */
export type VersionKey = string;

const encoder = new TextEncoder();

/**
 * The key of one source. `hash` is always xxh128, whatever names the chunks: keys have one form.
 */
export function sourceKeyOf({ origin, path, version }: VersionSource, hash: ChunkHash): VersionKey {
  if (hash.name !== "xxh128") throw new TypeError(`Version keys are xxh128, not ${hash.name}`);
  return hex(hash.digest(encoder.encode(`${origin}\0${path}\0${version}`)));
}

/** Where a version's file lies in `<cache>/manifests` or `<cache>/extents`. */
export function versionFilePath(folder: string, key: VersionKey): string {
  return `${folder}/${key.slice(0, 2)}/${key}`;
}
