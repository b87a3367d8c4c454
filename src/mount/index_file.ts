import { createHash } from "node:crypto";
import type { CdcChunker } from "../chunking/cdc_chunker.ts";
import { type ChunkHash, sameHash } from "../chunking/chunk_hash.ts";
import type { ChunkRegion } from "../chunking/chunk_manifest.ts";
import { cutFile } from "../chunking/cut_file.ts";
import { LinkedAbort } from "../origins/linked_abort.ts";
import type { Origin, OriginFile } from "../origins/origin.ts";

/** Bytes of one read ahead: as much as `cutFile` asks for. */
const READ_BYTES = 1024 * 1024;

/** Reads under way ahead of it, for one file. */
const READS_AHEAD = 4;

/** What a file is cut with. */
export interface CutOptions {
  chunker: CdcChunker;
  hash: ChunkHash;
  signal: AbortSignal;
  /** Told of bytes that came. */
  onBytes: (bytes: number) => void;
}

/** The chunks of a file, and the MD5 of all of it: each byte but those of a few headers read once. */
export async function cutWithMd5(
  origin: Origin,
  file: OriginFile,
  options: CutOptions,
): Promise<{ regions: ChunkRegion[]; md5: Uint8Array }> {
  const { chunker, hash } = options;
  using reading = new ReadAhead(origin, file, options);
  const md5 = createHash("md5");
  let done = 0;
  const readRange = async (offset: number, length: number): Promise<Uint8Array> => {
    const bytes = await reading.read(offset, length);
    if (offset <= done && done < offset + length) {
      md5.update(bytes.subarray(done - offset));
      done = offset + length;
    }
    return bytes;
  };
  const regions = await cutFile(file.size, { readRange, chunker, hash });
  if (done !== file.size) throw new RangeError(`Only ${done} of ${file.size} bytes were read`);
  return { regions, md5: new Uint8Array(md5.digest()) };
}

/**
 * Whether a file that seems to have moved still has the chunks that were cut of it: its first and
 * its last one are read. The rest is taken to be as it was, as everywhere in musicfs where size,
 * time, head and tail are the same.
 */
export async function hasChunks(
  origin: Origin,
  file: OriginFile,
  { regions, hash, signal, onBytes }: {
    regions: readonly ChunkRegion[];
    hash: ChunkHash;
    signal: AbortSignal;
    onBytes: (bytes: number) => void;
  },
): Promise<boolean> {
  const first = regions[0]?.chunks[0];
  const last = regions.at(-1)?.chunks.at(-1);
  if (!first || !last) return file.size === 0;
  for (const [offset, chunk] of [[0, first], [file.size - last.length, last]] as const) {
    const range = { offset, length: chunk.length };
    const bytes = await origin.read(file, range, { signal });
    onBytes(bytes.length);
    if (!sameHash(hash.digest(bytes), chunk.hash)) return false;
  }
  return true;
}

/** Reads a file's ranges, and while they come in order the next ones ahead. */
class ReadAhead implements Disposable {
  readonly #ahead = new Map<number, Promise<Uint8Array>>();
  readonly #call: LinkedAbort;
  readonly #origin: Origin;
  readonly #file: OriginFile;
  readonly #options: CutOptions;

  constructor(origin: Origin, file: OriginFile, options: CutOptions) {
    this.#origin = origin;
    this.#file = file;
    this.#options = options;
    this.#call = new LinkedAbort(options.signal);
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const asked = this.#ahead.get(offset);
    this.#ahead.delete(offset);
    const reading = asked ?? this.#read(offset, length);
    if (length === READ_BYTES) {
      const end = Math.min(this.#file.size, offset + (1 + READS_AHEAD) * READ_BYTES);
      for (let at = offset + READ_BYTES; at < end; at += READ_BYTES) {
        if (this.#ahead.has(at)) continue;
        const next = this.#read(at, Math.min(READ_BYTES, this.#file.size - at));
        next.catch(() => undefined); // Whoever comes to it is told.
        this.#ahead.set(at, next);
      }
    }
    const bytes = await reading;
    if (bytes.length < length) return await this.#read(offset, length);
    this.#options.onBytes(length);
    return bytes.subarray(0, length);
  }

  /** Ends what was read ahead in vain. */
  [Symbol.dispose](): void {
    this.#call.abort("over");
    this.#call[Symbol.dispose]();
  }

  async #read(offset: number, length: number): Promise<Uint8Array> {
    return await this.#origin.read(this.#file, { offset, length }, { signal: this.#call.signal });
  }
}
