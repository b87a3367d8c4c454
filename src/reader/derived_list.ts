import { failpoint } from "../base/failpoint.ts";
import type { CdcChunker } from "../chunking/cdc_chunker.ts";
import { ChunkList } from "../chunking/chunk_list.ts";
import type { Chunk } from "../chunking/chunk_manifest.ts";
import type { CasStore } from "../store/cas_store.ts";
import type { FileVersion } from "../store/file_version.ts";
import type { FetchedBytes } from "./fetched_bytes.ts";
import { audioChunksOf, type Retagged } from "./retagged.ts";

/** What chunks are made with. */
export interface DerivedListOptions {
  fetched: FetchedBytes;
  store: CasStore;
  /** Not that of an `Ingest`, which leaves its window for a turn of the event loop. */
  chunker: CdcChunker;
  /** Names chunks. */
  digest: (bytes: Uint8Array) => Uint8Array<ArrayBuffer>;
}

/**
 * The chunks of a file whose tags changed: its metadata, which is cut and stored, and the donor's
 * audio as far as the donor has it. The cuts are those that `Ingest` would make.
 *
 * Undefined if something of it is missing. Throws what the store throws.
 */
export function retaggedList(
  version: FileVersion,
  { donor, head, audioEnd }: Retagged,
  options: DerivedListOptions,
): ChunkList | undefined {
  const { fetched } = options;
  const front = fetched.read(0, head.audioStart);
  const back = fetched.read(audioEnd, version.size - audioEnd);
  const audio = audioChunksOf(donor);
  if (!front || !back || !audio) return undefined;
  const { list } = donor;
  const shared: Chunk[] = [];
  for (let i = audio[0]; i < audio[1]; i += 1) {
    shared.push({ hash: list.hash(i), length: list.length(i) });
  }
  const made = ChunkList.empty(version.size, list.hashBytes)
    .append(cutAndStore(front, options), { kind: "metadata" })
    .append(shared, { kind: "audio" });
  if (made.frontier > audioEnd) return undefined;
  if (made.frontier < audioEnd) return made;
  return made.append(cutAndStore(back, options), { kind: "metadata" });
}

/** Cuts one region, and stores its chunks. */
function cutAndStore(
  bytes: Uint8Array<ArrayBuffer>,
  { chunker, digest, store }: DerivedListOptions,
): Chunk[] {
  let start = 0;
  return chunker.chunkLengths(bytes).map((length) => {
    const chunk = bytes.subarray(start, start + length);
    start += length;
    const hash = digest(chunk);
    store.put(hash, chunk);
    failpoint("delta.after_put");
    return { hash, length };
  });
}
