/**
 * A process that opens indexes, because the damaged ones among them could end it.
 *
 * - `open DIR…`: opens each as the daemon does, one after the other; prints a line of JSON each
 * - `write DIR`: commits records without end, and prints the number of each commit after it
 * - `__probe-index DIR`: the probe
 */
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import type { Index } from "../../src/store/index.ts";
import { runIndexProbe } from "../../src/store/index_probe.ts";
import { childProbe, PROBE_COMMAND } from "../../src/store/probe_child.ts";
import { openIndex } from "../../src/store/safe_open.ts";

/** This program as a command line. */
export const OPENER = [
  Deno.execPath(),
  "run",
  "--allow-all",
  "--no-check",
  "--config",
  new URL("../../deno.json", import.meta.url).pathname,
  new URL(import.meta.url).pathname,
] as const;

/** What `open` found out about one index. */
export interface Opened {
  dir: string;
  created: boolean;
  setAside: boolean;
  probeLater: boolean;
  /** Records that are as `writeSample` made them, and those that are not. */
  right: number;
  wrong: number;
  /** Whether a record could be written. */
  writable: boolean;
}

const TABLES = ["names", "entries", "manifests"] as const;

/** Bytes of the sample's records: most small, some on pages of their own. */
function sampleBytes(number: number): number {
  return number % 97 === 0 ? 1_000 + number * 7 : 20 + number % 60;
}

function sampleKey(number: number): Uint8Array<ArrayBuffer> {
  const key = new Uint8Array(8);
  new DataView(key.buffer).setUint32(0, Math.imul(number, 2_654_435_761) >>> 0);
  new DataView(key.buffer).setUint32(4, number);
  return key;
}

function sampleValue(number: number): Uint8Array<ArrayBuffer> {
  const value = new Uint8Array(sampleBytes(number));
  for (let i = 0; i < value.length; i += 1) value[i] = number + i;
  return value;
}

/** Puts `count` records into each of some tables, in commits of 500, and rewrites some of them. */
export function writeSample(index: Index, count: number): void {
  for (let first = 0; first < count; first += 500) {
    index.transaction(() => {
      for (let number = first; number < Math.min(first + 500, count); number += 1) {
        for (const table of TABLES) index.table(table).put(sampleKey(number), sampleValue(number));
      }
    });
  }
  for (let number = 0; number < count; number += 10) {
    if (number % 100 === 0) rewrite(index, number);
  }
}

function rewrite(index: Index, number: number): void {
  index.transaction(() => {
    for (const table of TABLES) index.table(table).put(sampleKey(number), sampleValue(number));
  });
}

/** How many records of the sample are there, and right; every other one there is counted wrong. */
export function checkSample(index: Index): { right: number; wrong: number } {
  let right = 0;
  let wrong = 0;
  const everything = { start: new Uint8Array(0), end: new Uint8Array(9).fill(0xff) };
  for (const name of TABLES) {
    const table = index.table(name);
    for (const { key, value } of table.range(everything)) {
      const number = new DataView(key.buffer, key.byteOffset).getUint32(4);
      const same = isSame(key, sampleKey(number)) && isSame(value, sampleValue(number)) &&
        isSame(table.get(key) ?? new Uint8Array(0), value);
      if (same) right += 1;
      else wrong += 1;
    }
  }
  return { right, wrong };
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

async function openOne(dir: string): Promise<Opened> {
  const probe = childProbe(OPENER, systemClock);
  const newEpoch = "e".repeat(32);
  const opened = await openIndex({ dir, clock: systemClock, log: silentLog, probe, newEpoch });
  await using index = opened.index;
  const found = checkSample(index);
  index.transaction(() => index.table("items").put(new Uint8Array([1]), new Uint8Array(5_000)));
  const writable = index.table("items").get(new Uint8Array([1]))?.length === 5_000;
  const { created, probeLater } = opened;
  return { dir, created, setAside: opened.setAside !== undefined, probeLater, ...found, writable };
}

/**
 * Each commit writes its number twice, with 20 records of its own; the one 30 before is removed, so
 * that pages are freed and taken again all the time.
 */
async function writeOn(dir: string): Promise<never> {
  const probe = childProbe(OPENER, systemClock);
  const newEpoch = "e".repeat(32);
  const { index } = await openIndex({ dir, clock: systemClock, log: silentLog, probe, newEpoch });
  const commits = index.table("entries");
  const blobs = index.table("manifests");
  for (let number = lastCommit(index) + 1;; number += 1) {
    index.transaction(() => {
      commits.put(new Uint8Array([0]), numbered(number));
      for (let i = 0; i < 20; i += 1) {
        blobs.put(blobKey(number, i), sampleValue(number % 1000 * 97));
        blobs.remove(blobKey(number - 30, i));
      }
      commits.put(new Uint8Array([1]), numbered(number));
    });
    print(String(number));
  }
}

/** The number of the last commit that is in the index; throws if that commit is not whole. */
export function lastCommit(index: Index): number {
  const read = (byte: number): number => {
    const value = index.table("entries").get(new Uint8Array([byte]));
    return value === undefined ? 0 : new DataView(value.buffer, value.byteOffset).getUint32(0);
  };
  const number = read(0);
  if (read(1) !== number) throw new Error(`Commit ${number} is there in part`);
  for (let past = Math.max(1, number - 31); past <= number; past += 1) {
    for (let i = 0; i < 20; i += 1) {
      const there = index.table("manifests").get(blobKey(past, i)) !== undefined;
      if (there !== past > number - 30) throw new Error(`Commit ${past} is there in part`);
    }
  }
  return number;
}

function numbered(number: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
}

function blobKey(number: number, i: number): Uint8Array<ArrayBuffer> {
  const key = new Uint8Array(5);
  new DataView(key.buffer).setUint32(0, Math.max(0, number));
  key[4] = i;
  return key;
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(line + "\n"));
}

if (import.meta.main) {
  const [command, ...dirs] = Deno.args;
  if (command === PROBE_COMMAND) {
    const { code, line } = await runIndexProbe(dirs[0] ?? "");
    print(line);
    Deno.exit(code);
  }
  if (command === "write") await writeOn(dirs[0] ?? "");
  for (const dir of dirs) print(JSON.stringify(await openOne(dir)));
}
