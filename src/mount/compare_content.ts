import { setImmediate } from "node:timers/promises";
import type { ByteRange } from "../base/bytes.ts";
import { MusicfsError } from "../base/errors.ts";
import { FETCH_BYTES_MAX } from "../base/limits.ts";
import { sameHash } from "../chunking/chunk_hash.ts";
import { entryIdOf, nodeIdOf, sequenceOf } from "../library/node_id.ts";
import type { Origin } from "../origins/origin.ts";
import type { FileVersion } from "../store/file_version.ts";
import type { Cache } from "./cache.ts";

/** Bytes at each end of a file that its tags begin or end with. */
const END_BYTES = 4 * 1024;

/** What comparing needs of a cache. */
export type ComparedCache = Pick<
  Cache,
  | "opened"
  | "namespace"
  | "manifests"
  | "extents"
  | "hash"
  | "guarded"
  | "cacheIndex"
  | "library"
  | "reader"
>;

/** What a comparison found at one origin. */
export interface Compared {
  /** Files whose cached bytes are not the origin's any more. */
  changed: number;
  /** Why it ended early; undefined if it did not. */
  error: MusicfsError | undefined;
}

/**
 * Compares what is cached of an origin's files with the origin's own bytes: an edit that left size
 * and time as they were shows only so.
 *
 * A file that differs becomes a new version and is fetched anew; whoever has it open gets `ESTALE`.
 */
export async function compareContent(
  cache: Cache,
  { origin, signal }: { origin: Origin; signal: AbortSignal },
): Promise<Compared> {
  const { namespace, manifests } = cache;
  const compared: Compared = { changed: 0, error: undefined };
  const cached = new Set(manifests.ids());
  for (let shard = 0; shard < 256; shard += 1) {
    for (const { owner } of cache.cacheIndex.inFolder("extent", shard)) cached.add(owner);
  }
  for (const id of cached) {
    const version = namespace.version(id);
    const isCurrent = namespace.entry(entryIdOf(id))?.sequence === sequenceOf(id);
    if (!version || !isCurrent || version.sources[0].origin !== origin.name) continue;
    try {
      if (await confirmContent(cache, version, { origin, signal })) compared.changed += 1;
    } catch (error) {
      if (!(error instanceof MusicfsError)) throw error;
      return { ...compared, error };
    }
  }
  return compared;
}

/**
 * Compares what is cached of one file's current version with the bytes of its preferred origin, and
 * makes it another version if they differ; whether they did. `compare` says whether they are the same;
 * default: by all that is cached.
 *
 * Throws if the origin cannot be read. What is gone or changed there is for the scan.
 */
export async function confirmContent(
  cache: ComparedCache,
  version: FileVersion,
  { origin, signal, compare = isSame }: {
    origin: Origin;
    signal: AbortSignal;
    compare?: (
      cache: ComparedCache,
      version: FileVersion,
      from: { origin: Origin; signal: AbortSignal },
    ) => Promise<boolean>;
  },
): Promise<boolean> {
  const { manifests, library } = cache;
  const { id } = version;
  try {
    if (await compare(cache, version, { origin, signal })) return false;
  } catch (error) {
    if (!(error instanceof MusicfsError)) throw error;
    if (error.code === "not_found" || error.code === "changed") return false;
    throw error;
  }
  cache.opened.index.transaction(() => cache.extents.forget(version));
  cache.extents.drop(version);
  manifests.remove(id);
  // Its size and time say less than they should: it must not be taken for what looks like it.
  manifests.refuse(nodeIdOf(entryIdOf(id), sequenceOf(id) + 1));
  await library.renew(entryIdOf(id));
  return true;
}

async function isSame(
  cache: ComparedCache,
  version: FileVersion,
  { origin, signal }: { origin: Origin; signal: AbortSignal },
): Promise<boolean> {
  const { path, version: text } = version.sources[0];
  const file = { path, size: version.size, version: text };
  const list = cache.manifests.listOf(version);
  for (let first = 0; first < list.count;) {
    let end = first + 1;
    const start = list.start(first);
    while (end < list.count && list.start(end) + list.length(end) - start <= FETCH_BYTES_MAX) {
      end += 1;
    }
    const length = list.start(end - 1) + list.length(end - 1) - start;
    const bytes = await origin.read(file, { offset: start, length }, {
      signal,
      isBackground: true,
    });
    for (let i = first; i < end; i += 1) {
      const at = list.start(i) - start;
      const digest = cache.hash.digest(bytes.subarray(at, at + list.length(i)));
      if (!sameHash(digest, list.hash(i))) return false;
    }
    first = end;
    await setImmediate();
  }
  for (const range of presentBeyond(cache, version, list.frontier)) {
    const kept = new Uint8Array(range.length);
    if (!cache.extents.read(version, range.offset, kept)) continue;
    const bytes = await origin.read(file, range, { signal, isBackground: true });
    if (!bytes.every((byte, i) => byte === kept[i])) return false;
  }
  return true;
}

/**
 * As far as its ends show: of a file that is made of others' chunks little was read but its tags, and
 * these would show an edit. What is not here of them is not compared.
 */
export async function hasSameEnds(
  { reader }: ComparedCache,
  version: FileVersion,
  { origin, signal }: { origin: Origin; signal: AbortSignal },
): Promise<boolean> {
  const { size, sources: [{ path, version: text }] } = version;
  const length = Math.min(END_BYTES, size);
  for (const offset of new Set([0, size - length])) {
    const range = { offset, length };
    if (!reader.isHere(version, range)) continue;
    const own = await reader.read(version, range, { signal, handle: 0 });
    const file = { path, size, version: text };
    const found = await origin.read(file, range, { signal, isBackground: true });
    if (!sameHash(own, found)) return false;
  }
  return true;
}

/** What the extent holds beyond the frontier, in pieces. */
function* presentBeyond(
  cache: ComparedCache,
  version: FileVersion,
  from: number,
): Iterable<ByteRange> {
  const missing = cache.extents.missing(version, { offset: from, length: version.size - from });
  let at = from;
  for (const gap of [...missing, { offset: version.size, length: 0 }]) {
    for (; at < gap.offset; at = Math.min(gap.offset, at + FETCH_BYTES_MAX)) {
      yield { offset: at, length: Math.min(FETCH_BYTES_MAX, gap.offset - at) };
    }
    at = Math.max(at, gap.offset + gap.length);
  }
}
