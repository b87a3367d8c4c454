/**
 * Scans a folder with a real index, in a process that a test kills: `scan_child.ts INDEX FOLDER`.
 * Prints the report as JSON.
 */

import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { Library } from "../../src/library/library.ts";
import { LocalOrigin } from "../../src/origins/local.ts";
import { openChildIndex, printReport } from "./child_index.ts";

const [dir = "", folder = ""] = Deno.args;
await using index = await openChildIndex(dir);
await using origin = await LocalOrigin.open("local", folder, { log: silentLog });
await using library = new Library({
  index,
  origins: [origin],
  exclude: [],
  clock: systemClock,
  log: silentLog,
  onChange: () => {},
});
const report = await library.scan({ signal: new AbortController().signal });
const paths: string[] = [];
const walk = (folder: number, prefix: string): void => {
  for (const entry of library.namespace.children(folder, 0)) {
    paths.push(prefix + entry.name);
    walk(entry.id, `${prefix}${entry.name}/`);
  }
};
walk(1, "");
const { added, changed, moved, gone, files, folders } = report;
const totals = library.namespace.totals();
const records = index.table("entries").count();
const [first] = report.origins;
printReport({
  counts: { added, changed, moved, gone, files, folders },
  resumed: first?.resumed,
  paths: paths.sort(),
  totals,
  records,
});
