/**
 * What the supervising parent costs: `deno run -A tests/bench/parent.ts`, with `MUSICFS_BIN` for the
 * executable. Starts mounts with and without it in turn, so that a loaded machine shows.
 */

import { join } from "node:path";
import { median } from "./report.ts";
import { startDaemon } from "../support/daemon.ts";
import { writeNoise } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";

const RUNS = 15;

/** Clock ticks of /proc/pid/stat, in ms. */
const TICK_MS = 10;

if (import.meta.main) await main();

async function main(): Promise<void> {
  await using dir = await tempDir("parent");
  const origin = join(dir.path, "origin");
  await writeNoise(join(origin, "a.flac"), { bytes: 100_000, seed: 1 });
  const found = { with: [] as number[], without: [] as number[] };
  const cost = { processor: [] as number[], rss: [] as number[], anonymous: [] as number[] };
  for (let run = 0; run <= RUNS; run += 1) {
    for (const supervise of [false, true]) {
      const began = performance.now();
      await using daemon = await startDaemon({ dir: dir.path, origins: [origin], supervise });
      const ms = performance.now() - began;
      // The first ones bring the program into the page cache.
      if (run > 0) found[supervise ? "with" : "without"].push(ms);
      if (!supervise || run === 0) continue;
      const { processorMs, rssKiB, anonymousKiB } = await costOf(daemon.childPid);
      cost.processor.push(processorMs);
      cost.rss.push(rssKiB / 1024);
      cost.anonymous.push(anonymousKiB / 1024);
    }
  }
  for (const [name, values] of Object.entries(found)) {
    say(`until READY=1 ${name} a parent: median ${median(values).toFixed(0)} ms, `);
    say(`least ${Math.min(...values).toFixed(0)} ms\n`);
  }
  say(`the parent: processor ${median(cost.processor).toFixed(0)} ms, `);
  say(
    `RSS ${median(cost.rss).toFixed(1)} MiB, anonymous ${median(cost.anonymous).toFixed(1)} MiB\n`,
  );
}

async function costOf(
  pid: number,
): Promise<{ processorMs: number; rssKiB: number; anonymousKiB: number }> {
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const number = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1]);
  return {
    processorMs: (Number(fields[11]) + Number(fields[12])) * TICK_MS,
    rssKiB: number("VmRSS"),
    anonymousKiB: number("RssAnon"),
  };
}

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}
