/** Watches a folder and the nine in it, and says how that went; for a test of the kernel's limit. */

import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { FolderWatch } from "../../src/origins/folder_watch.ts";

const [root = ""] = Deno.args;
const lines: string[] = [];
await using watch = new FolderWatch({
  name: "nas",
  root,
  hidden: new Set(),
  isLocal: () => Promise.resolve(true),
  clock: systemClock,
  log: { ...silentLog, warning: (line) => lines.push(line) },
});
for (const folder of ["", "1", "2", "3", "4", "5", "6", "7", "8", "9"]) await watch.add(folder);
lines.push(`${watch.state} ${watch.folders} folders`);
await Deno.stdout.write(new TextEncoder().encode(`${lines.join("\n")}\n`));
