import { type HashName, openChunkHash } from "../chunking/chunk_hash.ts";
import { deflate } from "./deflate.ts";
import { type ChunkPart, encodeNames, type NamedFolder } from "./published_columns.ts";
import { encodeNamesFile, type MadeOf } from "./published_format.ts";

/** What an index is made of. */
export interface NamesToPublish {
  /** Depth first, names in the order of `compareNames`. */
  folders: readonly NamedFolder[];
  parts: readonly ChunkPart[];
  /** The hash of its chunks. */
  hash: HashName;
  madeOf: MadeOf;
}

/** The bytes of `.musicfs/index`. */
export async function encodeIndex(
  { folders, parts, hash, madeOf }: NamesToPublish,
): Promise<Uint8Array<ArrayBuffer>> {
  const { columns, digests } = encodeNames(folders, parts);
  const deflated = await deflate(columns);
  const entries = folders.flatMap((folder) => folder.entries);
  return encodeNamesFile(
    {
      hash,
      madeOf,
      folders: folders.length,
      names: entries.length,
      files: entries.filter((entry) => entry.kind === "file").length,
      deflatedBytes: deflated.length,
      columnsBytes: columns.length,
      digestsBytes: digests.length,
    },
    { deflated, digests },
    await openChunkHash("xxh128"),
  );
}
