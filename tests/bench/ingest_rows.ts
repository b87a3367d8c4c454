/** Chunk, hash and store, on one core. */

import { join } from "node:path";
import { output } from "../support/process.ts";
import type { Bench } from "./bench.ts";
import { tempDirIn, writeRandom } from "./files.ts";
import { median } from "./report.ts";

/** What ingest_child.ts prints. */
export interface IngestResult {
  bytes: number;
  /** Of the whole. */
  seconds: number;
  /** Of a core, by all threads: less than `seconds` where other programs had the core too. */
  cpuSeconds: number;
  cutSeconds: number;
  hashSeconds: number;
}

const INGEST_MEBIBYTES = 512;

/** A folder in memory: there the core is the limit, and not the disk. */
const MEMORY_DIR = "/dev/shm";

/**
 * The figures of a child process that is bound to one core, all its threads with it: once with the
 * cache in memory, once on the disk, and there beside the same files written plainly.
 *
 * Nothing is deleted between rounds: on a disk mounted with `discard` that slows the next one down.
 */
export async function addIngestRows(bench: Bench): Promise<void> {
  const file = join(bench.dir, "ingest.flac");
  await writeRandom(file, INGEST_MEBIBYTES);
  await addOneCoreRows(bench, file);
  bench.tell("ingest on the disk");
  await output("sync", [bench.dir]);
  const own: IngestResult[] = [];
  const plain: IngestResult[] = [];
  for (let round = 0; round < bench.options.rounds; round += 1) {
    plain.push(await ingested(file, join(bench.dir, `plain-${round}`), "plain"));
    own.push(await ingested(file, join(bench.dir, `ingest-${round}`), "chunks"));
  }
  bench.add({
    title: "… with the cache on this disk",
    unit: "MB/s",
    figures: { musicfs: rateOf(own), disk: rateOf(plain) },
    targets: [],
    note: "disk: files of the mean chunk's size written and renamed by the same core, without " +
      "cutting, hashing or an index",
  });
}

async function addOneCoreRows(bench: Bench, file: string): Promise<void> {
  bench.tell("ingest on one core");
  const results: IngestResult[] = [];
  for (let round = 0; round < bench.options.rounds; round += 1) {
    await using memory = await tempDirIn(MEMORY_DIR);
    results.push(await ingested(file, join(memory.path, "cache"), "chunks"));
  }
  const rows = [
    ["Ingest on one core: chunk, hash, store", rateOf(results)],
    ["… chunk alone", rateOf(results, (result) => result.cutSeconds)],
    ["… chunk and hash", rateOf(results, (result) => result.cutSeconds + result.hashSeconds)],
  ] as const;
  const perCpuSecond = rateOf(results, (result) => result.cpuSeconds).toFixed(0);
  const note = `random bytes, every chunk new; file in the page cache, cache in ${MEMORY_DIR}; ` +
    `${perCpuSecond} MB a CPU second`;
  for (const [i, [title, figure]] of rows.entries()) {
    bench.add({
      title,
      unit: "MB/s",
      figures: { musicfs: figure },
      targets: i === 0 ? [{ bound: "at least", value: 400 }] : [],
      ...(i === 0 ? { note } : {}),
    });
  }
}

async function ingested(
  file: string,
  cacheDir: string,
  mode: "chunks" | "plain",
): Promise<IngestResult> {
  const child = new URL("./ingest_child.ts", import.meta.url).pathname;
  const config = new URL("../../deno.json", import.meta.url).pathname;
  const deno = [Deno.execPath(), "run", "-A", "--config", config, child, mode, file, cacheDir];
  return JSON.parse(await output("taskset", ["-c", "0", ...deno]));
}

/** MB/s of the median round. */
function rateOf(
  results: readonly IngestResult[],
  secondsOf: (result: IngestResult) => number = (result) => result.seconds,
): number {
  return median(results.map((result) => result.bytes / 1e6 / secondsOf(result)));
}
