import type { Log } from "../base/log.ts";
import type { Index } from "../store/index.ts";
import { COMMIT_CHANGES_MAX, type Committer } from "./committer.ts";
import { judgeDeletions } from "./deletion_guard.ts";
import type { Entry } from "./entry.ts";
import { inOrder, merged } from "./federation.ts";
import { goneKey, goneOf, u32At } from "./keys.ts";
import { readOriginState } from "./library_meta.ts";
import type { Namespace } from "./namespace.ts";
import type { NamespaceEdit } from "./namespace_edit.ts";
import { nextTurn } from "./next_turn.ts";
import { ROOT_ID } from "./node_id.ts";

/** What removing needs of the library. */
export interface RemovalParts {
  index: Index;
  namespace: Namespace;
  committer: Committer;
  rankOf: (origin: number) => number;
  log: Log;
}

/** A name that scans missed: in the table `gone`, as two big-endian u32. */
export interface Missed {
  id: number;
  /** The scan that missed it first, and the last one that did. */
  first: number;
  last: number;
}

/**
 * Takes an origin's names out of the library, from the leaves up, in pieces: after a crash less is
 * there than was, but nothing is there without its folder.
 */
export class Removal {
  readonly #parts: RemovalParts;

  constructor(parts: RemovalParts) {
    this.#parts = parts;
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
      const before = table.get(key);
      const value = new DataView(new ArrayBuffer(8));
      value.setUint32(0, before ? u32At(before, 0) : scan);
      value.setUint32(4, scan);
      table.put(key, new Uint8Array(value.buffer));
    }
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

  /** Files below an entry, itself included, that the origin is a source of. */
  async countFiles(id: number, origin: number): Promise<number> {
    let files = 0;
    let visited = 0;
    for (const entry of entriesBelow(this.#parts.namespace, id, origin)) {
      if (sourceFrom(entry, origin)?.kind === "file") files += 1;
      visited += 1;
      if (visited % COMMIT_CHANGES_MAX === 0) await nextTurn();
    }
    return files;
  }

  /** Removes what one listing outside of a scan missed, unless that is most of the library. */
  async removeGuarded(origin: number, ids: readonly number[]): Promise<void> {
    const { index, log } = this.#parts;
    let gone = 0;
    for (const id of ids) gone += await this.countFiles(id, origin);
    const { files: of } = readOriginState(index, origin);
    const left = of > gone || this.hasOthers(origin, ids);
    const missing = { gone, confirmed: 0, of, anythingLeft: left, accepted: false };
    if (judgeDeletions(missing) === "hold") {
      log.warning("Most of an origin seems to be gone; a scan will tell", { origin, gone, of });
      return;
    }
    for (const id of ids) await this.remove(id, origin);
  }

  /** Takes the origin from an entry and all below it. Returns how many of its files that were. */
  async remove(id: number, origin: number): Promise<number> {
    const { namespace, rankOf } = this.#parts;
    const files = await this.empty(id, origin);
    const entry = namespace.entry(id);
    if (!entry) return files;
    const rest = inOrder(entry.sources.filter((other) => other.origin !== origin), rankOf);
    if (rest.length > 0 && merged(rest, 0n).kind !== entry.kind) {
      for (const other of rest) await this.empty(id, other.origin);
    }
    await this.#drop([id], origin);
    return files + (sourceFrom(entry, origin)?.kind === "file" ? 1 : 0);
  }

  /** Takes the origin from everything below a folder; the folder is then unlisted for it. */
  async empty(id: number, origin: number): Promise<number> {
    let files = 0;
    let waiting: number[] = [];
    for (const entry of entriesBelow(this.#parts.namespace, id, origin)) {
      if (entry.id === id) continue;
      if (sourceFrom(entry, origin)?.kind === "file") files += 1;
      waiting.push(entry.id);
      if (waiting.length < COMMIT_CHANGES_MAX) continue;
      await this.#drop(waiting, origin);
      waiting = [];
      await nextTurn();
    }
    if (waiting.length > 0) await this.#drop(waiting, origin);
    await this.#parts.committer.commit((edit) => {
      const entry = edit.namespace.entry(id);
      const source = entry && sourceFrom(entry, origin);
      if (!entry || !source?.listed) return;
      source.listed = false;
      edit.setSources(entry, entry.sources);
    }, { weight: 1, urgent: true });
    return files;
  }

  async #drop(ids: readonly number[], origin: number): Promise<void> {
    await this.#parts.committer.commit((edit) => {
      for (const id of ids) {
        const entry = edit.namespace.entry(id);
        if (!entry) continue;
        const rest = entry.sources.filter((source) => source.origin !== origin);
        if (rest.length === entry.sources.length) continue;
        if (rest.length === 0 && edit.namespace.hasChildren(id)) continue;
        edit.found(origin, id);
        edit.setSources(entry, inOrder(rest, this.#parts.rankOf));
      }
    }, { weight: ids.length, urgent: true });
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

/**
 * The entry and all below it that have the origin as a source, children before their folders.
 *
 * Goes by ids and reads one child at a time, so that the tree may change while it is walked.
 */
export function* entriesBelow(namespace: Namespace, id: number, origin: number): Iterable<Entry> {
  const open: { id: number; after: number }[] = [{ id, after: 0 }];
  for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
    const child = firstChild(namespace, top);
    if (child) {
      top.after = child.id;
      if (!sourceFrom(child, origin)) continue;
      if (child.kind === "folder") open.push({ id: child.id, after: 0 });
      else yield child;
      continue;
    }
    open.pop();
    const entry = namespace.entry(top.id);
    if (entry && sourceFrom(entry, origin)) yield entry;
  }
}

function firstChild(namespace: Namespace, at: { id: number; after: number }): Entry | undefined {
  for (const child of namespace.children(at.id, at.after)) return child;
  return undefined;
}

function sourceFrom(entry: Entry, origin: number): Entry["sources"][number] | undefined {
  return entry.sources.find((source) => source.origin === origin);
}
