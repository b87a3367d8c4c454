import type { Index } from "../store/index.ts";
import type { Entry, EntrySource } from "./entry.ts";
import type { EntryEvent } from "./entry_event.ts";
import { encodeEntry } from "./entry_record.ts";
import { isSameContent, merged } from "./federation.ts";
import { type FolderChange, OwedChanges } from "./folder_change.ts";
import { childKey, entryKey, goneKey, nameKey, versionKey } from "./keys.ts";
import {
  type Counters,
  type OriginState,
  readCounters,
  readOriginState,
  writeCounters,
  writeOriginState,
} from "./library_meta.ts";
import type { Namespace } from "./namespace.ts";
import { nodeIdOf, ROOT_ID, SEQUENCES } from "./node_id.ts";
import { encodeSuperseded } from "./superseded.ts";

const ENTRY_ID_MAX = 2 ** 32 - 2;
const KIND_BYTES = { file: 0, folder: 1, symlink: 2 } as const;

/** What an edit did with a name. */
export type EditResult = "added" | "changed" | "same" | "removed";

/** What an edit works with. */
export interface EditParts {
  index: Index;
  namespace: Namespace;
  /** Wall-clock ms. */
  nowMs: number;
  /** Filled with what the edit did; only good once it is committed. */
  events?: EntryEvent[];
}

/** The names and nodes of one folder that an edit touched. */
interface Touched {
  names: Set<string>;
  nodes: Set<number>;
}

/**
 * The changes to names that are committed together.
 *
 * Names, children, entries, superseded versions, counters and what is owed to the kernel go into
 * one transaction: after a crash all of them are there, or none.
 */
export class NamespaceEdit {
  readonly #parts: EditParts;
  readonly #counters: Counters;
  readonly #states = new Map<number, OriginState>();
  readonly #touched = new Map<number, Touched>();
  readonly #anyGone: boolean;

  private constructor(parts: EditParts) {
    this.#parts = parts;
    this.#counters = readCounters(parts.index);
    this.#anyGone = parts.index.table("gone").count() > 0;
  }

  /** Runs `change` in one transaction, and tells what it changed. What it throws undoes all. */
  static run(parts: EditParts, change: (edit: NamespaceEdit) => void): FolderChange[] {
    return parts.index.transaction(() => {
      const edit = new NamespaceEdit(parts);
      change(edit);
      return edit.#finish();
    });
  }

  get namespace(): Namespace {
    return this.#parts.namespace;
  }

  /** What is known of an origin; changes to it are written with the edit. */
  origin(number: number): OriginState {
    const known = this.#states.get(number);
    if (known) return known;
    const state = readOriginState(this.#parts.index, number);
    this.#states.set(number, state);
    return state;
  }

  /** Adds a name that is not there yet. Nobody is told of it if it is `quiet`. */
  insert(
    folder: number,
    name: string,
    { sources, quiet }: { sources: EntrySource[]; quiet: boolean },
  ): Entry {
    const id = this.#counters.nextId;
    if (id > ENTRY_ID_MAX) throw new Error("The index has no entry ids left; delete it");
    this.#counters.nextId = id + 1;
    const shape = merged(sources, this.#nowNs());
    const sequence = shape.kind === "file" ? 1 : 0;
    const entry: Entry = { ...shape, id, parent: folder, name, sequence, sources };
    const idBytes = entryKey(id);
    this.#parts.index.table("names").put(nameKey(folder, name), idBytes);
    const kind = Uint8Array.of(KIND_BYTES[shape.kind]);
    this.#parts.index.table("children").put(childKey(folder, id), kind);
    this.#put(entry);
    this.#count(entry, 1);
    if (!quiet) this.#touch(folder, name);
    this.#tell("added", entry);
    return entry;
  }

  /**
   * Gives an entry other sources, in their order; without any it goes.
   *
   * A folder that goes, or that becomes something else, must have no children left.
   */
  setSources(old: Entry, sources: EntrySource[]): EditResult {
    if (sources.length === 0 && old.id !== ROOT_ID) {
      this.#delete(old);
      return "removed";
    }
    const next: Entry = { ...old, ...merged(sources, old.mtimeNs), sources };
    const [before, after] = [old.sources[0], sources[0]];
    const replaced = next.kind === "file" && old.kind === "file" && before !== undefined &&
      after !== undefined && !isSameContent(before, after);
    if (next.kind !== old.kind || (replaced && old.sequence + 1 >= SEQUENCES)) {
      this.#delete(old);
      this.insert(old.parent, old.name, { sources, quiet: false });
      return "changed";
    }
    if (replaced) {
      this.#supersede(old);
      next.sequence = old.sequence + 1;
      this.#touch(old.parent, old.name);
      this.#tell("changed", old);
    } else if (
      next.size !== old.size || next.mtimeNs !== old.mtimeNs || next.target !== old.target
    ) {
      this.#touchedIn(old.parent).nodes.add(nodeIdOf(old.id, old.sequence));
    }
    this.#count(old, -1);
    this.#count(next, 1);
    this.#put(next);
    return replaced ? "changed" : "same";
  }

  /**
   * Makes the file as it is now another version, although nothing that is known of it differs: its
   * bytes do. The old version is not kept, for its bytes can no longer be had.
   */
  renew(old: Entry): void {
    if (old.kind !== "file") return;
    if (old.sequence + 1 >= SEQUENCES) {
      this.#delete(old);
      this.insert(old.parent, old.name, { sources: old.sources, quiet: false });
      return;
    }
    this.#put({ ...old, sequence: old.sequence + 1 });
    this.#touch(old.parent, old.name);
    this.#tell("changed", old);
  }

  /** Forgets that a scan missed the entry. */
  found(origin: number, id: number): void {
    if (this.#anyGone) this.#parts.index.table("gone").remove(goneKey(origin, id));
  }

  #delete(entry: Entry): void {
    if (entry.kind === "folder" && this.namespace.hasChildren(entry.id)) {
      throw new Error(`Folder ${entry.id} is to go, but there is something in it`);
    }
    if (entry.kind === "file") this.#supersede(entry);
    const { index } = this.#parts;
    index.table("names").remove(nameKey(entry.parent, entry.name));
    index.table("children").remove(childKey(entry.parent, entry.id));
    index.table("entries").remove(entryKey(entry.id));
    for (const source of entry.sources) this.found(source.origin, entry.id);
    this.#count(entry, -1);
    this.#touch(entry.parent, entry.name);
    this.#tell("gone", entry);
  }

  /** Keeps the version as it is for those who have it open. */
  #supersede(entry: Entry): void {
    const record = encodeSuperseded({ path: this.namespace.pathOf(entry.id), entry });
    const key = versionKey(nodeIdOf(entry.id, entry.sequence));
    this.#parts.index.table("superseded").put(key, record);
  }

  #put(entry: Entry): void {
    this.#parts.index.table("entries").put(entryKey(entry.id), encodeEntry(entry));
  }

  #count(entry: Entry, by: 1 | -1): void {
    for (const { origin, kind } of entry.sources) {
      if (kind === "file") this.origin(origin).files += by;
    }
    if (entry.kind === "file") {
      this.#counters.files += by;
      this.#counters.bytes += by * entry.size;
    } else if (entry.kind === "folder" && entry.id !== ROOT_ID) this.#counters.folders += by;
  }

  #tell(kind: EntryEvent["kind"], entry: Entry): void {
    const { events } = this.#parts;
    if (!events || entry.kind === "folder") return;
    const folder = this.namespace.pathOf(entry.parent);
    events.push({ kind, path: folder === "" ? entry.name : `${folder}/${entry.name}` });
  }

  #touch(folder: number, name: string): void {
    const touched = this.#touchedIn(folder);
    touched.names.add(name);
    touched.nodes.add(nodeIdOf(folder, 0));
  }

  #touchedIn(folder: number): Touched {
    const known = this.#touched.get(folder);
    if (known) return known;
    const touched = { names: new Set<string>(), nodes: new Set<number>() };
    this.#touched.set(folder, touched);
    return touched;
  }

  #finish(): FolderChange[] {
    const { index } = this.#parts;
    const owed = new OwedChanges(index);
    const changes: FolderChange[] = [];
    for (const [folder, { names, nodes }] of this.#touched) {
      const change = { folder, names: [...names], nodes: [...nodes] };
      if (names.size > 0) this.#bump(folder);
      owed.add(change);
      changes.push(change);
    }
    writeCounters(index, this.#counters);
    for (const [number, state] of this.#states) writeOriginState(index, number, state);
    return changes;
  }

  /** Players look again into folders whose time moved; not every origin keeps one. */
  #bump(folder: number): void {
    const entry = this.namespace.entry(folder);
    if (entry === undefined || entry.kind !== "folder") return;
    if (entry.sources.some((source) => source.kind === "folder" && source.mtimeNs > 0n)) return;
    this.#put({ ...entry, mtimeNs: this.#nowNs() });
  }

  #nowNs(): bigint {
    return BigInt(Math.trunc(this.#parts.nowMs)) * 1_000_000n;
  }
}
