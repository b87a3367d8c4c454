/**
 * Reads and writes a whole index, in a child process: if it is damaged inside, this process dies.
 *
 * 0.2 s for 20,000 records, 1 to 2.6 s for a million.
 */
import { openXxh64 } from "../chunking/xxh64.ts";
import { MusicfsError } from "../base/errors.ts";
import type { KeyRange } from "./index.ts";
import { TABLES } from "./index.ts";
import { PROBE_BAD, PROBE_OK, type ProbeResult } from "./index_probe_result.ts";
import { pagesFault } from "./index_pages.ts";
import { type LmdbIndex, openEnvironment } from "./lmdb.ts";
import type { LmdbTable } from "./lmdb_table.ts";

/** Every key there is: none begins with so many 0xff. LMDB allows 1978 bytes in a key. */
const EVERYTHING: KeyRange = { start: new Uint8Array(0), end: new Uint8Array(1024).fill(0xff) };

/** Records written back in the transaction that is then undone, for each table. */
const REWRITTEN_MAX = 500;
const REWRITTEN_BYTES_MAX = 1024 * 1024;

/** What the child does; the caller exits with the code and writes the line. */
export async function runIndexProbe(dir: string): Promise<{ code: number; line: string }> {
  const result = await probeHere(dir);
  return result === "ok"
    ? { code: PROBE_OK, line: "ok" }
    : { code: PROBE_BAD, line: `bad: ${result.bad}` };
}

/** Probes in this process, which damage may end; whatever throws is damage too. */
export async function probeHere(dir: string): Promise<ProbeResult> {
  const fault = pagesFault(`${dir}/data.mdb`);
  if (fault !== undefined) return { bad: fault };
  try {
    const options = { dir, shared: new SharedArrayBuffer(4), hash: await openXxh64() };
    await using index = openEnvironment({ ...options, writable: true });
    return checkAll(index);
  } catch (error) {
    // Not damage: it is left for the opener, which refuses it with a better message.
    if (error instanceof MusicfsError && error.code === "invalid") return "ok";
    return { bad: error instanceof Error ? error.message : String(error) };
  }
}

function checkAll(index: LmdbIndex): ProbeResult {
  for (const name of TABLES) {
    const fault = checkTable(index.table(name));
    if (fault !== undefined) return { bad: `table ${name}: ${fault}` };
  }
  rewriteAndUndo(index);
  return "ok";
}

/** Reads the table in one snapshot; what is wrong with it. Checksums are checked on the way. */
function checkTable(table: LmdbTable): string | undefined {
  const expected = table.count();
  let seen = 0;
  let before: Uint8Array = new Uint8Array(0);
  table.scan((key) => {
    seen += 1;
    if (seen > expected) throw damaged(`it has more than its ${expected} records`);
    if (seen > 1 && compareBytes(before, key) >= 0) throw damaged("its keys are out of order");
    if (!table.has(key)) throw damaged("a record is listed and cannot be looked up");
    before = key;
  });
  return seen < expected ? `it has ${seen} of its ${expected} records` : undefined;
}

function damaged(what: string): MusicfsError {
  return new MusicfsError("corrupt", what, { op: "index.probe", subject: "table" });
}

/** Writes records back as they are, which takes pages from the free list, and undoes it. */
function rewriteAndUndo(index: LmdbIndex): void {
  const undo = new Error("undo");
  try {
    index.transaction(() => {
      for (const name of TABLES) rewriteSome(index.table(name));
      throw undo;
    });
  } catch (error) {
    if (error !== undo) throw error;
  }
}

function rewriteSome(table: LmdbTable): void {
  const every = Math.max(1, Math.ceil(table.count() / REWRITTEN_MAX));
  const records: { key: Uint8Array; value: Uint8Array }[] = [];
  let at = 0;
  let bytes = 0;
  for (const { key, value } of table.range(EVERYTHING)) {
    if (at++ % every !== 0) continue;
    records.push({ key: key.slice(), value: value.slice() });
    bytes += value.length;
    if (bytes > REWRITTEN_BYTES_MAX) break;
  }
  for (const { key, value } of records) table.put(key, value);
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i += 1) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
