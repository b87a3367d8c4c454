import type { Index, Table } from "../store/index.ts";
import { everything, owedKey, owedOf, u32At } from "./keys.ts";

/** A record of a folder that is longer gets no more names, but another beside it. */
const RECORD_BYTES_MAX = 64 * 1024;

/** What changed in one folder, for whoever caches names and attributes. */
export interface FolderChange {
  /** Entry id of the folder. */
  folder: number;
  /** Names that were added, changed or removed. */
  names: string[];
  /** Node ids whose data or attributes are no longer current; the folder's own among them. */
  nodes: number[];
}

/**
 * What the kernel has yet to be told, in the table `owed`: committed with the change itself, so
 * that a successor can tell it when this process dies in between.
 */
export class OwedChanges {
  readonly #table: Table;

  constructor(index: Index) {
    this.#table = index.table("owed");
  }

  /** Adds to what is owed for the folder. Only inside a transaction. */
  add(change: FolderChange): void {
    const last = this.#last(change.folder);
    const isOpen = last !== undefined && last.part >= 0 && last.bytes <= RECORD_BYTES_MAX;
    const part = last === undefined ? 0 : isOpen ? last.part : last.part + 1;
    const next = isOpen ? joined(last.change, change) : change;
    this.#table.put(owedKey(change.folder, part), encodeChange(next));
  }

  #last(folder: number): { part: number; bytes: number; change: FolderChange } | undefined {
    for (const { key, value } of this.#table.range({ ...owedOf(folder), reverse: true })) {
      // Records of an earlier musicfs have no part; they stand before those that do.
      const part = key.length < 8 ? -1 : u32At(key, 4);
      return { part, bytes: value.length, change: decodeChange(folder, value) };
    }
    return undefined;
  }

  *all(): Iterable<FolderChange> {
    for (const { key, value } of this.#table.range(everything())) {
      yield decodeChange(u32At(key, 0), value);
    }
  }

  /** Only inside a transaction. */
  remove(folder: number): void {
    const keys = Array.from(this.#table.range(owedOf(folder)), ({ key }) => key.slice());
    for (const key of keys) this.#table.remove(key);
  }

  count(): number {
    return this.#table.count();
  }
}

function joined(a: FolderChange, b: FolderChange): FolderChange {
  return {
    folder: a.folder,
    names: [...new Set([...a.names, ...b.names])],
    nodes: [...new Set([...a.nodes, ...b.nodes])],
  };
}

function encodeChange({ names, nodes }: FolderChange): Uint8Array {
  return new TextEncoder().encode(JSON.stringify([names, nodes]));
}

function decodeChange(folder: number, bytes: Uint8Array): FolderChange {
  const [names, nodes] = JSON.parse(new TextDecoder().decode(bytes));
  return { folder, names, nodes };
}
