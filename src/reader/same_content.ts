/** Whether a version that was not read yet has the content of one that is here: moved, renamed, copied. */

import type { ByteRange } from "../base/bytes.ts";
import { sameHash } from "../chunking/chunk_hash.ts";
import { readFlacHead } from "../chunking/flac_head.ts";
import type { DonorBytes } from "./donor_bytes.ts";
import type { FetchedBytes } from "./fetched_bytes.ts";

/** Bytes that are compared at an end of what may be the same. As in proofs between origins. */
export const PROBE_BYTES = 16 * 1024;

/** Longest metadata that is fetched to compare it, in bytes: it is held in memory. */
export const METADATA_BYTES_MAX = 8 * 1024 * 1024;

/**
 * Whether the version behind `fetched`, of the donor's size and time, has the donor's bytes.
 *
 * Of FLAC, whose metadata holds an MD5 of all samples, the metadata is compared, and no audio is
 * fetched; with `trustAudioMd5` false, where the MD5 is missing, and of all else the first and the
 * last 16 KiB. What is not here of the donor proves nothing.
 */
export async function hasSameContent(
  fetched: FetchedBytes,
  donor: DonorBytes,
  { trustAudioMd5 }: { trustAudioMd5: boolean },
): Promise<boolean> {
  const { size } = donor;
  const head = trustAudioMd5 ? readFlacHead(size, donor.read) : undefined;
  if (head && "needs" in head) return false;
  if (head && !isZero(head.md5)) {
    if (head.audioStart > METADATA_BYTES_MAX) return false;
    return await isSame({ offset: 0, length: head.audioStart }, { fetched, donor });
  }
  const length = Math.min(PROBE_BYTES, size);
  const tail = { offset: size - length, length };
  return donor.read(tail.offset, length) !== undefined &&
    await isSame({ offset: 0, length }, { fetched, donor, also: tail }) &&
    await isSame(tail, { fetched, donor });
}

/** Whether FLAC's MD5 is one; zeros say that the encoder did not know it. */
export function isZero(md5: Uint8Array): boolean {
  return md5.every((byte) => byte === 0);
}

/** Fetches only what there is something to compare with; `also` is fetched beside it. */
async function isSame(
  range: ByteRange,
  { fetched, donor, also }: { fetched: FetchedBytes; donor: DonorBytes; also?: ByteRange },
): Promise<boolean> {
  const known = donor.read(range.offset, range.length);
  if (!known) return false;
  await fetched.need(also ? [range, also] : [range]);
  const found = fetched.read(range.offset, range.length);
  return found !== undefined && sameHash(known, found);
}
