/**
 * What was found out about the bytes of sources that may be the same, in two tables:
 *
 * - `probes`: of one source of an entry, the hash of its head and tail. The version that was
 *   probed stands beside it, so that nothing is proven of another one. u8 1 if the version is
 *   `sizeTimeVersion`, else 0 · f64 size · i64 mtime_ns, or u16 bytes · version · hash
 * - `unproven`: the entries that have yet to be probed
 */

import { sizeTimeVersion } from "../origins/size_time_version.ts";
import type { Index, Table } from "../store/index.ts";
import type { EntrySource } from "./entry.ts";
import { judge, type Judged } from "./federation.ts";
import { entriesAfter, entryKey, probeKey, u32At } from "./keys.ts";

const DERIVED_HASH_AT = 17;
const TEXT_AT = 11;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The proofs that the library keeps. Changes only inside a transaction. */
export class Probes {
  readonly #probes: Table;
  readonly #unproven: Table;

  constructor(index: Index) {
    this.#probes = index.table("probes");
    this.#unproven = index.table("unproven");
  }

  /** Whether no probe is kept, and none is owed. O(1). */
  get isEmpty(): boolean {
    return this.#probes.count() === 0 && this.#unproven.count() === 0;
  }

  /** Entries that are yet to be compared. O(1). */
  get owed(): number {
    return this.#unproven.count();
  }

  /** The entries that are yet to be compared, in order, from the first after `after` on. */
  *unproven(after: number): Iterable<number> {
    for (const { key } of this.#unproven.range(entriesAfter(after))) yield u32At(key, 0);
  }

  /** The hash of the source's head and tail, if this very version was probed. */
  of(entry: number, source: EntrySource): Uint8Array | undefined {
    const record = this.#probes.get(probeKey(entry, source.origin));
    return record && hashOf(record, source);
  }

  /** Marks what is proven, and notes whether something is left to be compared. */
  judge(entry: number, sources: readonly EntrySource[]): Judged {
    const judged = judge(sources, (source) => this.of(entry, source));
    if (judged.isOpen) this.#unproven.put(entryKey(entry), Uint8Array.of(1));
    else this.settle(entry);
    return judged;
  }

  put(entry: number, source: EntrySource, hash: Uint8Array): void {
    this.#probes.put(probeKey(entry, source.origin), encodeProbe(source, hash));
  }

  forget(entry: number, origin: number): void {
    this.#probes.remove(probeKey(entry, origin));
  }

  /** Nothing is left to be compared in the entry. */
  settle(entry: number): void {
    this.#unproven.remove(entryKey(entry));
  }
}

function encodeProbe(
  { size, mtimeNs, version }: EntrySource,
  hash: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const derived = version === sizeTimeVersion(size, mtimeNs);
  const text = derived ? new Uint8Array() : encoder.encode(version);
  const start = derived ? DERIVED_HASH_AT : TEXT_AT + text.length;
  const record = new Uint8Array(start + hash.length);
  const view = new DataView(record.buffer);
  record[0] = derived ? 1 : 0;
  view.setFloat64(1, size);
  if (derived) view.setBigInt64(9, mtimeNs);
  else {
    view.setUint16(9, text.length);
    record.set(text, TEXT_AT);
  }
  record.set(hash, start);
  return record;
}

function hashOf(
  record: Uint8Array,
  { size, mtimeNs, version }: EntrySource,
): Uint8Array | undefined {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  if (view.getFloat64(1) !== size) return undefined;
  if (record[0] === 1) {
    const isDerived = version === sizeTimeVersion(size, mtimeNs);
    if (!isDerived || view.getBigInt64(9) !== mtimeNs) return undefined;
    return record.slice(DERIVED_HASH_AT);
  }
  const end = TEXT_AT + view.getUint16(9);
  if (decoder.decode(record.subarray(TEXT_AT, end)) !== version) return undefined;
  return record.slice(end);
}
