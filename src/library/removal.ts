import { failpoint } from "../base/failpoint.ts";
import type { Log } from "../base/log.ts";
import type { Index } from "../store/index.ts";
import { COMMIT_CHANGES_MAX, type Committer } from "./committer.ts";
import { judgeDeletions } from "./deletion_guard.ts";
import type { Entry } from "./entry.ts";
import { goneKey, goneOf, u32At } from "./keys.ts";
import { readOriginState } from "./library_meta.ts";
import type { Namespace } from "./namespace.ts";
import type { NamespaceEdit } from "./namespace_edit.ts";
import { nextTurn } from "./next_turn.ts";
import { ROOT_ID } from "./node_id.ts";
import { dropSource, entriesBelow, sourceFrom } from "./source_edit.ts";

/** What removing needs of the library. */
export interface RemovalParts {
  index: Index;
  namespace: Namespace;
  committer: Committer;
  rankOf: (origin: number) => number;
  log: Log;
}

/** As `Missed.first`: only a published index had the name, nobody has listed it at the origin. */
export const NEVER_LISTED = 0;

/** A name that scans missed: in the table `gone`, as two big-endian u32. */
export interface Missed {
  id: number;
  /** The scan that missed it first, or `NEVER_LISTED`; and the last one that did. */
  first: number;
  last: number;
}

/**
 * Takes an origin's names out of the library, from the leaves up, in pieces: after a crash less is
 * there than was, but nothing is there without its folder.
 */
export class Removal {
  readonly #parts: RemovalParts;
  /** How many files of an origin were last said to be gone, and held. */
  readonly #toldOf = new Map<number, number>();

  constructor(parts: RemovalParts) {
    this.#parts = parts;
  }

  /** Files that the origin is a source of. */
  countAll(origin: number): number {
    return readOriginState(this.#parts.index, origin).files;
  }

  /** Notes what a scan's listing missed; it stays visible until the scan has come to its end. */
  miss(
    edit: NamespaceEdit,
    { origin, ids, scan }: { origin: number; ids: readonly number[]; scan: number },
  ): void {
    const table = this.#parts.index.table("gone");
    for (const id of ids) {
      if (!edit.namespace.entry(id)) continue;
      const key = goneKey(origin, id).slice();
      const first = this.#isOnlyPublished(id, origin) ? NEVER_LISTED : scan;
      const before = table.get(key);
      table.put(key, missedRecord(before ? u32At(before, 0) : first, scan));
    }
  }

  /** Notes of names that the origin itself has listed them, when `last` missed them. */
  missListed(origin: number, missed: readonly Missed[]): void {
    const table = this.#parts.index.table("gone");
    for (const { id, last } of missed) table.put(goneKey(origin, id), missedRecord(last, last));
  }

  /** What scans have missed at an origin. */
  missed(origin: number): Missed[] {
    const missed: Missed[] = [];
    for (const { key, value } of this.#parts.index.table("gone").range(goneOf(origin))) {
      missed.push({ id: u32At(key, 2), first: u32At(value, 0), last: u32At(value, 4) });
    }
    return missed;
  }

  /** Forgets what was missed. Only inside a transaction. */
  forget(origin: number, missed: readonly Missed[]): void {
    const table = this.#parts.index.table("gone");
    for (const { id } of missed) table.remove(goneKey(origin, id));
  }

  /** Files below entries, themselves included, that the origin is a source of. */
  async countFiles(
    ids: readonly number[],
    { origin, signal }: { origin: number; signal?: AbortSignal },
  ): Promise<number> {
    let files = 0;
    let visited = 0;
    for (const entry of this.#allBelow(ids, origin)) {
      if (sourceFrom(entry, origin)?.kind === "file") files += 1;
      visited += 1;
      if (visited % COMMIT_CHANGES_MAX !== 0) continue;
      await nextTurn();
      signal?.throwIfAborted();
    }
    return files;
  }

  /** Of entries, those that the origin itself has never listed, nor any folder below them. */
  async neverListed(
    ids: readonly number[],
    { origin, signal }: { origin: number; signal?: AbortSignal },
  ): Promise<number[]> {
    const never: number[] = [];
    let visited = 0;
    for (const id of ids) {
      let isListed = false;
      for (const entry of this.#allBelow([id], origin)) {
        const source = sourceFrom(entry, origin);
        isListed ||= source?.kind === "folder" && source.listed && !source.isPublished;
        visited += 1;
        if (isListed) break;
        if (visited % COMMIT_CHANGES_MAX !== 0) continue;
        await nextTurn();
        signal?.throwIfAborted();
      }
      if (!isListed) never.push(id);
    }
    return never;
  }

  /**
   * Removes what listings outside of a scan missed, unless that is most of the library; what only
   * an index had was no part of it.
   *
   * `known` is how many files the origin had before these listings. `seen` is how many names
   * somebody saw go. Where that is all of them they are believed as far as something is left of the
   * origin: a disk that is unmounted does not say so name by name.
   *
   * @returns whether they are held, because they are not believed
   */
  async removeGuarded(
    ids: readonly number[],
    options: { origin: number; known: number; seen?: number; signal?: AbortSignal },
  ): Promise<boolean> {
    const { committer, index, log } = this.#parts;
    const { origin, known, seen = 0 } = options;
    if (seen >= ids.length && this.hasOthers(origin, ids)) {
      await this.remove(ids, options);
      return false;
    }
    const published = ids.filter((id) => this.#isOnlyPublished(id, origin));
    const never = new Set(await this.neverListed(published, options));
    const listed = ids.filter((id) => !never.has(id));
    const gone = await this.countFiles(listed, options);
    const { heldOf = Infinity } = readOriginState(index, origin);
    const of = Math.min(known - await this.countFiles([...never], options), heldOf);
    const left = of > gone || this.hasOthers(origin, ids);
    if (left) await this.remove([...never], options);
    const missing = { gone, confirmed: 0, of, anythingLeft: left, accepted: false };
    if (judgeDeletions(missing) === "hold") {
      // What is held is missed by each listing again.
      const level = this.#toldOf.get(origin) === gone ? "debug" : "warning";
      this.#toldOf.set(origin, gone);
      log[level]("Most of an origin seems to be gone; a scan will tell", {
        origin: this.#parts.namespace.identityOf(origin),
        gone,
        of,
      });
      await committer.commit((edit) => {
        edit.origin(origin).heldOf = of;
      }, { weight: 1, urgent: true });
      return true;
    }
    await this.remove(listed, options);
    return false;
  }

  /** Whether the folder that an entry is in was listed by nobody but a published index. */
  #isOnlyPublished(id: number, origin: number): boolean {
    const { namespace } = this.#parts;
    const entry = namespace.entry(id);
    const folder = entry && namespace.entry(entry.parent);
    return folder !== undefined && sourceFrom(folder, origin)?.isPublished === true;
  }

  /**
   * Takes the origin from entries and all below them; a scan's counts go on with it.
   *
   * Throws the signal's reason; what was removed by then stays so.
   */
  async remove(
    ids: readonly number[],
    options: { origin: number; isCounted?: boolean; signal?: AbortSignal },
  ): Promise<void> {
    await this.#drop(this.#allBelow(ids, options.origin), options);
  }

  /** Takes the origin from everything below a folder; the folder is then unlisted for it. */
  async empty(id: number, origin: number): Promise<void> {
    await this.#drop(this.#allBelow([id], origin, { itself: false }), { origin });
    await this.#parts.committer.commit((edit) => {
      const entry = edit.namespace.entry(id);
      const source = entry && sourceFrom(entry, origin);
      if (!entry || !source?.listed) return;
      source.listed = false;
      edit.setSources(entry, entry.sources);
    }, { weight: 1, urgent: true });
  }

  *#allBelow(
    ids: readonly number[],
    origin: number,
    { itself = true }: { itself?: boolean } = {},
  ): Iterable<Entry> {
    for (const id of ids) {
      for (const entry of entriesBelow(this.#parts.namespace, id, origin)) {
        if (itself || entry.id !== id) yield entry;
      }
    }
  }

  /** Takes the origin from entries, children before their folders, in pieces. */
  async #drop(
    entries: Iterable<Entry>,
    { origin, isCounted, signal }: { origin: number; isCounted?: boolean; signal?: AbortSignal },
  ): Promise<void> {
    const { committer, rankOf } = this.#parts;
    let ids: number[] = [];
    const commit = async (): Promise<void> => {
      const piece = ids;
      ids = [];
      await committer.commit((edit) => {
        const { files } = edit.origin(origin);
        for (const id of piece) dropSource(edit, { id, origin, rankOf });
        const state = edit.origin(origin);
        if (isCounted) state.counts.gone += files - state.files;
      }, { weight: piece.length, urgent: true });
      failpoint("scan.within_deletions");
    };
    for (const entry of entries) {
      ids.push(entry.id);
      if (ids.length < COMMIT_CHANGES_MAX) continue;
      await commit();
      await nextTurn();
      signal?.throwIfAborted();
    }
    if (ids.length > 0) await commit();
  }

  /** Whether the root has something of the origin beside the entries with these ids. */
  hasOthers(origin: number, ids: readonly number[]): boolean {
    const gone = new Set(ids);
    for (const entry of this.#parts.namespace.children(ROOT_ID, 0)) {
      if (!gone.has(entry.id) && sourceFrom(entry, origin)) return true;
    }
    return false;
  }
}

function missedRecord(first: number, last: number): Uint8Array {
  const record = new DataView(new ArrayBuffer(8));
  record.setUint32(0, first);
  record.setUint32(4, last);
  return new Uint8Array(record.buffer);
}
