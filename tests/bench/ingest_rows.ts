/** Chunk, hash and store, on one core. */

import { join } from "node:path";
import { output } from "../support/process.ts";
import type { Bench } from "./bench.ts";
import { writeRandom } from "./files.ts";
import { median } from "./report.ts";

/** What ingest_child.ts prints. */
export interface IngestResult {
  bytes: number;
  /** Of the whole, and of each part by itself. */
  seconds: number;
  cutSeconds: number;
  hashSeconds: number;
}

const INGEST_MEBIBYTES = 512;

/** The figures of a child process that is bound to one core, all its threads with it. */
export async function addIngestRows(bench: Bench): Promise<void> {
  bench.tell("ingest on one core");
  const file = join(bench.dir, "ingest.flac");
  await writeRandom(file, INGEST_MEBIBYTES);
  const child = new URL("./ingest_child.ts", import.meta.url).pathname;
  const config = new URL("../../deno.json", import.meta.url).pathname;
  const results: IngestResult[] = [];
  for (let round = 0; round < bench.options.rounds; round += 1) {
    const cache = join(bench.dir, `ingest-${round}`);
    const deno = [Deno.execPath(), "run", "-A", "--config", config, child, file, cache];
    results.push(JSON.parse(await output("taskset", ["-c", "0", ...deno])));
    await output("rm", ["-rf", cache]);
  }
  const rate = (secondsOf: (result: IngestResult) => number): number =>
    median(results.map((result) => result.bytes / 1e6 / secondsOf(result)));
  const unit = "MB/s";
  bench.add({
    title: "Ingest on one core: chunk, hash, store",
    unit,
    figures: { musicfs: rate((result) => result.seconds) },
    targets: [{ bound: "at least", value: 400 }],
    note: "random bytes: every chunk is new; the file is read from the page cache",
  });
  bench.add({
    title: "… chunk alone",
    unit,
    figures: { musicfs: rate((result) => result.cutSeconds) },
    targets: [],
  });
  bench.add({
    title: "… chunk and hash",
    unit,
    figures: { musicfs: rate((result) => result.cutSeconds + result.hashSeconds) },
    targets: [],
  });
  await Deno.remove(file);
}
