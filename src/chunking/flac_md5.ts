import { hasText } from "./layout_draft.ts";

/** Bytes from a FLAC file's start to the end of the MD5, which ends STREAMINFO. RFC 9639, 8.1, 8.2. */
export const FLAC_MD5_END = 42;

const MD5_BYTES = 16;
const STREAMINFO_BYTES = 34;

/**
 * The MD5 of the samples of a file that begins with these bytes: 16 bytes, a copy. Undefined if they
 * are not those of a plain FLAC file, are too few, or the encoder did not know the MD5.
 */
export function flacMd5(head: Uint8Array): Uint8Array<ArrayBuffer> | undefined {
  if (head.length < FLAC_MD5_END || !hasText(head, "fLaC")) return undefined;
  const [type = 0, ...length] = head.subarray(4, 8);
  const isStreamInfo = type % 128 === 0 && length.join() === `0,0,${STREAMINFO_BYTES}`;
  const md5 = new Uint8Array(head.subarray(FLAC_MD5_END - MD5_BYTES, FLAC_MD5_END));
  return isStreamInfo && md5.some((byte) => byte !== 0) ? md5 : undefined;
}
