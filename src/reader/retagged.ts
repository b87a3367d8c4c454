/**
 * FLAC files of which only the tags changed: their audio is here already, under other bytes at the
 * front and perhaps at the end. What counts as proof stands in docs/semantics.md.
 */

import type { ByteRange } from "../base/bytes.ts";
import { EXTENT_BLOCK_BYTES } from "../base/limits.ts";
import { layoutOf, type LayoutRegion } from "../chunking/audio_layout.ts";
import { sameHash } from "../chunking/chunk_hash.ts";
import { type FlacHead, readFlacHead } from "../chunking/flac_head.ts";
import { FLAC_MD5_END, flacMd5 } from "../chunking/flac_md5.ts";
import type { FileVersion } from "../store/file_version.ts";
import { wholeBlocks } from "./byte_ranges.ts";
import type { DonorBytes } from "./donor_bytes.ts";
import type { FetchedBytes } from "./fetched_bytes.ts";
import { isZero, METADATA_BYTES_MAX, PROBE_BYTES } from "./same_content.ts";

/** Bytes of a head that are fetched first, if an earlier version tells no better. */
export const HEAD_BYTES = 64 * 1024;

/** Longest head that is fetched in one go because an earlier version's tells how long it is. */
const GUESS_BYTES_MAX = 512 * 1024;

/** Fetches for one head or tail, each of which shows where the next one must be. */
const ROUNDS_MAX = 16;

/** Where the parts of a FLAC file lie. */
export interface FlacParts {
  head: FlacHead;
  audioEnd: number;
}

/** A donor that has a version's audio, and where that lies in the version. */
export interface Retagged extends FlacParts {
  donor: DonorBytes;
}

/** How `findRetagged` looks. */
export interface RetaggedOptions {
  fetched: FetchedBytes;
  /** Earlier versions of the same file, the latest first, also those of which there are no chunks. */
  predecessors: readonly DonorBytes[];
  /** Donors with an MD5 of the samples; undefined if there are none with any. */
  sameAudio: ((md5: Uint8Array) => readonly DonorBytes[]) | undefined;
  /** Bytes of the head to fetch if nothing else tells of its length; 0 to do without. */
  headBytes: number;
}

/**
 * The donor that has the audio of `version`, which has other metadata: the same STREAMINFO MD5, the
 * same length, and the same first and last 16 KiB.
 *
 * If any donor with that MD5 has the very same metadata, something else was edited, and nothing is
 * taken for the same; nor if that cannot be told of an earlier version of which something is cached,
 * or if two donors have the MD5 and not the same audio: then it says nothing.
 */
export async function findRetagged(
  version: FileVersion,
  options: RetaggedOptions,
): Promise<Retagged | undefined> {
  const { fetched, predecessors, sameAudio } = options;
  const { size } = version;
  // Whether the latest metadata differs cannot be told, and an older version's will not do for it.
  if (predecessors.some((donor) => donor.isKnown && isHeadLost(donor))) return undefined;
  await fetched.need(firstRanges(size, options));
  const md5 = flacMd5(fetched.read(0, FLAC_MD5_END) ?? new Uint8Array());
  const others = (md5 && sameAudio ? sameAudio(md5) : []).filter(({ id }) =>
    predecessors.every((known) => known.id !== id)
  );
  const isHere = fetched.read(0, 1) !== undefined;
  if (!isHere || (others.length === 0 && !predecessors.some(audioChunksOf))) return undefined;
  const head = await headOf(size, fetched);
  if (!head || isZero(head.md5) || head.audioStart >= size) return undefined;
  const donors = [...predecessors, ...others].flatMap((donor) => {
    const theirs = donorHead(donor);
    return theirs && sameHash(theirs.md5, head.md5) ? [{ donor, head: theirs }] : [];
  });
  if (donors.length === 0) return undefined;
  const audioEnd = await audioEndOf(size, { head, fetched });
  if (audioEnd === undefined) return undefined;
  const parts = { head, audioEnd };
  await fetched.need([{ offset: 0, length: head.audioStart }]);
  if (donors.some((donor) => mayHaveSameMetadata(size, { parts, fetched, ...donor }))) {
    return undefined;
  }
  await fetched.need(probesOf(parts).map((probe) => wholeBlocks(probe, size)));
  const [found, ...alike] = donors.filter((donor) => hasSameAudio(parts, { fetched, ...donor }))
    .map(({ donor }) => donor);
  if (!found || alike.some((donor) => !agree(found, donor))) return undefined;
  return { ...parts, donor: found };
}

/** The chunks of a donor's audio region start exactly where its audio does; undefined if not. */
export function audioChunksOf({ list, read, size }: DonorBytes): [number, number] | undefined {
  const [metadata, audio] = list.toRegions();
  const head = readFlacHead(size, read);
  if (!head || "needs" in head || metadata?.kind !== "metadata" || audio?.kind !== "audio") {
    return undefined;
  }
  const first = metadata.chunks.length;
  return list.start(first) === head.audioStart ? [first, first + audio.chunks.length] : undefined;
}

/** Whether the audio of two donors is the same, as far as both are known. */
function agree(a: DonorBytes, b: DonorBytes): boolean {
  const [ours, theirs] = [audioChunksOf(a), audioChunksOf(b)];
  if (!ours || !theirs) return true;
  const count = Math.min(ours[1] - ours[0], theirs[1] - theirs[0]);
  for (let i = 0; i < count; i += 1) {
    if (!sameHash(a.list.hash(ours[0] + i), b.list.hash(theirs[0] + i))) return false;
  }
  return true;
}

/** What is fetched before anything is known; nothing if it is not worth it. */
function firstRanges(size: number, options: RetaggedOptions): ByteRange[] {
  const { predecessors, sameAudio, headBytes } = options;
  for (const donor of predecessors) {
    const head = donorHead(donor);
    if (!head || isZero(head.md5) || !audioChunksOf(donor)) continue;
    const guess = head.audioStart + size - donor.size;
    const isGood = guess > 0 && guess <= GUESS_BYTES_MAX;
    const length = isGood ? guess + PROBE_BYTES : HEAD_BYTES;
    const tail = { offset: Math.max(0, size - PROBE_BYTES), length: PROBE_BYTES };
    return [headRange(length), wholeBlocks(tail, size)];
  }
  return sameAudio && headBytes > 0 ? [headRange(headBytes)] : [];
}

function headRange(bytes: number): ByteRange {
  return { offset: 0, length: Math.ceil(bytes / EXTENT_BLOCK_BYTES) * EXTENT_BLOCK_BYTES };
}

async function headOf(size: number, fetched: FetchedBytes): Promise<FlacHead | undefined> {
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const head = readFlacHead(size, fetched.read);
    if (!head || !("needs" in head)) return head;
    const end = head.needs.offset + head.needs.length;
    if (end > METADATA_BYTES_MAX) return undefined;
    // All of the metadata is wanted in the end.
    await fetched.need([headRange(end)]);
  }
  return undefined;
}

/** Where the audio ends, and tags may begin. */
async function audioEndOf(
  size: number,
  { head, fetched }: { head: FlacHead; fetched: FetchedBytes },
): Promise<number | undefined> {
  if (head.audioStart > METADATA_BYTES_MAX) return undefined;
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const layout = layoutOf(size, fetched.read);
    if ("regions" in layout) return endOfAudio(layout.regions, head);
    await fetched.need([wholeBlocks(layout.needs, size)]);
  }
  return undefined;
}

/** Undefined if the regions are not those of a FLAC file with that head. */
function endOfAudio(regions: readonly LayoutRegion[], head: FlacHead): number | undefined {
  const [metadata, audio] = regions;
  const isFlac = metadata?.kind === "metadata" && metadata.end === head.audioStart &&
    audio?.kind === "audio";
  return isFlac ? audio.end : undefined;
}

function donorHead({ size, read }: DonorBytes): FlacHead | undefined {
  const head = readFlacHead(size, read);
  return head && "needs" in head ? undefined : head;
}

function isHeadLost({ size, read }: DonorBytes): boolean {
  const head = readFlacHead(size, read);
  return head !== undefined && "needs" in head;
}

/** First and last bytes of the audio. */
function probesOf({ head, audioEnd }: FlacParts): [ByteRange, ByteRange] {
  const length = Math.min(PROBE_BYTES, audioEnd - head.audioStart);
  return [{ offset: head.audioStart, length }, { offset: audioEnd - length, length }];
}

interface Compared {
  donor: DonorBytes;
  /** The donor's. */
  head: FlacHead;
  fetched: FetchedBytes;
}

/** Whether the donor's metadata is the same, or it cannot be told that it is not. */
function mayHaveSameMetadata(
  size: number,
  { donor, head, fetched, parts }: Compared & { parts: FlacParts },
): boolean {
  const { audioStart } = parts.head;
  if (donor.size !== size || head.audioStart !== audioStart) return false;
  const differs = (offset: number, length: number): boolean => {
    const [ours, theirs] = [fetched.read(offset, length), donor.read(offset, length)];
    return ours !== undefined && theirs !== undefined && !sameHash(ours, theirs);
  };
  return !differs(0, audioStart) && !differs(parts.audioEnd, size - parts.audioEnd);
}

function hasSameAudio(parts: FlacParts, { donor, head, fetched }: Compared): boolean {
  const audio = audioChunksOf(donor);
  const layout = layoutOf(donor.size, donor.read);
  if (!audio || !("regions" in layout)) return false;
  const end = endOfAudio(layout.regions, head);
  if (end === undefined) return false;
  const shift = head.audioStart - parts.head.audioStart;
  if (end - shift !== parts.audioEnd) return false;
  const isSame = ({ offset, length }: ByteRange): boolean => {
    const [ours, theirs] = [fetched.read(offset, length), donor.read(offset + shift, length)];
    return ours !== undefined && theirs !== undefined && sameHash(ours, theirs);
  };
  return probesOf(parts).every(isSame);
}
