/** Where things lie below the cache's folder; docs/architecture.md, On disk. */

import type { ItemKind } from "./cache_item.ts";

/** Folders of evictable files, by kind. */
export const ITEM_FOLDERS = { chunk: "chunks", extent: "extents" } as const satisfies Record<
  ItemKind,
  string
>;

/** `00` to `ff`: the folders that chunks, manifests and extents are spread over by their first byte. */
export const FOLDER_NAMES: readonly string[] = Array.from(
  { length: 256 },
  (_, byte) => byte.toString(16).padStart(2, "0"),
);

/** The file of a chunk or an extent. */
export function itemPath(
  cacheDir: string,
  { kind, id }: { kind: ItemKind; id: Uint8Array },
): string {
  const name = id.toHex();
  return `${cacheDir}/${ITEM_FOLDERS[kind]}/${name.slice(0, 2)}/${name}`;
}

/** The entries of a folder, in no order; none if it is missing or cannot be read. */
export function entriesOf(folder: string): Deno.DirEntry[] {
  try {
    return [...Deno.readDirSync(folder)];
  } catch (error) {
    if (error instanceof Error && "code" in error) return [];
    throw error;
  }
}

/** Makes a folder of the cache, mode 0700, with those above it; false if that is not possible. */
export function makeFolder(folder: string): boolean {
  try {
    Deno.mkdirSync(folder, { recursive: true, mode: 0o700 });
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error) return false;
    throw error;
  }
}

/**
 * The id that a file of `folder` (`00` to `ff`) is named by: 8 or 16 bytes in lower-case hex, and it
 * must lie where it belongs; undefined for anything else.
 */
export function idOf(name: string, folder: string): Uint8Array<ArrayBuffer> | undefined {
  if (!name.startsWith(folder) || !/^(?:[0-9a-f]{16}){1,2}$/.test(name)) return undefined;
  return Uint8Array.fromHex(name);
}
