import type { ByteRange } from "../base/bytes.ts";
import { MusicfsError } from "../base/errors.ts";
import { EXTENT_BLOCK_BYTES } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import {
  checked,
  cString,
  libc,
  O_CREAT,
  O_EXCL,
  O_RDONLY,
  O_RDWR,
  openFile,
  preadFully,
  pwriteFully,
  statDescriptor,
} from "../base/posix.ts";
import type { Xxh64 } from "../chunking/xxh64.ts";
import type { CacheIndex, ItemName } from "../store/cache_index.ts";
import { type FileVersion, versionFilePath, type VersionKey } from "../store/file_version.ts";
import { itemPath, makeFolder } from "../store/layout.ts";
import { SEGMENT, type Segment } from "../store/lru_eviction.ts";
import type { Takeover } from "../store/manifests.ts";
import { type CacheDisk, isFull } from "../store/passthrough.ts";
import type { Space } from "../store/space.ts";
import { TakenOver } from "../store/taken_over.ts";
import {
  blockMark,
  encodeExtentHeader,
  EXTENT_HEADER_BYTES,
  type ExtentLayout,
  extentLayout,
  ExtentReader,
  MAP_ENTRY_BYTES,
} from "./extent_file.ts";
import { isTags } from "./tag_regions.ts";
import { moveExtent } from "./move_extent.ts";
import { trimExtent } from "./trim_extent.ts";

/** What `Extents` is made of. */
export interface ExtentsOptions {
  cacheDir: string;
  cacheIndex: CacheIndex;
  disk: CacheDisk;
  space: Pick<Space, "reserve" | "freeUp" | "madeFolder" | "trimWith">;
  keyOf: (version: FileVersion) => VersionKey;
  xxh64: Xxh64;
  log: Log;
}

const BLOCK = EXTENT_BLOCK_BYTES;
const ENOENT = 2;

/** fallocate(2): FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE. Source: linux/falloc.h. */
const PUNCH_HOLE = 0x01 | 0x02;

/** Where one version's extent lies. */
interface Place {
  readonly version: FileVersion;
  readonly key: VersionKey;
  readonly path: string;
  readonly layout: ExtentLayout;
  readonly header: Uint8Array<ArrayBuffer>;
}

/**
 * The parts read so far of tracks that are not whole. Main thread only: it alone writes.
 *
 * Nothing is kept in memory: every call looks at the file, so that one which was evicted, cut off or
 * damaged meanwhile costs a fetch and nothing else. No call throws for what the disk does.
 */
export class Extents {
  readonly #options: ExtentsOptions;
  readonly #reader: ExtentReader;
  /** Of the latest call: one read makes several. */
  #lastPlace: Place | undefined;
  readonly #takenOver = new TakenOver();
  #refusal: MusicfsError | undefined;

  constructor(options: ExtentsOptions) {
    this.#options = options;
    this.#reader = new ExtentReader(options.xxh64);
    options.space.trimWith((item) => trimExtent(itemPath(options.cacheDir, item)));
  }

  /** Why the latest `write` returned false; undefined if it did not. */
  get refusal(): MusicfsError | undefined {
    return this.#refusal;
  }

  /**
   * Keeps the whole blocks among `bytes`, which are the track's from `offset` on; the last block
   * counts as whole when it reaches the end of the file. False if the disk did not take them.
   */
  write(version: FileVersion, offset: number, bytes: Uint8Array<ArrayBuffer>): boolean {
    const { disk, space, log } = this.#options;
    const first = Math.ceil(offset / BLOCK);
    const reachesEnd = offset + bytes.length >= version.size;
    const end = reachesEnd
      ? Math.ceil(version.size / BLOCK)
      : Math.floor((offset + bytes.length) / BLOCK);
    if (first >= end) return false;
    if (!disk.probe()) {
      this.#refusal = disk.refused("extents.write", version.sources[0].path);
      return false;
    }
    const whole = bytes.subarray(
      first * BLOCK - offset,
      Math.min(end * BLOCK, version.size) - offset,
    );
    const place = this.#place(version);
    const keep = itemOf(place);
    const diskBytes = whole.length + place.layout.fileBytes - place.layout.headerAt;
    try {
      space.reserve(diskBytes, { keep });
      let reason = this.#writeBlocks(place, first, whole);
      if (isFull(reason) && space.freeUp(diskBytes, { keep })) {
        reason = this.#writeBlocks(place, first, whole);
      }
      if (reason !== 0) throw disk.failed("extents.write", place.path, reason);
      this.#refusal = undefined;
      return true;
    } catch (error) {
      if (!(error instanceof MusicfsError)) throw error;
      this.#refusal = error;
      log.debug("Part of a track was not kept", { path: place.path, error });
      return false;
    }
  }

  /** What of `range` is not here: ranges of whole blocks, clipped to the file, in order. */
  missing(version: FileVersion, range: ByteRange): ByteRange[] {
    const first = Math.floor(range.offset / BLOCK);
    const end = Math.ceil(Math.min(range.offset + range.length, version.size) / BLOCK);
    const marks = this.#marks(this.#place(version), [first, end]);
    const found: ByteRange[] = [];
    let block = marks.indexOf(0n);
    while (block >= 0) {
      let next = block;
      while (next < marks.length && marks[next] === 0n) next += 1;
      const offset = (first + block) * BLOCK;
      const length = Math.min((first + next) * BLOCK, version.size) - offset;
      found.push({ offset, length });
      block = marks.indexOf(0n, next);
    }
    return found;
  }

  /** End of the bytes that are here from `offset` on without a gap, up to `limit`. */
  contiguousEnd(version: FileVersion, offset: number, { limit }: { limit: number }): number {
    const length = Math.min(limit, version.size) - offset;
    if (length <= 0) return offset;
    const [gap] = this.missing(version, { offset, length });
    return gap ? Math.max(offset, gap.offset) : offset + length;
  }

  /** Fills `into` with the track's bytes from `offset` on, checked; false if that cannot be done. */
  read(version: FileVersion, offset: number, into: Uint8Array<ArrayBuffer>): boolean {
    const place = this.#place(version);
    const { layout } = place;
    return this.#open(
      place,
      (descriptor) => this.#reader.read(descriptor, { layout, offset, into }),
    ) ?? false;
  }

  /** Notes a use of the version's extent. */
  use(version: FileVersion): void {
    this.#options.cacheIndex.use("extent", Uint8Array.fromHex(this.#place(version).key));
  }

  /**
   * The blocks that are marked as there and whose bytes are not what their marks say, as ranges of
   * the track; reads everything that the extent holds.
   */
  damaged(version: FileVersion): ByteRange[] {
    const place = this.#place(version);
    const marks = this.#marks(place, [0, Math.ceil(version.size / BLOCK)]);
    const buffer = new Uint8Array(BLOCK);
    const isSound = (descriptor: number, { offset, length }: ByteRange): boolean =>
      this.#reader.read(descriptor, {
        layout: place.layout,
        offset,
        into: buffer.subarray(0, length),
      });
    return this.#open(place, (descriptor) => {
      const damaged: ByteRange[] = [];
      for (const [i, mark] of marks.entries()) {
        if (mark === 0n) continue;
        const block = { offset: i * BLOCK, length: Math.min(BLOCK, version.size - i * BLOCK) };
        if (!isSound(descriptor, block)) damaged.push(block);
      }
      return damaged;
    }) ?? [];
  }

  /** Gives the blocks that lie below `end` back to the disk; what they held is in chunks. */
  free(version: FileVersion, end: number): void {
    const place = this.#place(version);
    const blocks = Math.floor(end / BLOCK);
    const descriptor = openFile(place.path, O_RDWR);
    if (descriptor < 0) return;
    // First the marks: a block must never be a hole with a mark of its former bytes.
    const zeros = new Uint8Array(blocks * MAP_ENTRY_BYTES);
    const zeroed = pwriteFully(descriptor, zeros, place.layout.mapAt);
    if (zeroed === zeros.length && blocks > 0) {
      // Some filesystems cannot; the bytes then stay until the track is whole.
      libc.fallocate(descriptor, PUNCH_HOLE, 0n, BigInt(blocks * BLOCK));
    }
    this.#record(place, descriptor);
    libc.close(descriptor);
  }

  /** Whether there is an extent of the version, by the index. */
  has(version: FileVersion): boolean {
    const { cacheIndex, keyOf } = this.#options;
    const { kind, id } = itemOf({ key: keyOf(this.#takenOver.current(version)) });
    return cacheIndex.find(kind, id) !== undefined;
  }

  /**
   * Puts the version's extent where it is looked for after a takeover, over what is there. From now on
   * whatever comes for the version as it was before counts as what it is now.
   *
   * @returns what is to be done in the index; undefined for nothing, because there was no extent
   */
  rekey({ before, after }: Takeover): (() => void) | undefined {
    const { cacheIndex, space } = this.#options;
    const isThere = this.has(before);
    const from = isThere ? this.#place(before) : undefined;
    this.#takenOver.note(before, after);
    this.#lastPlace = undefined;
    if (!from) return undefined;
    const to = this.#place(after);
    if (from.key === to.key) return undefined;
    const old = itemOf(from);
    const moved = moveExtent({ from, to, isOwn: (descriptor) => this.#isOwn(from, descriptor) });
    if (moved === "new folder") space.madeFolder(folderOf(to.path));
    return moved ? () => cacheIndex.rename(old, itemOf(to)) : () => cacheIndex.removeAll([old]);
  }

  /** Forgets the extent's size and use; for the transaction before `drop`. */
  forget(version: FileVersion): void {
    this.#options.cacheIndex.remove("extent", Uint8Array.fromHex(this.#place(version).key));
  }

  /** Deletes the version's extent. */
  drop(version: FileVersion): void {
    libc.unlink(cString(this.#place(version).path));
  }

  #place(version: FileVersion): Place {
    if (this.#lastPlace?.version === version) return this.#lastPlace;
    const now = this.#takenOver.current(version);
    const key = this.#options.keyOf(now);
    const path = versionFilePath(`${this.#options.cacheDir}/extents`, key);
    const header = encodeExtentHeader(now, key);
    this.#lastPlace = { version, key, path, layout: extentLayout(version.size), header };
    return this.#lastPlace;
  }

  /** Runs `use` on the open file; undefined if there is none, or one of something else. */
  #open<T>(place: Place, use: (descriptor: number) => T): T | undefined {
    const descriptor = openFile(place.path, O_RDONLY);
    if (descriptor < 0) return undefined;
    try {
      return this.#isOwn(place, descriptor) ? use(descriptor) : undefined;
    } finally {
      libc.close(descriptor);
    }
  }

  #isOwn({ header, layout }: Place, descriptor: number): boolean {
    return this.#reader.isOwn(descriptor, header, layout);
  }

  /** The marks of blocks `[first, end)`; zeros where there are none. */
  #marks(place: Place, [first, end]: [number, number]): BigUint64Array<ArrayBuffer> {
    const marks = new BigUint64Array(Math.max(0, end - first));
    const at = place.layout.mapAt + first * MAP_ENTRY_BYTES;
    const bytes = new Uint8Array(marks.buffer);
    const read = this.#open(place, (descriptor) => preadFully(descriptor, bytes, at));
    if (read !== bytes.length) marks.fill(0n);
    return marks;
  }

  /**
   * Data first, then marks; a mark without its data would show, and cost a fetch. 0, or the errno
   * that stopped it.
   */
  #writeBlocks(place: Place, first: number, whole: Uint8Array<ArrayBuffer>): number {
    const marks = new BigUint64Array(Math.ceil(whole.length / BLOCK));
    for (let i = 0; i < marks.length; i += 1) {
      marks[i] = blockMark(this.#options.xxh64(whole.subarray(i * BLOCK, (i + 1) * BLOCK)));
    }
    const descriptor = this.#openForWriting(place);
    if (descriptor < 0) return -descriptor;
    let result = pwriteFully(descriptor, whole, first * BLOCK);
    if (result >= 0) {
      const marksAt = place.layout.mapAt + first * MAP_ENTRY_BYTES;
      result = pwriteFully(descriptor, new Uint8Array(marks.buffer), marksAt);
    }
    const written = { offset: first * BLOCK, length: whole.length };
    this.#record(place, descriptor, this.#segmentAfter(place, written));
    libc.close(descriptor);
    return result < 0 ? -result : 0;
  }

  /** A descriptor of the version's own extent, made if need be; or `-errno`. */
  #openForWriting(place: Place): number {
    const descriptor = openFile(place.path, O_RDWR);
    if (descriptor < 0) return this.#create(place);
    if (this.#isOwn(place, descriptor)) return descriptor;
    this.#options.log.warning("Extent is damaged or of another version; it is dropped", {
      path: place.path,
    });
    libc.close(descriptor);
    libc.unlink(cString(place.path));
    return this.#create(place);
  }

  #create(place: Place): number {
    const flags = O_RDWR | O_CREAT | O_EXCL;
    const found = openFile(place.path, flags);
    const folder = folderOf(place.path);
    const isNewFolder = found === -ENOENT && makeFolder(folder);
    if (isNewFolder) this.#options.space.madeFolder(folder);
    const descriptor = isNewFolder ? openFile(place.path, flags) : found;
    if (descriptor < 0) return descriptor;
    let result = checked(libc.ftruncate(descriptor, BigInt(place.layout.fileBytes)));
    if (result >= 0) {
      result = pwriteFully(descriptor, place.header, place.layout.headerAt);
    }
    if (result >= 0) return descriptor;
    libc.close(descriptor);
    libc.unlink(cString(place.path));
    return result;
  }

  /** What holds nothing but head and tail of its track is evicted last; undefined: as it is. */
  #segmentAfter({ key, version }: Place, written: ByteRange): Segment | undefined {
    const item = this.#options.cacheIndex.find("extent", Uint8Array.fromHex(key));
    if (isTags(written, version.size)) return item ? undefined : SEGMENT.tags;
    return item?.segment === SEGMENT.tags ? SEGMENT.probation : undefined;
  }

  #record(place: Place, descriptor: number, segment?: Segment): void {
    const status = statDescriptor(descriptor);
    this.#options.cacheIndex.record({
      kind: "extent",
      id: Uint8Array.fromHex(place.key),
      diskBytes: typeof status === "number" ? EXTENT_HEADER_BYTES : status.diskBytes,
      owner: place.version.id,
      segment,
    });
  }
}

function itemOf({ key }: { key: VersionKey }): ItemName {
  return { kind: "extent", id: Uint8Array.fromHex(key) };
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}
