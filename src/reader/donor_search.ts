import type { ByteRange } from "../base/bytes.ts";
import type { ChunkRegion } from "../chunking/chunk_manifest.ts";
import { FLAC_MD5_END, flacMd5 } from "../chunking/flac_md5.ts";
import { DONORS_MAX, mayBeFlac } from "../store/donors.ts";
import type { FileVersion } from "../store/file_version.ts";
import type { Manifests } from "../store/manifests.ts";
import type { Extents } from "./extents.ts";
import { HEAD_BYTES } from "./retagged.ts";
import { isTags } from "./tag_regions.ts";

/** Where versions come from that others may have bytes in common with. */
export interface DeltaSources {
  /**
   * The chunks of a version, as somebody published them; undefined if nobody did. Whatever it throws
   * means that nobody did.
   */
  publishedList?:
    | ((version: FileVersion, signal: AbortSignal) => Promise<ChunkRegion[] | undefined>)
    | undefined;
  /** Earlier versions of the same file, the latest first. */
  predecessors?: ((version: FileVersion) => Iterable<{ readonly id: number }>) | undefined;
  /**
   * Whether a name of the library has the version now; default: none has. A file that looks like one
   * that is still there was copied and may have been edited since: only an ETag proves it the same.
   */
  isCurrent?: ((id: number) => boolean) | undefined;
  /**
   * Whether FLAC's MD5 of the samples stands for the audio, where the metadata says that it is the
   * same; default true.
   */
  trustAudioMd5?: boolean | undefined;
  /** A list that bytes may have been read by was wrong: what anybody else keeps of them is too. */
  onRefused?: ((version: FileVersion) => void) | undefined;
}

/** What `DonorSearch` works with. */
export interface DonorSearchOptions extends DeltaSources {
  manifests: Manifests;
  extents: Extents;
}

/** What was found in the index, before any origin is asked. */
export interface Candidates {
  isPublished: boolean;
  sameTag: readonly number[];
  sameTime: readonly number[];
  predecessors: readonly number[];
  /** Whether a donor may be found by the MD5 in the head. */
  mayHaveAudio: boolean;
  /** Bytes of the head that are fetched for that. */
  headBytes: number;
}

/** Finds out, without asking any origin, what a version may have in common with others. */
export class DonorSearch {
  readonly #options: DonorSearchOptions;

  constructor(options: DonorSearchOptions) {
    this.#options = options;
  }

  /**
   * The candidates for a version without a list; undefined if there are none, and "in its head" if
   * that may show some when it is here. `wanted`: what somebody is about to read; `isHeadAwaited`:
   * whether that was the answer before.
   */
  of(
    version: FileVersion,
    { wanted, isHeadAwaited }: { wanted: ByteRange; isHeadAwaited: boolean },
  ): Candidates | "in its head" | undefined {
    const { manifests: { donors }, extents, publishedList, trustAudioMd5 } = this.#options;
    if (isHeadAwaited || extents.has(version)) return this.#inHead(version, wanted);
    const earlier = this.#earlier(version);
    const found: Candidates = {
      isPublished: publishedList !== undefined,
      sameTag: donors.sameTag(version),
      // A file with another version and yet the same size and time was edited.
      sameTime: donors.sameTime(version).filter((id) =>
        !earlier.includes(id) && !this.#isCurrent(id)
      ),
      predecessors: trustAudioMd5 === false ? [] : earlier,
      mayHaveAudio: this.mayHaveAudio(version),
      // Who wants all of it gains more than the round trip.
      headBytes: wanted.length >= version.size ? HEAD_BYTES : 0,
    };
    const isHeadWanted = found.mayHaveAudio && found.headBytes > 0;
    const isAny = found.isPublished || isHeadWanted || found.sameTag.length > 0 ||
      found.sameTime.length > 0 || found.predecessors.length > 0;
    if (isAny) return found;
    return found.mayHaveAudio ? "in its head" : undefined;
  }

  /** Versions that have lost their names, and this MD5 of their samples. */
  sameAudio(md5: Uint8Array): number[] {
    return this.#options.manifests.donors.sameAudio(md5).filter((id) => !this.#isCurrent(id));
  }

  /** Whether others may have its audio, going by a table and a name. */
  mayHaveAudio(version: FileVersion): boolean {
    const { manifests: { donors }, trustAudioMd5 } = this.#options;
    return trustAudioMd5 !== false && mayBeFlac(version) && donors.isAnyAudio;
  }

  /** What the head shows of a file of which something was fetched. */
  #inHead(version: FileVersion, wanted: ByteRange): Candidates | "in its head" | undefined {
    const { extents } = this.#options;
    if (!this.mayHaveAudio(version) || version.size < FLAC_MD5_END) return undefined;
    const head = new Uint8Array(FLAC_MD5_END);
    if (!extents.read(version, 0, head)) {
      // Who has begun in the middle goes on there.
      return isTags(wanted, version.size) ? "in its head" : undefined;
    }
    const md5 = flacMd5(head);
    if (!md5 || this.sameAudio(md5).length === 0) return undefined;
    return {
      isPublished: false,
      sameTag: [],
      sameTime: [],
      predecessors: this.#earlier(version),
      mayHaveAudio: true,
      headBytes: 0,
    };
  }

  #isCurrent(id: number): boolean {
    return this.#options.isCurrent?.(id) ?? false;
  }

  #earlier(version: FileVersion): number[] {
    return Iterator.from(this.#options.predecessors?.(version) ?? []).take(DONORS_MAX)
      .map(({ id }) => id).toArray();
  }
}
