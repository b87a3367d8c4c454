import { libc, O_RDWR, openFile, preadFully, pwriteFully, statDescriptor } from "../base/posix.ts";
import { EXTENT_BLOCK_BYTES } from "../base/limits.ts";
import { type ExtentLayout, MAP_ENTRY_BYTES, readExtentLayout } from "./extent_file.ts";
import { tagRegions } from "./tag_regions.ts";

/** fallocate(2): FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE. Source: linux/falloc.h. */
const PUNCH_HOLE = 0x01 | 0x02;

/**
 * Gives all of an extent but the track's head and tail back to the disk.
 *
 * @returns bytes on disk that are left; undefined if that cannot be done, or if the file holds
 * nothing of head and tail, or nothing else
 */
export function trimExtent(path: string): number | undefined {
  const descriptor = openFile(path, O_RDWR);
  if (descriptor < 0) return undefined;
  try {
    const status = statDescriptor(descriptor);
    if (typeof status === "number") return undefined;
    const layout = readExtentLayout(descriptor, status.size);
    if (!layout || !trim(descriptor, layout)) return undefined;
    const after = statDescriptor(descriptor);
    return typeof after === "number" ? undefined : after.diskBytes;
  } finally {
    libc.close(descriptor);
  }
}

function trim(descriptor: number, layout: ExtentLayout): boolean {
  const { headEnd, tailStart } = tagRegions(layout.size);
  if (tailStart <= headEnd) return false;
  const first = headEnd / EXTENT_BLOCK_BYTES;
  const end = tailStart / EXTENT_BLOCK_BYTES;
  const map = new Uint8Array(layout.blocks * MAP_ENTRY_BYTES);
  if (preadFully(descriptor, map, layout.mapAt) !== map.length) return false;
  const marks = new BigUint64Array(map.buffer);
  const isThere = (mark: bigint): boolean => mark !== 0n;
  if (!marks.subarray(first, end).some(isThere)) return false;
  if (!marks.subarray(0, first).some(isThere) && !marks.subarray(end).some(isThere)) return false;
  // First the marks: a block must never be a hole with a mark of its former bytes.
  const zeros = new Uint8Array((end - first) * MAP_ENTRY_BYTES);
  const written = pwriteFully(descriptor, zeros, layout.mapAt + first * MAP_ENTRY_BYTES);
  if (written !== zeros.length) return false;
  return libc.fallocate(
    descriptor,
    PUNCH_HOLE,
    BigInt(headEnd),
    BigInt(tailStart - headEnd),
  ) === 0;
}
