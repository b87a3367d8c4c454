/** How published folders become names of the tree: what is taken of them, and what is not. */

import type { OriginEntry } from "../origins/origin.ts";
import { COMMIT_CHANGES_MAX } from "./committer.ts";
import { isSoundName, nameOf } from "./delta_detector.ts";
import type { Entry, EntrySource } from "./entry.ts";
import { inOrder } from "./federation.ts";
import { sourceOf } from "./folder_commit.ts";
import type { FolderSync } from "./folder_sync.ts";
import type { NamespaceEdit } from "./namespace_edit.ts";
import { ROOT_ID } from "./node_id.ts";
import type { PublishedFolder, PublishedNames } from "./published_names.ts";
import { sourceFrom } from "./source_edit.ts";

/** Longest path of a folder, in UTF-16 units: as long as a path may be on Linux. */
const PATH_LENGTH_MAX = 4096;

/** A folder, or a part of a great one. */
export interface PublishedPiece {
  path: string;
  mtimeNs: bigint;
  entries: readonly OriginEntry[];
  isFirst: boolean;
  isLast: boolean;
}

/** What one transaction did; only good once it is committed. */
export interface PublishedEdit {
  /** Entry ids of folders by path. */
  ids: Map<string, number>;
  /** Folders that were come to, and whether they have become listed. */
  passed: number[];
  files: number;
  folders: number;
  /** The great folder that goes on with the next piece. */
  open: OpenFolder | undefined;
}

interface OpenFolder {
  path: string;
  /** Whether nobody can have seen its names. */
  quiet: boolean;
  /** Whether it is left to the origin itself. */
  left: boolean;
}

/** What it needs of the library. */
export interface PublishedFoldersParts {
  origin: number;
  rankOf: (origin: number) => number;
  hidden: ReadonlySet<string>;
  sync: Pick<FolderSync, "isUnderWay">;
}

/**
 * Puts published folders into the tree, in the order in which they come.
 *
 * What the origin itself has listed, or is listing, is left as it is, and so is a folder with a
 * name that is something else at another origin: readers and the scan list it.
 */
export class PublishedFolders {
  readonly #parts: PublishedFoldersParts;
  /** Of folders that are there and yet to come, by path. */
  readonly #ids = new Map<string, number>([["", ROOT_ID]]);
  #open: OpenFolder | undefined;
  files = 0;
  folders = 0;
  /** Names that were refused, and folders that were not where they were said to be. */
  refused = 0;

  constructor(parts: PublishedFoldersParts) {
    this.#parts = parts;
  }

  /** The folders in pieces that fit into a transaction, without what no origin may say. */
  *pieces(names: PublishedNames): Iterable<PublishedPiece> {
    for (const folder of names.folders()) {
      if (folder.path.length > PATH_LENGTH_MAX) {
        this.refused += 1;
        continue;
      }
      const entries = this.#sound(folder);
      const { path, mtimeNs } = folder;
      let start = 0;
      do {
        const end = start + COMMIT_CHANGES_MAX;
        yield {
          path,
          mtimeNs,
          entries: entries.slice(start, end),
          isFirst: start === 0,
          isLast: end >= entries.length,
        };
        start = end;
      } while (start < entries.length);
    }
  }

  /** Only inside a transaction, which may be undone: `committed` takes the result over. */
  apply(edit: NamespaceEdit, pieces: readonly PublishedPiece[]): PublishedEdit {
    const done: PublishedEdit = {
      ids: new Map(),
      passed: [],
      files: 0,
      folders: 0,
      open: this.#open && { ...this.#open },
    };
    for (const piece of pieces) this.#applyPiece(edit, piece, done);
    return done;
  }

  committed({ ids, files, folders, open }: PublishedEdit): void {
    for (const [path, id] of ids) {
      if (id === 0) this.#ids.delete(path);
      else this.#ids.set(path, id);
    }
    this.files += files;
    this.folders += folders;
    this.#open = open;
  }

  #applyPiece(edit: NamespaceEdit, piece: PublishedPiece, done: PublishedEdit): void {
    const { origin, sync } = this.#parts;
    const { path, isFirst, isLast } = piece;
    const id = done.ids.get(path) ?? this.#ids.get(path);
    const entry = id === undefined || id === 0 ? undefined : edit.namespace.entry(id);
    const source = entry && sourceFrom(entry, origin);
    if (entry?.kind !== "folder" || source?.kind !== "folder") return;
    if (isFirst) done.open = { path, quiet: isUnseen(edit, entry), left: false };
    const open = done.open;
    if (open?.path !== path) return;
    open.left ||= source.listed || sync.isUnderWay(entry.id, origin);
    if (open.left) this.#passBy(edit, { entry, piece, done });
    else this.#take(edit, { entry, piece, done, open });
    if (!isLast) return;
    done.ids.set(path, 0);
    done.passed.push(entry.id);
    if (open.left) return;
    source.listed = true;
    source.isPublished = true;
    source.mtimeNs = piece.mtimeNs;
    edit.setSources(entry, entry.sources);
  }

  #take(
    edit: NamespaceEdit,
    { entry, piece, done, open }: {
      entry: Entry;
      piece: PublishedPiece;
      done: PublishedEdit;
      open: OpenFolder;
    },
  ): void {
    const { origin } = this.#parts;
    for (const published of piece.entries) {
      const name = nameOf(published.path);
      const source = sourceOf(origin, published, undefined);
      const old = open.quiet ? undefined : edit.namespace.child(entry.id, name);
      const id = old
        ? this.#merge(edit, old, source)
        : edit.insert(entry.id, name, { sources: [source], quiet: open.quiet }).id;
      if (id === undefined) {
        open.left = true;
        continue;
      }
      if (published.kind === "file") done.files += 1;
      if (published.kind !== "folder") continue;
      done.folders += 1;
      done.ids.set(published.path, id);
    }
  }

  /** Adds the origin to a name that is there; undefined if that is another kind of thing. */
  #merge(edit: NamespaceEdit, old: Entry, source: EntrySource): number | undefined {
    const known = sourceFrom(old, source.origin);
    if (old.kind !== source.kind || (known && known.kind !== source.kind)) return undefined;
    if (!known) edit.setSources(old, inOrder([...old.sources, source], this.#parts.rankOf));
    return old.id;
  }

  /** Finds the folders of a folder that the origin has listed itself. */
  #passBy(
    edit: NamespaceEdit,
    { entry, piece, done }: { entry: Entry; piece: PublishedPiece; done: PublishedEdit },
  ): void {
    for (const { kind, path } of piece.entries) {
      const id = kind === "folder" && edit.namespace.childId(entry.id, nameOf(path));
      if (id) done.ids.set(path, id);
    }
  }

  /** What of a folder could be names: each once, directly in it, none that is hostile. */
  #sound({ path, entries }: PublishedFolder): OriginEntry[] {
    const prefix = path === "" ? "" : `${path}/`;
    const seen = new Set<string>();
    const sound: OriginEntry[] = [];
    for (const entry of entries) {
      const name = entry.path.slice(prefix.length);
      if (this.#parts.hidden.has(name)) continue;
      const isSound = entry.path.startsWith(prefix) && isSoundName(name, entry) &&
        !seen.has(name) && staysBelowRoot(path, entry.target);
      if (!isSound) {
        this.refused += 1;
        continue;
      }
      seen.add(name);
      sound.push(entry);
    }
    return sound;
  }
}

/**
 * Whether a link in a folder leads to what is below the root: `..` only at its start, for behind
 * another link it may lead anywhere. An origin looks where its links lead; nobody does here.
 */
function staysBelowRoot(folder: string, target: string): boolean {
  if (target === "") return true;
  const parts = target.split("/");
  const names = parts.findIndex((part) => part !== "..");
  const ups = names < 0 ? parts.length : names;
  const depth = folder === "" ? 0 : folder.split("/").length;
  return ups <= depth && !parts.includes("..", ups);
}

/** Whether nobody can have seen the folder's names yet, so that nobody need be told of them. */
function isUnseen(edit: NamespaceEdit, { id, sources }: Entry): boolean {
  return !sources.some(({ listed }) => listed) && !edit.namespace.hasChildren(id);
}
