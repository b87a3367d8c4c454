/** What the library keeps in the table `meta`: its counters, its origins' order, their scans. */

import type { Index, Table } from "../store/index.ts";
import { FIRST_ENTRY_ID } from "./node_id.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const COUNTERS_KEY = encoder.encode("library.counters");
const ORDER_KEY = encoder.encode("library.order");

/** What the tree holds; the root is not counted. */
export interface Totals {
  files: number;
  folders: number;
  /** Sum of the files' sizes. */
  bytes: number;
}

/** The totals, and the next entry id to be given out. */
export interface Counters extends Totals {
  nextId: number;
}

/** What a scan has counted so far; committed with what it has found. */
export interface ScanCounts {
  /** Files that are new in the tree. */
  added: number;
  /** Files that have a new version. */
  changed: number;
  /** Files that have another name, with the same content mark; neither added nor gone. */
  moved: number;
  /** Files that were removed. */
  gone: number;
  /** Files and folders that the scan has seen, each once. */
  files: number;
  folders: number;
}

/** What is known of an origin as a whole. */
export interface OriginState {
  /** Files of which this origin is a source. */
  files: number;
  /** Number of the last scan that was begun, from 1. */
  scan: number;
  /** Whether that scan has not come to its end. */
  running: boolean;
  /** Wall-clock ms of its last commit; a scan that stood still for long is not resumed. */
  lastCommitMs: number;
  /** Files the origin had when the scan began. */
  filesBefore: number;
  /**
   * Whether its names are being taken from what was published of it, or were, or could not be;
   * absent if that was never tried.
   */
  adoption?: "begun" | "over";
  counts: ScanCounts;
  /** Whether a scan of it has come to its end once: only then can a file that is new have moved. */
  wasScanned?: boolean;
  /**
   * Files it had when deletions were held for the first time, until nothing is held any more: what
   * comes in the place of what vanished meanwhile does not make that fewer.
   */
  heldOf?: number;
}

/** Nothing counted yet. */
export function noCounts(): ScanCounts {
  return { added: 0, changed: 0, moved: 0, gone: 0, files: 0, folders: 0 };
}

export function readCounters(index: Index): Counters {
  const found = readJson<Counters>(index.table("meta"), COUNTERS_KEY);
  return found ?? { files: 0, folders: 0, bytes: 0, nextId: FIRST_ENTRY_ID };
}

export function writeCounters(index: Index, counters: Counters): void {
  writeJson(index.table("meta"), COUNTERS_KEY, counters);
}

/** Numbers of the origins that the tree was last made from, the preferred one first. */
export function readOrder(index: Index): number[] {
  return readJson<number[]>(index.table("meta"), ORDER_KEY) ?? [];
}

export function writeOrder(index: Index, order: readonly number[]): void {
  writeJson(index.table("meta"), ORDER_KEY, order);
}

export function readOriginState(index: Index, origin: number): OriginState {
  const found = readJson<OriginState>(index.table("meta"), stateKey(origin));
  // A scan of an earlier musicfs did not count all of it.
  if (found) return { ...found, counts: { ...noCounts(), ...found.counts } };
  return {
    files: 0,
    scan: 0,
    running: false,
    lastCommitMs: 0,
    filesBefore: 0,
    counts: noCounts(),
  };
}

export function writeOriginState(index: Index, origin: number, state: OriginState): void {
  writeJson(index.table("meta"), stateKey(origin), state);
}

function stateKey(origin: number): Uint8Array {
  return encoder.encode(`library.origin.${origin}`);
}

/** The index vouches for its records with checksums, so what was written is what is read. */
function readJson<T>(table: Table, key: Uint8Array): T | undefined {
  const bytes = table.get(key);
  return bytes && JSON.parse(decoder.decode(bytes));
}

function writeJson(table: Table, key: Uint8Array, value: unknown): void {
  table.put(key, encoder.encode(JSON.stringify(value)));
}
