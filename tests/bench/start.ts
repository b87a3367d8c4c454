/**
 * How long the executable takes to start: `deno run -A tests/bench/start.ts [EXECUTABLE]`.
 *
 * It is copied into a folder without sources and started there, in turn with a program that does
 * nothing, so that a loaded machine shows. Processor time does not depend on the load.
 */

import { join } from "node:path";
import { median } from "./report.ts";
import { shell } from "../support/process.ts";
import { tempDir } from "../support/temp_dir.ts";

const RUNS = 20;

/** What is started; `%` is an empty folder. */
const COMMANDS = [["version"], ["check-mount", "%"]] as const;

/** `times` of bash: user and system time of what it started, "0m0.081s 0m0.020s". */
const TIMES = /(\d+)m([\d.]+)s (\d+)m([\d.]+)s/g;

if (import.meta.main) await main();

async function main(): Promise<void> {
  const source = Deno.args[0] ?? "dist/musicfs";
  await using dir = await tempDir("start");
  const program = join(dir.path, "musicfs");
  await Deno.copyFile(source, program);
  const { size } = await Deno.stat(program);
  say(`${source}: ${(size / 2 ** 20).toFixed(1)} MiB\n`);
  const empty = join(dir.path, "empty");
  await Deno.mkdir(empty);
  const found = new Map<string, { wall: number[]; processor: number[] }>();
  for (let run = 0; run <= RUNS; run += 1) {
    const programs = COMMANDS.map((words) => [program, ...words].join(" ").replace("%", empty));
    for (const line of [...programs, "/bin/true"]) {
      const times = await timed(line, dir.path);
      // The first one of each brings its file into the page cache.
      if (run === 0) found.set(line, { wall: [], processor: [] });
      else {for (const kind of ["wall", "processor"] as const) {
          found.get(line)?.[kind].push(times[kind]);
        }}
    }
  }
  for (const [line, { wall, processor }] of found) {
    const shown = line.replace(`${dir.path}/`, "").replace(dir.path, "");
    const least = Math.min(...wall).toFixed(0);
    say(`${shown}: median of ${RUNS}: ${median(wall).toFixed(0)} ms, least ${least} ms; `);
    say(`processor ${median(processor).toFixed(0)} ms\n`);
  }
}

/** Runs a line in an environment of its own; in ms. */
async function timed(line: string, home: string): Promise<{ wall: number; processor: number }> {
  const env = `env -i PATH=/usr/bin:/bin HOME=${home}`;
  const began = performance.now();
  const text = await shell(`cd /; ${env} ${line} >/dev/null 2>&1; times`);
  const wall = performance.now() - began;
  const [, children] = Array.from(
    text.matchAll(TIMES),
    ([, minutes, seconds, more, rest]) =>
      1000 * (60 * (Number(minutes) + Number(more)) + Number(seconds) + Number(rest)),
  );
  return { wall, processor: children ?? 0 };
}

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}
