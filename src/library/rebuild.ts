import { HASH_BYTES } from "../chunking/chunk_hash.ts";
import { ChunkList } from "../chunking/chunk_list.ts";
import type { ChunkManifest } from "../chunking/chunk_manifest.ts";
import type { FileVersion } from "../store/file_version.ts";
import type { Index } from "../store/index.ts";
import { isName } from "./delta_detector.ts";
import { type EntrySource, unlistedFolder } from "./entry.ts";
import { inOrder } from "./federation.ts";
import { Namespace } from "./namespace.ts";
import { NamespaceEdit } from "./namespace_edit.ts";
import { nodeIdOf, ROOT_ID } from "./node_id.ts";

/** Manifests that are taken over in one transaction. */
const MANIFESTS_MAX = 500;

/** What the tracks that were whole are rebuilt from; `Manifests` of the store. */
export interface ManifestFiles {
  files(): Iterable<{ manifest: ChunkManifest }>;
  put(version: FileVersion, list: ChunkList, options: { isBulk: true }): void;
}

/** What a rebuild works on. */
export interface RebuildOptions {
  /** New and empty but for the origins' numbers: a `Library` was already made of it. */
  index: Index;
  manifests: ManifestFiles;
  /** Identities of the configured origins, the preferred one first. */
  origins: readonly string[];
  /** Wall-clock ms. */
  nowMs: number;
}

/**
 * Fills a new index with the tracks that are whole on this disk, so that they play with every
 * origin down. Returns how many.
 *
 * No folder counts as listed: each is listed by its origins as soon as one of them can be asked.
 * Manifests of origins that are no longer configured, and hostile paths, are left out. Of several
 * versions of one file the latest is taken.
 */
export function rebuildNamespace(options: RebuildOptions): number {
  const { manifests } = options;
  let restored = 0;
  let batch: ChunkManifest[] = [];
  for (const { manifest } of manifests.files()) {
    batch.push(manifest);
    if (batch.length < MANIFESTS_MAX) continue;
    restored += restore(options, batch);
    batch = [];
  }
  return restored + restore(options, batch);
}

function restore(options: RebuildOptions, batch: readonly ChunkManifest[]): number {
  const { index, nowMs } = options;
  const namespace = new Namespace(index);
  let restored = 0;
  NamespaceEdit.run({ index, namespace, nowMs }, (edit) => {
    restored = 0;
    for (const manifest of batch) if (restoreOne(options, edit, manifest)) restored += 1;
  });
  return restored;
}

function restoreOne(
  options: RebuildOptions,
  edit: NamespaceEdit,
  manifest: ChunkManifest,
): boolean {
  const { namespace } = edit;
  const rank = options.origins.indexOf(manifest.origin);
  const names = manifest.path.split("/");
  if (rank < 0 || !names.every(isName)) return false;
  const root = namespace.entry(ROOT_ID);
  const numberOf = (identity: string): number | undefined =>
    root?.sources.find(({ origin }) => namespace.identityOf(origin) === identity)?.origin;
  const origin = numberOf(manifest.origin);
  if (origin === undefined) return false;
  const rankOf = (number: number): number => options.origins.indexOf(namespace.identityOf(number));
  const place = { origin, rankOf };
  let folder = ROOT_ID;
  for (const name of names.slice(0, -1)) {
    const id = put(edit, { ...place, folder, name, source: unlistedFolder(origin) });
    if (id === undefined) return false;
    folder = id;
  }
  const name = names.at(-1) ?? "";
  const id = put(edit, { ...place, folder, name, source: fileSource(origin, manifest) });
  const entry = id === undefined ? undefined : namespace.entry(id);
  if (entry?.sources[0]?.origin !== origin) return false;
  const version = namespace.version(nodeIdOf(entry.id, entry.sequence));
  if (!version) return false;
  options.manifests.put(version, listOf(manifest), { isBulk: true });
  return true;
}

interface Put {
  folder: number;
  name: string;
  origin: number;
  source: EntrySource;
  rankOf: (origin: number) => number;
}

/** The entry's id; undefined where something else is in the way, or a later version is there. */
function put(
  edit: NamespaceEdit,
  { folder, name, origin, source, rankOf }: Put,
): number | undefined {
  const { namespace } = edit;
  const old = namespace.child(folder, name);
  if (!old) return edit.insert(folder, name, { sources: [source], quiet: true }).id;
  if (old.kind !== source.kind) return undefined;
  const before = old.sources.find((other) => other.origin === origin);
  if (before && (source.kind === "folder" || before.mtimeNs >= source.mtimeNs)) {
    return source.kind === "folder" ? old.id : undefined;
  }
  const others = old.sources.filter((other) => other.origin !== origin);
  edit.setSources(old, inOrder([...others, source], rankOf));
  return old.id;
}

function listOf(manifest: ChunkManifest): ChunkList {
  let list = ChunkList.empty(manifest.size, HASH_BYTES[manifest.hash]);
  for (const { kind, chunks } of manifest.regions) list = list.append(chunks, { kind });
  return list;
}

function fileSource(
  origin: number,
  { size, mtimeNs, version }: ChunkManifest,
): EntrySource {
  return {
    origin,
    kind: "file",
    size,
    mtimeNs,
    version,
    target: "",
    listed: false,
    lastScan: 0,
  };
}
