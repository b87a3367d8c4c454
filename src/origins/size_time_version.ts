/**
 * The version of a file whose place knows nothing better than size and time of last change.
 *
 * Whoever stores size and time need not store this text: it follows from them.
 */
export function sizeTimeVersion(size: number, mtimeNs: bigint): string {
  return `${size}-${mtimeNs}`;
}
