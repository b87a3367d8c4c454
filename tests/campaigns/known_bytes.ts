/**
 * Files whose bytes tell whose they are: of which path, which version, and where in the file.
 *
 * A campaign that edits its origin while many read cannot say beforehand which version a reader
 * gets; but whatever a reader gets must be, as a whole, of one version. So each word of a file is
 * made of path, offset and of the version that last wrote its block. Some blocks are carried over
 * from version to version, as an edited tag leaves the music alone; sizes differ, too.
 *
 * `tests/support/programs/known_bytes.h` says the same in C, for readers that must be fast.
 */
import { dirname, join } from "node:path";

/** Versions are 1 to this one. */
export const VERSIONS_MAX = 63;

/** Bytes of a block: a version writes it anew or carries it over as a whole. */
const BLOCK_BYTES = 64 * 1024;

const encoder = new TextEncoder();

/** Bytes of a file: 200 KB to 2.3 MB by its path, and a few more or less by its version. */
export function knownSize(path: string, version: number): number {
  return 200_000 + pathHash(path) % 2_097_152 + (version % 5) * 4_321;
}

/** The bytes of a version, of 1 to {@linkcode VERSIONS_MAX}; `path` is relative to the origin. */
export function knownBytes(path: string, version: number): Uint8Array<ArrayBuffer> {
  const size = knownSize(path, version);
  const words = new DataView(new ArrayBuffer(Math.ceil(size / 4) * 4));
  const key = pathHash(path);
  for (let at = 0; at < size; at += 4) {
    const written = writtenBy(version, Math.floor(at / BLOCK_BYTES));
    words.setUint32(at, wordAt(key, at / 4, written), true);
  }
  return new Uint8Array(words.buffer, 0, size);
}

/**
 * The versions that `bytes`, read at `offset`, can be of; none if they are wrong, or a mix.
 *
 * Says nothing of the size: fewer bytes than were asked for must be the end of one of these.
 */
export function versionsOf(path: string, offset: number, bytes: Uint8Array): number[] {
  const key = pathHash(path);
  let versions = Array.from({ length: VERSIONS_MAX }, (_none, i) => i + 1)
    .filter((version) => offset + bytes.length <= knownSize(path, version));
  for (let at = 0; at < bytes.length;) {
    const block = Math.floor((offset + at) / BLOCK_BYTES);
    const end = Math.min(bytes.length, (block + 1) * BLOCK_BYTES - offset);
    const [from, until] = [at, end];
    const writers = new Set(versions.map((version) => writtenBy(version, block)));
    for (const writer of writers) {
      if (!isBy(writer, { key, offset, bytes, from, until })) writers.delete(writer);
    }
    versions = versions.filter((version) => writers.has(writtenBy(version, block)));
    at = end;
  }
  return versions;
}

/** Puts a version in place at once, as `rsync` does; makes the folders it needs. */
export async function writeKnown(root: string, path: string, version: number): Promise<void> {
  const place = join(root, path);
  await Deno.mkdir(dirname(place), { recursive: true });
  // Beside the origin: nobody is to see it.
  const unfinished = join(dirname(root), `.unfinished-${crypto.randomUUID()}`);
  await Deno.writeFile(unfinished, knownBytes(path, version));
  await Deno.rename(unfinished, place);
}

/** The last version up to `version` that wrote the block anew: all did it to some, every 5th to all. */
function writtenBy(version: number, block: number): number {
  let by = version;
  while (by > 1 && by % 5 !== 0 && by % 3 !== block % 3) by -= 1;
  return by;
}

function isBy(
  writer: number,
  { key, offset, bytes, from, until }: {
    key: number;
    offset: number;
    bytes: Uint8Array;
    from: number;
    until: number;
  },
): boolean {
  for (let at = from; at < until; at += 1) {
    const place = offset + at;
    const word = wordAt(key, place >>> 2, writer);
    if (bytes[at] !== ((word >>> (8 * (place & 3))) & 0xff)) return false;
  }
  return true;
}

/** No two words of a version are alike. */
function wordAt(key: number, index: number, version: number): number {
  return (mix(key ^ Math.imul(index, 0x9e3779b9)) ^ Math.imul(version, 0x85ebca6b)) >>> 0;
}

/** FNV-1a of the path's UTF-8. */
function pathHash(path: string): number {
  let hash = 0x811c9dc5;
  for (const byte of encoder.encode(path)) hash = Math.imul(hash ^ byte, 0x01000193);
  return mix(hash) >>> 0;
}

/** The end of MurmurHash3: each input gives another output. */
function mix(value: number): number {
  let mixed = value;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}
