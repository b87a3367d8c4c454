/**
 * `deno task mutations`: removes each behaviour that docs/reliability.md names from a copy of the
 * program and sees its test fail; without the change it must pass.
 *
 *   mutations [--row A3,B1] [--layer P,D] [--file tests/…] [--write]
 *
 * With `--write` it runs nothing and writes the tables of docs/reliability.md. Exit code 1 if
 * a behaviour can be removed without its test noticing.
 */

import { parseArgs } from "node:util";
import { LIMIT_S, type Mutation } from "./mutation.ts";
import { MUTATIONS } from "./all.ts";
import { writePage } from "./page.ts";
import { type Outcome, Scratch } from "./scratch.ts";

/** What a change has that does not compile, or names what is not there: no proof of anything. */
const BROKEN = /^\s*(?:ReferenceError|SyntaxError)\b/;

if (import.meta.main) Deno.exit(await main());

async function main(): Promise<number> {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      row: { type: "string" },
      layer: { type: "string" },
      file: { type: "string" },
      write: { type: "boolean", default: false },
    },
  });
  if (values.write) {
    await writePage();
    return 0;
  }
  const rows = values.row?.split(",");
  const layers = values.layer?.split(",");
  const chosen = MUTATIONS.filter(({ row, layer, test, file }) =>
    (rows?.includes(row) ?? true) && (layers?.includes(layer) ?? true) &&
    (values.file === undefined || test.file === values.file || file === values.file)
  );
  if (chosen.length === 0) throw new Error("No such row, layer or file");
  await using scratch = await Scratch.make();
  const sound = new Map<string, Outcome>();
  let unproven = 0;
  for (const mutation of chosen) {
    const verdict = await prove(mutation, { scratch, sound });
    if (!verdict.startsWith("ok")) unproven += 1;
    say(`${mutation.row} ${mutation.layer}  ${mutation.test.name}\n`);
    say(`      ${mutation.removed}\n      ${verdict}\n`);
  }
  say(`${chosen.length - unproven} of ${chosen.length} mutations were noticed by their test\n`);
  return unproven === 0 ? 0 : 1;
}

/** Runs the test without the change, once for all that name it, and with it. */
async function prove(
  mutation: Mutation,
  { scratch, sound }: { scratch: Scratch; sound: Map<string, Outcome> },
): Promise<string> {
  const { test, file, takesProcess = false, limitS = LIMIT_S } = mutation;
  const key = `${test.file} ${test.name}`;
  const before = sound.get(key) ?? await scratch.runTest(test, limitS);
  sound.set(key, before);
  if (before.kind !== "passed") {
    return `NO PROOF: ${before.kind} without the change ${before.reason}`;
  }
  const restore = await scratch.change(file, mutation);
  if (!restore) return `NO PROOF: not once in ${file}: ${mutation.search}`;
  try {
    const { kind, reason, seconds } = await scratch.runTest(test, limitS);
    const said = `${kind} in ${seconds.toFixed(1)} s: ${firstLines(reason)}`;
    if (kind === "failed" && BROKEN.test(reason)) return `NO PROOF: the change is broken: ${said}`;
    return kind === "failed" || (takesProcess && kind === "killed")
      ? `ok, ${said}`
      : `NO PROOF: ${said}`;
  } finally {
    await restore();
  }
}

function firstLines(reason: string): string {
  return reason.split("\n").map((line) => line.trim()).filter(Boolean).slice(0, 4).join(" | ")
    .slice(0, 300);
}

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}
