import type { FileVersion } from "../store/file_version.ts";
import type { Index } from "../store/index.ts";
import { type Arrival, Arrivals, isOwed } from "./arrivals.ts";
import type { Entry, EntrySource } from "./entry.ts";
import type { EntryEvent } from "./entry_event.ts";
import { encodeEntry } from "./entry_record.ts";
import { hasOwnTime, isSameContent, isSameSource, merged } from "./federation.ts";
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
import { Probes } from "./probes.ts";
import { encodeSuperseded } from "./superseded.ts";

const ENTRY_ID_MAX = 2 ** 32 - 2;
/** A step that shows with every origin's and every player's resolution: 1 s. */
const BUMP_NS = 1_000_000_000n;

const KIND_BYTES = { file: 0, folder: 1, symlink: 2 } as const;

/** What an edit did with a name. */
export type EditResult = "added" | "changed" | "same" | "removed";

/** One version whose preferred source is another one now, with the very same bytes. */
export interface Takeover {
  before: FileVersion;
  after: FileVersion;
}

/** What an edit works with. */
export interface EditParts {
  index: Index;
  namespace: Namespace;
  /** Wall-clock ms. */
  nowMs: number;
  /** Filled with what the edit did; only good once it is committed. */
  events?: EntryEvent[];
  /** The same of versions that another source took over. */
  takeovers?: Takeover[];
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
  readonly #probes: Probes;
  #anyProbes: boolean;
  readonly #arrivals: Arrivals;
  #anyArrived: boolean;
  /** By the id of what is about to go, the id of what it is now. */
  readonly #movedTo = new Map<number, number>();
  #unproven = false;

  private constructor(parts: EditParts) {
    this.#parts = parts;
    this.#counters = readCounters(parts.index);
    this.#anyGone = parts.index.table("gone").count() > 0;
    this.#probes = new Probes(parts.index);
    this.#anyProbes = !this.#probes.isEmpty;
    this.#arrivals = new Arrivals(parts.index);
    this.#anyArrived = !this.#arrivals.isEmpty;
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

  /** Whether the edit left files whose sources are yet to be compared. */
  get leftUnproven(): boolean {
    return this.#unproven;
  }

  /** What is known of an origin; changes to it are written with the edit. */
  origin(number: number): OriginState {
    const known = this.#states.get(number);
    if (known) return known;
    const state = readOriginState(this.#parts.index, number);
    this.#states.set(number, state);
    return state;
  }

  /**
   * Adds a name that is not there yet. Those who cache names are not told of it if it is `quiet`;
   * listeners are told later if it is `owed`, when its arrival is settled.
   */
  insert(
    folder: number,
    name: string,
    options: { sources: EntrySource[]; quiet: boolean; owed?: boolean },
  ): Entry {
    const id = this.#counters.nextId;
    if (id > ENTRY_ID_MAX) throw new Error("The index has no entry ids left; delete it");
    this.#counters.nextId = id + 1;
    const sources = this.#judged(id, options.sources);
    const shape = merged(sources, this.#nowNs());
    const sequence = shape.kind === "file" ? 1 : 0;
    const entry: Entry = { ...shape, id, parent: folder, name, sequence, sources };
    const idBytes = entryKey(id);
    this.#parts.index.table("names").put(nameKey(folder, name), idBytes);
    const kind = Uint8Array.of(KIND_BYTES[shape.kind]);
    this.#parts.index.table("children").put(childKey(folder, id), kind);
    this.#put(entry);
    this.#count(entry, 1);
    if (!options.quiet) this.#touch(folder, name);
    if (!options.owed) this.#tell("added", entry);
    return entry;
  }

  /**
   * Gives an entry other sources, in their order; without any it goes.
   *
   * A folder that goes, or that becomes something else, must have no children left.
   */
  setSources(old: Entry, given: EntrySource[]): EditResult {
    if (given.length === 0 && old.id !== ROOT_ID) {
      this.#delete(old);
      return "removed";
    }
    this.#forgetProbes(old, given);
    const owed = this.#carryArrivals(old, given);
    const sources = this.#judged(old.id, given);
    const shownNs = old.mtimeNs === 0n ? this.#nowNs() : old.mtimeNs;
    const next: Entry = { ...old, ...merged(sources, shownNs), sources };
    const replaced = next.kind === "file" && old.kind === "file" &&
      !isSameContent(old.sources, sources);
    if (next.kind !== old.kind || (replaced && old.sequence + 1 >= SEQUENCES)) {
      this.#delete(old);
      this.insert(old.parent, old.name, { sources, quiet: false });
      return "changed";
    }
    if (replaced) {
      this.#supersede(old);
      next.sequence = old.sequence + 1;
      this.#touch(old.parent, old.name);
      if (!owed) this.#tell("changed", old);
    } else if (
      next.size !== old.size || next.target !== old.target ||
      (next.mtimeNs !== old.mtimeNs && (old.mtimeNs !== 0n || hasOwnTime(sources)))
    ) {
      this.#touchedIn(old.parent).nodes.add(nodeIdOf(old.id, old.sequence));
    }
    if (!replaced) this.#tellTakeover(old, next);
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
    this.#forgetProbes(old, []);
    const sources = this.#judged(old.id, old.sources);
    this.#put({ ...old, sequence: old.sequence + 1, sources });
    this.#touch(old.parent, old.name);
    this.#tell("changed", old);
  }

  /**
   * Notes the hash of the head and tail of a source's version, and what that proves. Nothing is
   * noted if the entry or the source's version is another by now.
   */
  probed(
    id: number,
    { source, hash }: { source: EntrySource; hash: Uint8Array },
  ): void {
    const entry = this.namespace.entry(id);
    const now = entry?.sources.find((other) => isSameSource(other, source));
    if (entry === undefined || now === undefined) return;
    this.#anyProbes = true;
    this.#probes.put(id, now, hash);
    const { leftUnproven } = this;
    this.setSources(entry, entry.sources);
    // What is still open in this entry is known to whoever probes.
    this.#unproven = leftUnproven;
  }

  /** Looks again at what is proven of the entry, which may not be there any more. */
  rejudge(id: number): void {
    const entry = this.namespace.entry(id);
    if (entry) this.setSources(entry, entry.sources);
    else this.#probes.settle(id);
  }

  /** Notes that a file is new at the origin of `source`. */
  arrived(source: EntrySource, arrival: Arrival): void {
    this.#anyArrived = true;
    this.#arrivals.put(source, arrival);
  }

  /** The note that a file is new, which is removed. */
  takeArrival(source: EntrySource, id: number): Arrival | undefined {
    return this.#anyArrived ? this.#arrivals.take(source, id) : undefined;
  }

  /** Tells of a file that was inserted as `owed`, if it is still there. */
  tellAdded(id: number): void {
    const entry = this.namespace.entry(id);
    if (entry?.kind === "file") this.#tell("added", entry);
  }

  /** When the entry goes, that is told as its move to another one's place. */
  movesTo(id: number, to: number): void {
    this.#movedTo.set(id, to);
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
    this.#forgetProbes(entry, []);
    if (this.#anyProbes) this.#probes.settle(entry.id);
    this.#count(entry, -1);
    this.#touch(entry.parent, entry.name);
    // Who was not told that it came is not told that it went.
    if (!this.#takeArrivals(entry, entry.sources).some(isOwed)) this.#tell("gone", entry);
  }

  /** What is still owed of an entry stays so with its new sources; whether anything is. */
  #carryArrivals(old: Entry, given: readonly EntrySource[]): boolean {
    if (!this.#anyArrived) return false;
    const left = old.sources.filter((source) =>
      !given.some((other) => isSameSource(other, source))
    );
    for (const arrival of this.#takeArrivals(old, left)) {
      const now = given.find(({ origin, kind }) => origin === arrival.origin && kind === "file");
      if (now) this.#arrivals.put(now, arrival);
      else if (isOwed(arrival)) this.#tell("added", old);
    }
    return given.some((source) => {
      const arrival = source.kind === "file" && this.#arrivals.get(source, old.id);
      return arrival && isOwed(arrival);
    });
  }

  #takeArrivals(
    { id }: Entry,
    sources: readonly EntrySource[],
  ): (Arrival & { origin: number })[] {
    if (!this.#anyArrived) return [];
    return sources.flatMap((source) => {
      const arrival = source.kind === "file" && this.#arrivals.take(source, id);
      return arrival ? [{ ...arrival, origin: source.origin }] : [];
    });
  }

  /** Keeps the version as it is for those who have it open. */
  #supersede(entry: Entry): void {
    const record = encodeSuperseded({ path: this.namespace.pathOf(entry.id), entry });
    const key = versionKey(nodeIdOf(entry.id, entry.sequence));
    this.#parts.index.table("superseded").put(key, record);
  }

  #judged(id: number, sources: EntrySource[]): EntrySource[] {
    const isPlain = sources.length < 2 && sources[0]?.isProven === undefined;
    if (isPlain && !this.#anyProbes) return sources;
    const judged = this.#probes.judge(id, sources);
    if (judged.isOpen) this.#anyProbes = this.#unproven = true;
    return judged.sources;
  }

  /** Forgets what is known of the bytes of versions that the entry no longer has. */
  #forgetProbes({ id, sources }: Entry, now: readonly EntrySource[]): void {
    if (!this.#anyProbes) return;
    for (const source of sources) {
      if (source.kind !== "file" || now.some((other) => isSameSource(other, source))) continue;
      this.#probes.forget(id, source.origin);
    }
  }

  #tellTakeover(old: Entry, next: Entry): void {
    const [was, is] = [old.sources[0], next.sources[0]];
    if (old.kind !== "file" || !this.#parts.takeovers || !was || !is) return;
    if (was.origin === is.origin) return;
    const path = this.namespace.pathOf(old.id);
    const id = nodeIdOf(old.id, old.sequence);
    const before = this.namespace.versionOf(id, old, path);
    const after = this.namespace.versionOf(id, next, path);
    if (before && after) this.#parts.takeovers.push({ before, after });
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
    const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
    const to = kind === "gone" ? this.#movedTo.get(entry.id) : undefined;
    if (to === undefined) events.push({ kind, path });
    else events.push({ kind: "moved", path: this.namespace.pathOf(to), from: path });
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
    if (hasOwnTime(entry.sources)) return;
    const nowNs = this.#nowNs();
    const mtimeNs = nowNs > entry.mtimeNs ? nowNs : entry.mtimeNs + BUMP_NS;
    this.#put({ ...entry, mtimeNs });
  }

  #nowNs(): bigint {
    return BigInt(Math.trunc(this.#parts.nowMs)) * 1_000_000n;
  }
}
