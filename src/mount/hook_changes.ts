import type { EntryEvent } from "../library/library.ts";

/** Most that is gathered for one run, in characters of paths; about 30,000 files. */
export const GATHERED_CHARS_MAX = 2 * 1024 * 1024;

/** Most changes that a run is told one by one. */
export const GATHERED_CHANGES_MAX = 10_000;

/** Most folders that a run is told; beyond, those above them. */
export const GATHERED_FOLDERS_MAX = 500;

/** One file of the tree that is not what it was. */
export interface HookChange {
  kind: "added" | "changed" | "moved" | "removed";
  /** In the tree, without a `/` at its ends. */
  path: string;
  /** Where it was; only for what moved. */
  from?: string;
}

/** What one run of a hook is told. */
export interface HookBatch {
  added: number;
  changed: number;
  moved: number;
  removed: number;
  /** Whether there was too much to tell it by the file: then `changes` is empty. */
  truncated: boolean;
  /** Where something changed, sorted; below these, if there were too many. `""` is all of the tree. */
  folders: string[];
  changes: HookChange[];
}

/**
 * What changed since a hook ran last, in bounded memory: of each path what became of it altogether.
 * A file that was added and then changed was added; one that was moved twice was moved once.
 */
export class GatheredChanges {
  readonly #changes = new Map<string, HookChange>();
  readonly #counts = { added: 0, changed: 0, moved: 0, removed: 0 };
  #chars = 0;
  #folders: FolderSet | undefined;

  get isEmpty(): boolean {
    return this.#changes.size === 0 && this.#folders === undefined;
  }

  add(events: Iterable<EntryEvent | HookChange>): void {
    for (const event of events) this.#take(changeOf(event));
  }

  /** Adds what nobody saw: something changed, anywhere. */
  addUnseen(): void {
    this.#truncate();
    this.#folders?.add("");
  }

  /** Adds what was gathered later. */
  addAll(later: GatheredChanges): void {
    if (later.#folders) {
      this.#truncate();
      this.#folders?.addAll(later.#folders);
      for (const kind of KINDS) this.#counts[kind] += later.#counts[kind];
    } else this.add(later.#changes.values());
  }

  batch(): HookBatch {
    if (this.#folders) {
      return { ...this.#counts, truncated: true, folders: this.#folders.sorted(), changes: [] };
    }
    const changes = [...this.#changes.values()];
    const folders = new FolderSet();
    for (const change of changes) addFolders(folders, change);
    const count = (kind: HookChange["kind"]): number =>
      changes.filter((change) => change.kind === kind).length;
    return {
      added: count("added"),
      changed: count("changed"),
      moved: count("moved"),
      removed: count("removed"),
      truncated: false,
      folders: folders.sorted(),
      changes,
    };
  }

  #take(change: HookChange): void {
    if (this.#folders) {
      this.#counts[change.kind] += 1;
      addFolders(this.#folders, change);
      return;
    }
    this.#merge(change);
    const { size } = this.#changes;
    if (size > GATHERED_CHANGES_MAX || this.#chars > GATHERED_CHARS_MAX) this.#truncate();
  }

  #merge({ kind, path, from = path }: HookChange): void {
    const before = this.#forget(path);
    switch (kind) {
      case "removed":
        return this.#set({ kind: "removed", path });
      case "moved":
        return this.#move(from, path);
      default: {
        // What is not as it was when it moved is told as gone there and new here.
        const isNew = before === undefined ? kind === "added" : before.kind !== "changed" &&
          before.kind !== "removed";
        return this.#set({ kind: isNew ? "added" : "changed", path });
      }
    }
  }

  #move(from: string, path: string): void {
    const origin = this.#changes.get(from);
    if (!origin) return this.#set({ kind: "moved", path, from });
    this.#drop(origin);
    // Whether something stood there before is not known any more: gone is what it is.
    this.#set({ kind: "removed", path: from });
    if (origin.from === undefined) this.#set({ kind: "added", path });
    else if (origin.from === path) this.#set({ kind: "changed", path });
    else this.#set({ kind: "moved", path, from: origin.from });
  }

  /** Takes out what is known of a path; where it had come from, it is gone. */
  #forget(path: string): HookChange | undefined {
    const change = this.#changes.get(path);
    if (!change) return undefined;
    this.#drop(change);
    const { from } = change;
    if (from === undefined) return change;
    const there = this.#changes.get(from);
    if (!there) this.#set({ kind: "removed", path: from });
    else if (there.kind === "added") this.#set({ kind: "changed", path: from });
    return change;
  }

  #set(change: HookChange): void {
    const earlier = this.#changes.get(change.path);
    if (earlier) this.#drop(earlier);
    this.#changes.set(change.path, change);
    this.#chars += charsOf(change);
  }

  #drop(change: HookChange): void {
    this.#changes.delete(change.path);
    this.#chars -= charsOf(change);
  }

  #truncate(): void {
    if (this.#folders) return;
    this.#folders = new FolderSet();
    for (const change of this.#changes.values()) {
      this.#counts[change.kind] += 1;
      addFolders(this.#folders, change);
    }
    this.#changes.clear();
    this.#chars = 0;
  }
}

/** Folders, of which those far down make room for those above them. */
class FolderSet {
  #folders = new Set<string>();
  #depthMax = Infinity;

  add(folder: string): void {
    this.#folders.add(cut(folder, this.#depthMax));
    while (this.#folders.size > GATHERED_FOLDERS_MAX) {
      const folders = [...this.#folders];
      this.#depthMax = Math.max(...folders.map(depthOf)) - 1;
      this.#folders = new Set(folders.map((each) => cut(each, this.#depthMax)));
    }
  }

  addAll(others: FolderSet): void {
    for (const folder of others.#folders) this.add(folder);
  }

  sorted(): string[] {
    return [...this.#folders].sort();
  }
}

const KINDS = ["added", "changed", "moved", "removed"] as const;

/** The innermost folder that holds all of these; `""` is the whole tree. */
export function commonFolder(folders: readonly string[]): string {
  const [first = "", ...others] = folders.map((folder) => folder.split("/"));
  if (first === "") return "";
  const length = first.findIndex((name, at) => others.some((other) => other[at] !== name));
  return (length < 0 ? first : first.slice(0, length)).join("/");
}

function changeOf({ kind, path, from }: EntryEvent | HookChange): HookChange {
  if (kind === "gone") return { kind: "removed", path };
  if (kind !== "moved") return { kind, path };
  return from === undefined ? { kind: "changed", path } : { kind, path, from };
}

function addFolders(folders: FolderSet, { path, from }: HookChange): void {
  folders.add(folderOf(path));
  if (from !== undefined) folders.add(folderOf(from));
}

function folderOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

function depthOf(folder: string): number {
  return folder === "" ? 0 : folder.split("/").length;
}

function cut(folder: string, depthMax: number): string {
  return depthOf(folder) <= depthMax ? folder : folder.split("/").slice(0, depthMax).join("/");
}

function charsOf({ path, from = "" }: HookChange): number {
  return path.length + from.length;
}
