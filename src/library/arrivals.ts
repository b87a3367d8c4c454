import type { Index, Table } from "../store/index.ts";
import { markOf } from "./content_mark.ts";
import type { EntrySource } from "./entry.ts";
import { arrivedKey, arrivedOf, arrivedWith, u32At } from "./keys.ts";

/**
 * How a file came to an origin:
 *
 * - `told`: a new name, and listeners were told of it
 * - `scan`, `round`: a new name, of which they are told when that scan or round ends
 * - `shared`: other origins had the name before
 */
export type ArrivalKind = "told" | "scan" | "round" | "shared";

const KINDS = ["told", "scan", "round", "shared"] as const satisfies readonly ArrivalKind[];

const VALUE_BYTES = 5;

/** A file that is new at an origin. */
export interface Arrival {
  id: number;
  kind: ArrivalKind;
  /** The scan under way when it came, or the last one before. */
  scan: number;
}

/**
 * The files that came to an origin lately, by their content marks, in the table `arrived`: what
 * has vanished under another name may be one of them. Changes only inside a transaction.
 *
 * `NamespaceEdit` keeps it in line with the entries. An origin that was never scanned has no rows:
 * all of it is new.
 */
export class Arrivals {
  readonly #table: Table;

  constructor(index: Index) {
    this.#table = index.table("arrived");
  }

  /** O(1). */
  get isEmpty(): boolean {
    return this.#table.count() === 0;
  }

  put(source: EntrySource, { id, kind, scan }: Arrival): void {
    const value = new Uint8Array(VALUE_BYTES);
    value[0] = KINDS.indexOf(kind);
    new DataView(value.buffer).setUint32(1, scan);
    this.#table.put(arrivedKey(source.origin, { mark: markOf(source), id }), value);
  }

  get(source: EntrySource, id: number): Arrival | undefined {
    const value = this.#table.get(arrivedKey(source.origin, { mark: markOf(source), id }));
    return value && decodeArrival(id, value);
  }

  /** Removes what `get` gives. */
  take(source: EntrySource, id: number): Arrival | undefined {
    const arrival = this.get(source, id);
    if (arrival) this.#table.remove(arrivedKey(source.origin, { mark: markOf(source), id }));
    return arrival;
  }

  /** The first `max` files that came to the origin and may have this mark. */
  withMark(origin: number, mark: number, max: number): Arrival[] {
    const found: Arrival[] = [];
    for (const { key, value } of this.#table.range(arrivedWith(origin, mark))) {
      found.push(decodeArrival(u32At(key, 6), value));
      if (found.length >= max) break;
    }
    return found;
  }

  /** At most `max` rows of an origin, from `after` on, the place of an earlier row. */
  page(origin: number, { after, max }: { after: Place | undefined; max: number }): ArrivalRow[] {
    const rows: ArrivalRow[] = [];
    for (const { key, value } of this.#table.range(arrivedOf(origin, after))) {
      const [mark, id] = [u32At(key, 2), u32At(key, 6)];
      rows.push({ ...decodeArrival(id, value), mark });
      if (rows.length >= max) break;
    }
    return rows;
  }

  removeAt(origin: number, place: Place): void {
    this.#table.remove(arrivedKey(origin, place));
  }
}

/** Where a row stands among those of its origin. */
export interface Place {
  mark: number;
  id: number;
}

export interface ArrivalRow extends Arrival, Place {}

/** Whether listeners are yet to be told of the file. */
export function isOwed({ kind }: Arrival): boolean {
  return kind === "scan" || kind === "round";
}

function decodeArrival(id: number, value: Uint8Array): Arrival {
  return { id, kind: KINDS[value[0] ?? 0] ?? "told", scan: u32At(value, 1) };
}
