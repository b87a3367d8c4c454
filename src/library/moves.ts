import { failpoint } from "../base/failpoint.ts";
import type { Index } from "../store/index.ts";
import { type Arrival, type ArrivalRow, Arrivals, isOwed, type Place } from "./arrivals.ts";
import { COMMIT_CHANGES_MAX, type Committer } from "./committer.ts";
import { haveSameMark, markOf } from "./content_mark.ts";
import type { EntrySource } from "./entry.ts";
import { pairMoved, type Placed } from "./move_pairs.ts";
import type { Namespace } from "./namespace.ts";
import type { NamespaceEdit } from "./namespace_edit.ts";
import { nextTurn } from "./next_turn.ts";
import { dropSource, entriesBelow, sourceFrom } from "./source_edit.ts";

/** Files with one mark that are put into the order of their paths at once. */
const GROUP_FILES_MAX = 4_096;

/** What finding moved files needs of the library. */
export interface MovesParts {
  index: Index;
  namespace: Namespace;
  committer: Committer;
  /** Lower is preferred. */
  rankOf: (origin: number) => number;
}

/** Ids of an entry that is missing, and of the one that has its content now. */
interface IdPair {
  from: number;
  to: number;
}

/** Of which origin, and for whom. */
export interface MovesOptions {
  origin: number;
  /** The number of the scan that counts what moved. */
  scan?: number;
  signal?: AbortSignal;
}

/**
 * Finds what vanished under one name in what came under another, with the same content mark.
 *
 * The old name goes at once: its content is there. That is why this comes before the guard against
 * mass deletion, which then judges what has no other name. Counts, names and notes change in one
 * commit a piece, so that after a crash it can be done again.
 *
 * The new name is another entry, with another id: it was shown before it was known to be the old
 * one, and an entry cannot become another one under who has it open.
 */
export class Moves {
  readonly #parts: MovesParts;
  readonly #arrivals: Arrivals;

  constructor(parts: MovesParts) {
    this.#parts = parts;
    this.#arrivals = new Arrivals(parts.index);
  }

  /**
   * Takes the origin from all files below entries that have come under another name.
   *
   * Holds 8 bytes in memory for each file that is missing. Throws the signal's reason.
   */
  async settle(ids: readonly number[], options: MovesOptions): Promise<void> {
    if (this.#arrivals.page(options.origin, { after: undefined, max: 1 }).length === 0) return;
    const list = await this.#vanished(ids, options);
    let pairs: IdPair[] = [];
    let groups = 0;
    for (let first = 0; first < list.length;) {
      const mark = markIn(list[first]);
      let end = first + 1;
      const endMax = Math.min(list.length, first + GROUP_FILES_MAX);
      while (end < endMax && markIn(list[end]) === mark) end += 1;
      const group = Array.from(list.subarray(first, end), idIn);
      for (const pair of this.#pairs(group, { ...options, mark })) pairs.push(pair);
      // What is left of a mark is paired with what is left after that.
      const isFull = group.length === GROUP_FILES_MAX || pairs.length >= COMMIT_CHANGES_MAX;
      if (isFull || end === list.length) {
        await this.#commit(pairs, options);
        pairs = [];
      }
      first = end;
      groups += 1;
      if (groups % COMMIT_CHANGES_MAX !== 0) continue;
      await nextTurn();
      options.signal?.throwIfAborted();
    }
    failpoint("scan.after_moves");
  }

  /** Marks and ids of the files below entries, sorted. */
  async #vanished(
    ids: readonly number[],
    { origin, signal }: MovesOptions,
  ): Promise<BigUint64Array> {
    const found = new BigList();
    let visited = 0;
    for (const id of ids) {
      for (const entry of entriesBelow(this.#parts.namespace, id, origin)) {
        const source = sourceFrom(entry, origin);
        if (source?.kind === "file") {
          found.push(packed(markOf(source), entry.id));
        }
        visited += 1;
        if (visited % COMMIT_CHANGES_MAX !== 0) continue;
        await nextTurn();
        signal?.throwIfAborted();
      }
    }
    return found.sorted();
  }

  /** Where the files of a group are now, of those that have moved. */
  #pairs(
    group: readonly number[],
    { origin, mark }: { origin: number; mark: number },
  ): IdPair[] {
    const rows = this.#arrivals.withMark(origin, mark, GROUP_FILES_MAX);
    if (rows.length === 0) return [];
    const [from, to] = [group[0], rows[0]?.id];
    const isPlain = group.length === 1 && rows.length === 1 && from !== to;
    if (isPlain && from !== undefined && to !== undefined) return [{ from, to }];
    return this.#inPathOrder(group, { origin, rows });
  }

  /** The same where several files are alike. */
  #inPathOrder(
    group: readonly number[],
    { origin, rows }: { origin: number; rows: readonly Arrival[] },
  ): IdPair[] {
    const gone = new Set(group);
    // Of what came and vanished again, nobody was told that it was there.
    const unseen = new Set(rows.filter(isOwed).map(({ id }) => id));
    const came = rows.map(({ id }) => id).filter((id) => !gone.has(id));
    const from = this.#byVersion(group.filter((id) => !unseen.has(id)), origin);
    const to = this.#byVersion(came, origin);
    return [...from].flatMap(([version, files]) =>
      pairMoved(files, to.get(version) ?? []).map(({ from, to }) => ({ from: from.id, to: to.id }))
    );
  }

  /** Files by what their mark was made from: few have the same mark by chance. */
  #byVersion(ids: readonly number[], origin: number): Map<string, Placed[]> {
    const { namespace } = this.#parts;
    const files = new Map<string, Placed[]>();
    for (const id of ids) {
      const source = sourceOf(namespace, id, origin);
      if (source === undefined) continue;
      const version = `${source.size} ${source.version}`;
      const placed = { id, path: namespace.pathOf(id) };
      const same = files.get(version);
      if (same) same.push(placed);
      else files.set(version, [placed]);
    }
    return files;
  }

  async #commit(pairs: readonly IdPair[], options: MovesOptions): Promise<void> {
    const { committer } = this.#parts;
    for (let at = 0; at < pairs.length; at += COMMIT_CHANGES_MAX) {
      const piece = pairs.slice(at, at + COMMIT_CHANGES_MAX);
      await committer.commit((edit) => {
        for (const pair of piece) this.#move(edit, pair, options);
      }, { weight: piece.length, urgent: true });
      failpoint("scan.within_moves");
      await nextTurn();
      options.signal?.throwIfAborted();
    }
  }

  #move(edit: NamespaceEdit, { from, to }: IdPair, { origin, scan }: MovesOptions): void {
    const { namespace, rankOf } = this.#parts;
    const [was, is] = [sourceOf(namespace, from, origin), sourceOf(namespace, to, origin)];
    if (!was || !is || !haveSameMark(was, is)) return;
    const arrival = edit.takeArrival(is, to);
    if (!arrival) return;
    const { counts } = edit.origin(origin);
    const isAdded = arrival.kind === "scan" && arrival.scan === edit.origin(origin).scan;
    if (isAdded) counts.added -= 1;
    if (scan !== undefined && arrival.kind === "told") counts.gone += 1;
    else if (isAdded || scan !== undefined) counts.moved += 1;
    if (isOwed(arrival)) edit.movesTo(from, to);
    dropSource(edit, { id: from, origin, rankOf });
    // Another origin still has the old name: nothing moved but this origin's file.
    if (isOwed(arrival) && edit.namespace.entry(from)) edit.tellAdded(to);
  }

  /**
   * Tells of the files that came with a scan and did not move here, and forgets what came before
   * it, if it was complete. What came during it stays until the next one has ended: the scan may
   * have looked at the place that it left before it left.
   */
  async endScan(
    origin: number,
    options: { scan: number; isComplete: boolean },
  ): Promise<void> {
    let after: Place | undefined;
    for (;;) {
      const page = this.#arrivals.page(origin, { after, max: COMMIT_CHANGES_MAX });
      if (page.length === 0) return;
      await this.#parts.committer.commit((edit) => {
        for (const row of page) this.#endOne(edit, row, { origin, ...options });
      }, { weight: page.length, urgent: true });
      failpoint("scan.within_telling");
      after = page.at(-1);
      await nextTurn();
    }
  }

  #endOne(
    edit: NamespaceEdit,
    { kind, mark, id, scan: since }: ArrivalRow,
    { origin, scan, isComplete }: { origin: number; scan: number; isComplete: boolean },
  ): void {
    if (kind === "round") return;
    const source = sourceOf(this.#parts.namespace, id, origin);
    if (!source || markOf(source) !== mark || !edit.takeArrival(source, id)) {
      this.#arrivals.removeAt(origin, { mark, id });
      return;
    }
    if (kind === "scan") edit.tellAdded(id);
    if (since >= scan || !isComplete) edit.arrived(source, { id, kind: "told", scan: since });
  }

  /** Tells of the files that came with a round and did not move here. */
  async endRound(origin: number, ids: readonly number[]): Promise<void> {
    for (let at = 0; at < ids.length; at += COMMIT_CHANGES_MAX) {
      const piece = ids.slice(at, at + COMMIT_CHANGES_MAX);
      await this.#parts.committer.commit((edit) => {
        for (const id of piece) {
          const source = sourceOf(this.#parts.namespace, id, origin);
          const arrival = source && this.#arrivals.get(source, id);
          if (!source || arrival?.kind !== "round") continue;
          edit.tellAdded(id);
          edit.arrived(source, { ...arrival, kind: "told" });
        }
      }, { weight: piece.length, urgent: true });
      await nextTurn();
    }
  }
}

/** A file of the origin, as the origin has it. */
function sourceOf(namespace: Namespace, id: number, origin: number): EntrySource | undefined {
  const entry = namespace.entry(id);
  const source = entry && sourceFrom(entry, origin);
  return source?.kind === "file" ? source : undefined;
}

/** Numbers that are collected and then sorted: in 8 bytes each. */
class BigList {
  #numbers = new BigUint64Array(1_024);
  #length = 0;

  push(number: bigint): void {
    if (this.#length === this.#numbers.length) {
      const grown = new BigUint64Array(2 * this.#length);
      grown.set(this.#numbers);
      this.#numbers = grown;
    }
    this.#numbers[this.#length] = number;
    this.#length += 1;
  }

  sorted(): BigUint64Array {
    return this.#numbers.subarray(0, this.#length).sort();
  }
}

function packed(mark: number, id: number): bigint {
  return BigInt(mark) << 32n | BigInt(id);
}

function markIn(number: bigint | undefined): number {
  return Number((number ?? 0n) >> 32n);
}

function idIn(number: bigint): number {
  return Number(number & 0xffffffffn);
}
