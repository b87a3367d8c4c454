/**
 * What a fully cached file is made of: what `manifests/` holds, and the index is rebuilt from.
 *
 * On disk it is one msgpack array (docs/formats.md), with nothing but arrays, strings, integers
 * and binaries in it, so that any language reads it:
 *
 *     [format, hash, origin, path, version, size, mtime_ns, [[kind, [length, …], hashes], …]]
 *
 * `hash` is "xxh128" or "xxh64", `kind` 0 whole, 1 metadata, 2 audio, `hashes` the binary digests
 * one after another. `size` and `mtime_ns` are written as int64, whatever they are. Later formats
 * keep to these types and have their number first, so that this program can tell.
 *
 * There is no checksum: damage to `origin`, `path` or `version` shows because the file's name is
 * their hash, damage to a chunk's hash or length because no such chunk is found. So whoever reads
 * a manifest compares the version key with the name it lay under.
 */

import { Packr, Unpackr } from "msgpackr";
import { type ErrorCode, MusicfsError } from "../base/errors.ts";
import { HASH_BYTES, type HashName } from "./chunk_hash.ts";
import { CHUNK_BYTES_MAX } from "./chunk_sizes.ts";
import { isPlainMsgpack } from "./plain_msgpack.ts";

/** The only format that is written. */
export const MANIFEST_FORMAT = 1;

/** Regions one file can have; the flat list counts them in 16 bits. */
export const REGIONS_MAX = 65_535;

/** What a region holds. Its place in this list is its number on disk. */
export const REGION_KINDS = ["whole", "metadata", "audio"] as const;

export type RegionKind = typeof REGION_KINDS[number];

/** One chunk as a manifest names it. */
export interface Chunk {
  hash: Uint8Array;
  /** Bytes, 1 to `CHUNK_BYTES_MAX`. */
  length: number;
}

/**
 * A part of a file that was cut by itself, from its own first byte.
 *
 * Cut points are compatible within a region: bytes that two regions share give the same chunks
 * wherever the regions lie in their files.
 */
export interface ChunkRegion {
  kind: RegionKind;
  /** In file order, at least one. */
  chunks: Chunk[];
}

/** One version of one file, whole. */
export interface ChunkManifest {
  format: typeof MANIFEST_FORMAT;
  /** Identity of the origin (`Origin.name`). */
  origin: string;
  path: string;
  version: string;
  /** Bytes; the sum of all chunk lengths. */
  size: number;
  /** Ns since 1970, within 64 bits signed. */
  mtimeNs: bigint;
  hash: HashName;
  /** In file order; none for an empty file. */
  regions: ChunkRegion[];
}

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false, int64AsType: "bigint", copyBuffers: true });

const INT64_MAX = 2n ** 63n - 1n;

/** The manifest in msgpack. Throws `invalid` for one that could not be read back. */
export function encodeManifest(manifest: ChunkManifest): Uint8Array<ArrayBuffer> {
  const context = { op: "manifest.encode", subject: manifest.path };
  const fail = (what: string): never => {
    throw new MusicfsError(
      "invalid",
      `Cannot write the chunk manifest of ${manifest.path}: ${what}`,
      context,
    );
  };
  if (manifest.format !== MANIFEST_FORMAT) fail(`its format is ${manifest.format}`);
  checkManifest(manifest, fail);
  const regions = manifest.regions.map(({ kind, chunks }) => [
    REGION_KINDS.indexOf(kind),
    chunks.map((chunk) => chunk.length),
    joined(chunks, HASH_BYTES[manifest.hash]),
  ]);
  const { hash, origin, path, version, size, mtimeNs } = manifest;
  const fields = [MANIFEST_FORMAT, hash, origin, path, version, BigInt(size), mtimeNs, regions];
  // A copy: pack() answers with a view of a buffer it goes on using.
  return new Uint8Array(packr.pack(fields));
}

/**
 * Reads what `encodeManifest` wrote, trusting none of it. The result shares no memory with `bytes`.
 *
 * Throws `invalid` for a format that is newer than this program, and `corrupt` for anything that
 * is no manifest. `subject` names the file in messages.
 */
export function decodeManifest(
  bytes: Uint8Array,
  { subject }: { subject: string },
): ChunkManifest {
  const fail = (what: string, code: ErrorCode = "corrupt", cause?: unknown): never => {
    const message = `Cannot read the chunk manifest ${subject}: ${what}`;
    throw new MusicfsError(code, message, { op: "manifest.decode", subject, cause });
  };
  if (!isPlainMsgpack(bytes)) return fail("it is not msgpack of this kind");
  let fields: unknown;
  try {
    fields = unpackr.unpack(bytes);
  } catch (error) {
    return fail("it cannot be decoded", "corrupt", error);
  }
  if (!Array.isArray(fields)) return fail("it is not an array");
  const [format, hash, origin, path, version, size, mtimeNs, regions]: unknown[] = fields;
  if (typeof format === "number" && Number.isInteger(format) && format > MANIFEST_FORMAT) {
    return fail(`format ${format} is newer than this musicfs; install a newer one`, "invalid");
  }
  if (format !== MANIFEST_FORMAT || fields.length !== 8) return fail("it has an unknown format");
  if (hash !== "xxh128" && hash !== "xxh64") return fail("it names an unknown hash");
  if (typeof origin !== "string" || typeof path !== "string" || typeof version !== "string") {
    return fail("origin, path or version is not text");
  }
  if (!Array.isArray(regions)) return fail("it has no list of regions");
  const manifest: ChunkManifest = {
    format: MANIFEST_FORMAT,
    origin,
    path,
    version,
    size: typeof size === "bigint" ? Number(size) : asNumber(size),
    mtimeNs: asBigInt(mtimeNs),
    hash,
    regions: regions.map((region) => decodeRegion(region, HASH_BYTES[hash], fail)),
  };
  checkManifest(manifest, fail);
  return manifest;
}

/** What must hold of every manifest, beyond its types. */
function checkManifest(manifest: ChunkManifest, fail: (what: string) => never): void {
  const { origin, path, version, size, mtimeNs, hash, regions } = manifest;
  if (origin === "" || path === "") fail("origin or path is empty");
  if (![origin, path, version].every((text) => text.isWellFormed())) fail("a text is not UTF-8");
  if ([origin, path, version].some((text) => text.includes("\0"))) fail("a text holds a NUL");
  if (!Number.isSafeInteger(size) || size < 0) fail(`its size is ${size}`);
  if (mtimeNs > INT64_MAX || mtimeNs < -INT64_MAX - 1n) fail(`its time is ${mtimeNs}`);
  if (regions.length > REGIONS_MAX) fail(`it has ${regions.length} regions`);
  let sum = 0;
  for (const { kind, chunks } of regions) {
    if (!REGION_KINDS.includes(kind)) fail("it has a region of unknown kind");
    if (chunks.length === 0) fail("it has an empty region");
    for (const chunk of chunks) {
      if (chunk.hash.length !== HASH_BYTES[hash]) fail(`a hash has ${chunk.hash.length} bytes`);
      if (!isChunkLength(chunk.length)) fail(`a chunk has ${chunk.length} bytes`);
      sum += chunk.length;
    }
  }
  if (sum !== size) fail(`its chunks have ${sum} bytes, the file ${size}`);
}

/** Whether a chunk can have this length. */
export function isChunkLength(length: number): boolean {
  return Number.isInteger(length) && length >= 1 && length <= CHUNK_BYTES_MAX;
}

function decodeRegion(
  region: unknown,
  hashBytes: number,
  fail: (what: string) => never,
): ChunkRegion {
  if (!Array.isArray(region) || region.length !== 3) return fail("a region is not one");
  const [kindNumber, lengths, hashes]: unknown[] = region;
  const kind = REGION_KINDS[asNumber(kindNumber)];
  if (kind === undefined) return fail("a region has no kind");
  if (!Array.isArray(lengths) || !(hashes instanceof Uint8Array)) {
    return fail("a region is not one");
  }
  if (hashes.length !== lengths.length * hashBytes) return fail("hashes and lengths do not match");
  const chunks = lengths.map((length, i) => ({
    hash: hashes.subarray(i * hashBytes, (i + 1) * hashBytes),
    length: asNumber(length),
  }));
  return { kind, chunks };
}

function joined(chunks: readonly Chunk[], hashBytes: number): Uint8Array<ArrayBuffer> {
  const hashes = new Uint8Array(chunks.length * hashBytes);
  for (const [i, chunk] of chunks.entries()) hashes.set(chunk.hash, i * hashBytes);
  return hashes;
}

/** A number as it is, anything else as one that no check lets through. */
function asNumber(value: unknown): number {
  return typeof value === "number" ? value : NaN;
}

/** An integer of either kind, anything else as one that no check lets through. */
function asBigInt(value: unknown): bigint {
  if (typeof value === "bigint") return value;
  return Number.isSafeInteger(value) ? BigInt(value as number) : INT64_MAX + 1n;
}
