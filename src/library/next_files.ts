/** Which files lie after another, in the orders that scanners of libraries go in. */

import type { Namespace } from "./namespace.ts";
import { kindOfFile } from "./next_track.ts";
import { entryIdOf, nodeIdOf, ROOT_ID } from "./node_id.ts";

/** Folders that are remembered: a scanner comes back to the parents of what it goes through. */
const FOLDERS_MAX = 8;

/** Names of a folder that are looked at; a few ms of work. */
const NAMES_MAX = 4_000;

/** Folders that are gone through for one answer. */
const STEPS_MAX = 24;

/** Sorted by name, as `os.walk` and a sort give it, or as the mount lists it. */
export type FileOrder = "name" | "listed";

/** A folder's entry ids in one order. */
interface Ordered {
  readonly files: readonly number[];
  readonly folders: readonly number[];
  /** Where a file or folder stands in its list. */
  readonly places: ReadonlyMap<number, number>;
}

interface Named {
  readonly id: number;
  readonly name: string;
  /** As `kindOfFile` has it; undefined for a folder. */
  readonly kind: string | undefined;
}

interface Folder {
  readonly id: number;
  readonly parent: number;
  /** By entry id, in the order of the listing. */
  readonly names: ReadonlyMap<number, Named>;
  readonly orders: Map<FileOrder, Ordered>;
}

/** What is asked of `NextFiles`. */
export interface NextFilesOptions {
  order: FileOrder;
  count: number;
}

/**
 * Finds the files after one: of its folder, of the folders in that, and of the folders after it.
 *
 * Folders are remembered, so that going through one costs O(1) a file.
 */
export class NextFiles {
  /** In order of use. */
  readonly #folders = new Map<number, Folder>();
  readonly #namespace: Namespace;

  constructor(namespace: Namespace) {
    this.#namespace = namespace;
  }

  /**
   * Node ids of up to `count` files after the given one, the nearest first: audio files after an
   * audio file, else files with the same extension.
   *
   * None beyond a folder that has not been listed, or has more than 4,000 names.
   */
  after(nodeId: number, { order, count }: NextFilesOptions): number[] {
    const entry = this.#namespace.entry(entryIdOf(nodeId));
    if (entry?.kind !== "file") return [];
    const kind = kindOfFile(entry.name);
    const found: number[] = [];
    let folder = this.#folder(entry.parent, entry.id);
    let from = folder ? (ordered(folder, order).places.get(entry.id) ?? 0) + 1 : 0;
    for (let steps = 0; folder && steps < STEPS_MAX; steps += 1) {
      const { files } = ordered(folder, order);
      for (let i = from; i < files.length && found.length < count; i += 1) {
        const id = files[i] ?? 0;
        if (folder.names.get(id)?.kind !== kind) continue;
        const next = this.#namespace.entry(id);
        if (next?.kind === "file") found.push(nodeIdOf(id, next.sequence));
      }
      if (found.length >= count) break;
      folder = this.#folderAfter(folder, order);
      from = 0;
    }
    return found;
  }

  /** What a folder holds has changed. */
  forget(folder: number): void {
    this.#folders.delete(folder);
  }

  /** The folder that is gone through after one: the first in it, or the one after it or its parents. */
  #folderAfter(folder: Folder, order: FileOrder): Folder | undefined {
    const [inner] = ordered(folder, order).folders;
    const first = inner === undefined ? undefined : this.#folder(inner);
    if (first) return first;
    let { id, parent } = folder;
    while (id !== ROOT_ID) {
      const above = this.#folder(parent, id);
      if (!above) return undefined;
      const { folders, places } = ordered(above, order);
      const next = folders[(places.get(id) ?? folders.length) + 1];
      if (next !== undefined) return this.#folder(next);
      ({ id, parent } = above);
    }
    return undefined;
  }

  /** A folder that has been listed, and has the child, if one is given. */
  #folder(id: number, child?: number): Folder | undefined {
    const known = this.#folders.get(id);
    this.#folders.delete(id);
    const isGood = known && (child === undefined || known.names.has(child));
    const folder = isGood ? known : this.#load(id);
    if (!folder || (child !== undefined && !folder.names.has(child))) return undefined;
    this.#folders.set(id, folder);
    if (this.#folders.size > FOLDERS_MAX) {
      for (const oldest of this.#folders.keys()) {
        this.#folders.delete(oldest);
        break;
      }
    }
    return folder;
  }

  #load(id: number): Folder | undefined {
    const entry = this.#namespace.entry(id);
    if (entry?.kind !== "folder" || !entry.listed) return undefined;
    const names = new Map<number, Named>();
    for (const { id: child, name, kind } of this.#namespace.children(id, 0)) {
      if (names.size >= NAMES_MAX) return undefined;
      if (kind === "folder") names.set(child, { id: child, name, kind: undefined });
      else if (kind === "file") names.set(child, { id: child, name, kind: kindOfFile(name) });
    }
    return { id, parent: entry.parent, names, orders: new Map() };
  }
}

function ordered(folder: Folder, order: FileOrder): Ordered {
  const known = folder.orders.get(order);
  if (known) return known;
  const names = [...folder.names.values()];
  if (order === "name") names.sort(byName);
  const files = names.filter(({ kind }) => kind !== undefined).map(({ id }) => id);
  const folders = names.filter(({ kind }) => kind === undefined).map(({ id }) => id);
  const places = new Map([...files.entries(), ...folders.entries()].map(([i, id]) => [id, i]));
  const made = { files, folders, places };
  folder.orders.set(order, made);
  return made;
}

/** By code units, which is by bytes for all but the rarest of names. */
function byName(a: Named, b: Named): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}
