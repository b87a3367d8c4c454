import { MusicfsError } from "../base/errors.ts";
import { type HashName, openChunkHash } from "../chunking/chunk_hash.ts";
import { deflate } from "./deflate.ts";
import { type ChunkPart, encodeNames, type NamedFolder, NAMES_MAX } from "./published_columns.ts";
import {
  COLUMNS_BYTES_MAX,
  encodeNamesFile,
  type MadeOf,
  NAMES_BYTES_MAX,
  NAMES_HEADER_BYTES,
  NAMES_PATH,
} from "./published_format.ts";

/** What an index is made of. */
export interface NamesToPublish {
  /** Depth first, names in the order of `compareNames`. */
  folders: readonly NamedFolder[];
  parts: readonly ChunkPart[];
  /** The hash of its chunks. */
  hash: HashName;
  madeOf: MadeOf;
}

/** The bytes of `.musicfs/index`. Throws `invalid` for more names than a reader takes. */
export async function encodeIndex(
  { folders, parts, hash, madeOf }: NamesToPublish,
): Promise<Uint8Array<ArrayBuffer>> {
  const { columns, digests } = encodeNames(folders, parts);
  const deflated = await deflate(columns);
  let names = 0;
  let files = 0;
  for (const { entries } of folders) {
    names += entries.length;
    for (const { kind } of entries) if (kind === "file") files += 1;
  }
  const bytes = NAMES_HEADER_BYTES + deflated.length + digests.length;
  if (names > NAMES_MAX || columns.length > COLUMNS_BYTES_MAX || bytes > NAMES_BYTES_MAX) {
    throw new MusicfsError(
      "invalid",
      `Cannot publish an index of ${names} names: ${NAMES_MAX} are the most; index the folders ` +
        "in it one by one",
      { op: "published_index.encode", subject: NAMES_PATH },
    );
  }
  return encodeNamesFile(
    {
      hash,
      madeOf,
      folders: folders.length,
      names,
      files,
      deflatedBytes: deflated.length,
      columnsBytes: columns.length,
      digestsBytes: digests.length,
    },
    { deflated, digests },
    await openChunkHash("xxh128"),
  );
}
