import { type HashName, openChunkHash } from "../../src/chunking/chunk_hash.ts";
import type { ChunkRegion } from "../../src/chunking/chunk_manifest.ts";
import { compareNames } from "../../src/library/path_order.ts";
import type { NamedEntry, NamedFolder } from "../../src/library/published_columns.ts";
import { encodeList, encodePartHeader, type MadeOf } from "../../src/library/published_format.ts";
import { encodeIndex } from "../../src/library/published_writer.ts";
import { createHash } from "node:crypto";

const xxh128 = await openChunkHash("xxh128");

/** One name of a tree to publish. */
export interface TreeEntry {
  path: string;
  kind: "file" | "folder" | "symlink";
  size?: number;
  mtimeNs?: bigint;
  target?: string;
  etag?: string;
  /** Its chunk list; without one the file has none. */
  regions?: ChunkRegion[];
}

/** The files of a published index, by their paths below the origin. */
export interface PublishedFiles {
  index: Uint8Array<ArrayBuffer>;
  part: { id: string; bytes: Uint8Array<ArrayBuffer> };
}

/** Publishes a tree. A file's MD5 is that of its path. Folders on the way must be in it. */
export async function publish(
  tree: readonly TreeEntry[],
  { hash = "xxh128", madeOf = "ns" }: { hash?: HashName; madeOf?: MadeOf } = {},
): Promise<PublishedFiles> {
  const hashBytes = hash === "xxh128" ? 16 : 8;
  const part = [encodePartHeader()];
  let end = part[0]?.length ?? 0;
  const byFolder = Map.groupBy(
    tree,
    ({ path }) => path.slice(0, Math.max(0, path.lastIndexOf("/"))),
  );
  const folders: NamedFolder[] = [];
  const add = (path: string, mtimeNs: bigint): void => {
    const entries: NamedEntry[] = [];
    for (const entry of byFolder.get(path) ?? []) {
      if (entry.path === "") continue;
      const { kind, size = 0, mtimeNs = 0n, target = "", etag = "", regions } = entry;
      const name = entry.path.slice(path === "" ? 0 : path.length + 1);
      const md5 = kind === "file" ? md5Of(entry.path) : undefined;
      const named: NamedEntry = { name, kind, size, mtimeNs, target, etag, md5 };
      if (regions && md5) {
        const bytes = encodeList(regions, { size, md5, hashBytes, xxh128 });
        named.list = { part: 0, offset: end, bytes: bytes.length };
        part.push(bytes);
        end += bytes.length;
      }
      entries.push(named);
    }
    entries.sort((a, b) => compareNames(a.name, b.name));
    folders.push({ path, mtimeNs, entries });
    for (const { name, kind, mtimeNs } of entries) {
      if (kind === "folder") add(path === "" ? name : `${path}/${name}`, mtimeNs);
    }
  };
  add("", tree.find((entry) => entry.path === "")?.mtimeNs ?? 0n);
  const bytes = await new Blob(part).bytes();
  const id = xxh128.digest(bytes).toHex();
  const parts = [{ id, bytes: bytes.length }];
  return { index: await encodeIndex({ folders, parts, hash, madeOf }), part: { id, bytes } };
}

/** What `publish` takes for a file's MD5. */
export function md5Of(path: string): Uint8Array {
  return new Uint8Array(createHash("md5").update(path).digest());
}

/** Chunks of 40 kB of which no bytes exist. */
export function regionsOf(size: number): ChunkRegion[] {
  const chunks = [];
  for (let at = 0; at < size; at += 40_000) {
    const length = Math.min(40_000, size - at);
    chunks.push({ hash: xxh128.digest(new TextEncoder().encode(`${size}@${at}`)), length });
  }
  return size === 0 ? [] : [{ kind: "whole", chunks }];
}
