import type { Index, Table } from "../store/index.ts";
import { entryKey, everything, u32At } from "./keys.ts";

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
    const key = entryKey(change.folder).slice();
    const old = this.#table.get(key);
    const before = old ? decodeChange(change.folder, old) : undefined;
    this.#table.put(key, encodeChange(before ? joined(before, change) : change));
  }

  *all(): Iterable<FolderChange> {
    for (const { key, value } of this.#table.range(everything())) {
      yield decodeChange(u32At(key, 0), value);
    }
  }

  /** Only inside a transaction. */
  remove(folder: number): void {
    this.#table.remove(entryKey(folder));
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
