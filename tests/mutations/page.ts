/** The tables of docs/reliability.md, made from the list of mutations. */

import { ABSENT, MUTATIONS } from "./all.ts";
import { FAILURE_MODES, type RowId } from "./failure_modes.ts";

const PAGE = new URL("../../docs/reliability.md", import.meta.url);

const BEGIN = "<!-- begin: made by `deno task mutations --write` -->";
const END = "<!-- end -->";

const PARTS: Readonly<Record<string, string>> = {
  A: "The process and the mount",
  B: "What lies on disk",
  C: "The cache's disk",
  D: "Origins and the network",
  E: "Change, load and people",
};

/** One table for each letter; a line for each mutation, and for each layer that has none. */
export function tables(): string {
  const ids = Object.keys(FAILURE_MODES).filter(isRow);
  return Object.entries(PARTS).map(([letter, title]) => {
    const lines = ids.filter((id) => id.startsWith(letter)).flatMap(linesOf);
    return [`### ${letter}: ${title}`, "", ...aligned([HEAD, ...lines]), ""].join("\n");
  }).join("\n");
}

const HEAD = ["", "what goes wrong", "layer", "what musicfs does", "test", "removed"];

function linesOf(row: RowId): string[][] {
  const proven = MUTATIONS.filter((mutation) => mutation.row === row).map((mutation) => [
    mutation.layer,
    mutation.behaviour,
    `\`${mutation.test.file.replace(/^tests\//, "")}\`: ${mutation.test.name}`,
    `${mutation.removed} (\`${mutation.file}\`)`,
  ]);
  const absent = ABSENT.filter((gap) => gap.row === row)
    .map(({ layer, reason }) => [layer, `_not proven_: ${reason}`, "", ""]);
  return [...proven, ...absent].map((cells, at) => [
    ...(at === 0 ? [`**${row}**`, FAILURE_MODES[row].goesWrong] : ["", ""]),
    ...cells,
  ]);
}

/** A Markdown table as `deno fmt` aligns it. */
function aligned(lines: readonly string[][]): string[] {
  const cells = lines.map((line) => line.map((cell) => cell.replaceAll("|", "\\|")));
  const widths = HEAD.map((_, at) => Math.max(3, ...cells.map((line) => line[at]?.length ?? 0)));
  const shown = cells.map((line) =>
    `| ${line.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(" | ")} |`
  );
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  return [shown[0] ?? "", rule, ...shown.slice(1)];
}

/** What stands between the markers. */
export async function writtenTables(): Promise<string> {
  return around(await Deno.readTextFile(PAGE))[1];
}

/** Puts the tables between the markers of the page. */
export async function writePage(): Promise<void> {
  const [before, , after] = around(await Deno.readTextFile(PAGE));
  await Deno.writeTextFile(PAGE, `${before}${BEGIN}\n\n${tables()}\n${END}${after}`);
}

function around(page: string): [before: string, tables: string, after: string] {
  const [before = "", rest = ""] = page.split(BEGIN);
  const [made, after] = rest.split(END);
  if (made === undefined || after === undefined) throw new Error(`No markers in ${PAGE.pathname}`);
  return [before, made.trim() + "\n", after];
}

function isRow(id: string): id is RowId {
  return id in FAILURE_MODES;
}
