import { createXXHash128 } from "hash-wasm";
import { MusicfsError } from "../base/errors.ts";
import { openXxh64 } from "./xxh64.ts";

/** A hash that names chunks. `xxh64` is for compatibility: 64 bits are too few for a big library. */
export type HashName = "xxh128" | "xxh64";

/** Bytes of a digest, by hash. */
export const HASH_BYTES = { xxh128: 16, xxh64: 8 } as const satisfies Record<HashName, number>;

/** Names chunks by their content. Synchronous, and safe against accidents, not against attackers. */
export interface ChunkHash {
  readonly name: HashName;
  /** Bytes of a digest. */
  readonly bytes: 16 | 8;
  /**
   * The digest of `data`, in xxHash's canonical byte order (big-endian), so that `hex` of it is
   * what `xxhsum -H2` or `xxhsum -H1` prints. The result is the caller's.
   */
  digest(data: Uint8Array): Uint8Array<ArrayBuffer>;
}

/**
 * Compiles the hash's WebAssembly; 15 us (xxh128) and 9 us (xxh64) a chunk of 64 KiB from then on.
 *
 * The hash is not shared between threads: each opens its own.
 */
export async function openChunkHash(name: HashName): Promise<ChunkHash> {
  if (name === "xxh64") {
    const xxh64 = await openXxh64();
    return { name, bytes: HASH_BYTES.xxh64, digest: (data) => bigEndian64(xxh64(data)) };
  }
  const hasher = await createXXHash128();
  const digest = (data: Uint8Array): Uint8Array<ArrayBuffer> =>
    // hash-wasm copies the digest out of its memory, so this is a plain array of 16 bytes.
    hasher.init().update(data).digest("binary") as Uint8Array<ArrayBuffer>;
  return { name, bytes: HASH_BYTES.xxh128, digest };
}

/** Lower-case hex of a hash, as chunk files are named. */
export function hex(hash: Uint8Array): string {
  return hash.toHex();
}

/** Writes the hex of `hash` as ASCII into `into` from `at` on, for a path that is built in place. */
export function writeHex(hash: Uint8Array, into: Uint8Array, at: number): void {
  for (let i = 0; i < hash.length; i += 1) {
    const byte = hash[i] ?? 0;
    into[at + 2 * i] = hexDigit(byte >> 4);
    into[at + 2 * i + 1] = hexDigit(byte & 15);
  }
}

/** The bytes that `text` spells. Throws `invalid` for anything but lower-case hex of whole bytes. */
export function fromHex(text: string): Uint8Array<ArrayBuffer> {
  // Upper case would give one chunk two names.
  if (text.length % 2 === 0 && !/[^0-9a-f]/.test(text)) return Uint8Array.fromHex(text);
  throw new MusicfsError("invalid", `Cannot read ${JSON.stringify(text)} as a hash: not hex`, {
    op: "hash.parse",
    subject: text,
  });
}

/** Whether two hashes are the same. */
export function sameHash(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i += 1) if (a[i] !== b[i]) return false;
  return true;
}

function hexDigit(value: number): number {
  return value < 10 ? 0x30 + value : 0x57 + value;
}

function bigEndian64(value: bigint): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value);
  return bytes;
}
