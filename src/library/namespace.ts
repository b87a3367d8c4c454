import { MusicfsError } from "../base/errors.ts";
import type { FileVersion, VersionSource } from "../store/file_version.ts";
import type { Index, Table } from "../store/index.ts";
import type { Entry } from "./entry.ts";
import { decodeEntry, decodeName } from "./entry_record.ts";
import { merged, readableSources } from "./federation.ts";
import { childrenAfter, entryKey, nameKey, originKey, u32At, versionKey } from "./keys.ts";
import { readCounters, type Totals } from "./library_meta.ts";
import { entryIdOf, nodeIdOf, ROOT_ID, sequenceOf } from "./node_id.ts";
import { decodeSuperseded } from "./superseded.ts";

/** Folders on a path; a longer chain of parents is damage that would never end. */
const DEPTH_MAX = 4096;

/**
 * The tree of names, as the index has it: reads only, from whichever thread the index belongs to.
 *
 * Answers with every origin down. What is given out is the caller's own and stays good.
 */
export class Namespace {
  readonly #entries: Table;
  readonly #names: Table;
  readonly #children: Table;
  readonly #superseded: Table;
  readonly #identities = new Map<number, string>();

  constructor(readonly index: Index) {
    this.#entries = index.table("entries");
    this.#names = index.table("names");
    this.#children = index.table("children");
    this.#superseded = index.table("superseded");
  }

  /** The root is always there, unlisted until each origin has listed it. */
  entry(id: number): Entry | undefined {
    const record = this.#entries.get(entryKey(id));
    if (record) return decodeEntry(id, record);
    return id === ROOT_ID ? unlistedRoot() : undefined;
  }

  child(folderId: number, name: Uint8Array | string): Entry | undefined {
    const id = this.childId(folderId, name);
    return id === undefined ? undefined : this.entry(id);
  }

  childId(folderId: number, name: Uint8Array | string): number | undefined {
    const value = this.#names.get(nameKey(folderId, name));
    return value && u32At(value, 0);
  }

  /** What lies in a folder, in the order of ids, from the first id after `afterId` on. */
  *children(folderId: number, afterId: number): Iterable<Entry> {
    for (const { key } of this.#children.range(childrenAfter(folderId, afterId))) {
      const id = u32At(key, 4);
      const record = this.#entries.get(entryKey(id));
      if (record) yield decodeEntry(id, record);
    }
  }

  /**
   * The same as they are kept, for `soleSource` and `decodeEntry`: each is good until the next call
   * on the index.
   */
  *childRecords(
    folderId: number,
    afterId: number,
  ): Iterable<{ id: number; record: Uint8Array }> {
    for (const { key } of this.#children.range(childrenAfter(folderId, afterId))) {
      const id = u32At(key, 4);
      const record = this.#entries.get(entryKey(id));
      if (record) yield { id, record };
    }
  }

  hasChildren(folderId: number): boolean {
    for (const _ of this.#children.range(childrenAfter(folderId, 0))) return true;
    return false;
  }

  /** The entry as it was in the version that the node id names; it may be gone by now. */
  node(nodeId: number): Entry | undefined {
    const entry = this.entry(entryIdOf(nodeId));
    if (entry?.sequence === sequenceOf(nodeId)) return entry;
    const record = this.#superseded.get(versionKey(nodeId));
    return record && decodeSuperseded(nodeId, record).entry;
  }

  /** The file version that the node id names; undefined if it names none. */
  version(nodeId: number): FileVersion | undefined {
    const entry = this.entry(entryIdOf(nodeId));
    if (entry?.sequence === sequenceOf(nodeId)) {
      return this.versionOf(nodeId, entry, this.pathOf(entry.id));
    }
    const record = this.#superseded.get(versionKey(nodeId));
    if (record === undefined) return undefined;
    const old = decodeSuperseded(nodeId, record);
    return this.versionOf(nodeId, old.entry, old.path);
  }

  /** Ids of versions that a file had before this one, the latest first, as far as they are kept. */
  *predecessors(nodeId: number): Iterable<number> {
    const start = versionKey(nodeIdOf(entryIdOf(nodeId), 0)).slice();
    const end = versionKey(nodeId).slice();
    for (const { key } of this.#superseded.range({ start, end, reverse: true })) {
      yield Number(new DataView(key.buffer, key.byteOffset).getBigUint64(0));
    }
  }

  /** An entry of a file as readers know it; undefined for what is not a file. */
  versionOf(nodeId: number, entry: Entry, path: string): FileVersion | undefined {
    if (entry.kind !== "file") return undefined;
    const [first, ...others] = readableSources(entry).map((source): VersionSource => ({
      origin: this.identityOf(source.origin),
      path,
      version: source.version,
    }));
    if (first === undefined) return undefined;
    return { id: nodeId, size: entry.size, mtimeNs: entry.mtimeNs, sources: [first, ...others] };
  }

  /** The path below the root, "" for the root itself. Throws `not_found` if there is no entry. */
  pathOf(entryId: number): string {
    let path = "";
    let id = entryId;
    for (let depth = 0; id !== ROOT_ID; depth += 1) {
      const record = this.#entries.get(entryKey(id));
      if (record === undefined || depth > DEPTH_MAX) {
        throw new MusicfsError("not_found", `Cannot find entry ${entryId}: it is gone`, {
          op: "namespace.path",
          subject: String(entryId),
        });
      }
      const { parent, name } = decodeName(id, record);
      path = path === "" ? name : `${name}/${path}`;
      id = parent;
    }
    return path;
  }

  /** What lies at a path below the root, with or without slashes at its ends. */
  find(path: string): Entry | undefined {
    let id: number | undefined = ROOT_ID;
    for (const name of path.split("/")) {
      if (name === "") continue;
      id = this.childId(id, name);
      if (id === undefined) return undefined;
    }
    return this.entry(id);
  }

  /** O(1): the counters are kept with every change. */
  totals(): Totals {
    const { files, folders, bytes } = readCounters(this.index);
    return { files, folders, bytes };
  }

  /** What the origin of that number is known by; "" if there is none. */
  identityOf(origin: number): string {
    const known = this.#identities.get(origin);
    if (known !== undefined) return known;
    const record = this.index.table("origins").get(originKey(origin));
    if (record === undefined) return "";
    const identity = new TextDecoder().decode(record);
    this.#identities.set(origin, identity);
    return identity;
  }
}

function unlistedRoot(): Entry {
  return {
    ...merged([], 0n),
    id: ROOT_ID,
    parent: ROOT_ID,
    name: "",
    sequence: 0,
    listed: false,
    sources: [],
  };
}
