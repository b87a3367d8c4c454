/**
 * Scans a synthetic tree into a real index, in a process whose memory a test measures:
 * `great_scan_child.ts INDEX FOLDERS FILES [LATENCY_MS [walk]]`. Prints a line of JSON.
 *
 * With `walk`, every folder is opened one after the other while the scan runs, as `find` does.
 */

import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { Library } from "../../src/library/library.ts";
import { ROOT_ID } from "../../src/library/node_id.ts";
import { openChildIndex } from "./child_index.ts";
import { SyntheticOrigin } from "./synthetic_origin.ts";

const [dir = "", folders = "0", files = "0", latencyMs = "0", walk = ""] = Deno.args;
const tree = {
  folders: Number(folders),
  files: Number(files),
  latencyMs: Number(latencyMs),
  listsTree: walk !== "walk",
};
await using index = await openChildIndex(dir);
let commitMs = 0;
const { transaction } = index;
index.transaction = <T>(change: () => T): T => {
  const start = performance.now();
  try {
    return transaction.call(index, change) as T;
  } finally {
    commitMs += performance.now() - start;
  }
};
const origin = new SyntheticOrigin("bucket", tree);
await using library = new Library({
  index,
  origins: [origin],
  exclude: [],
  clock: systemClock,
  log: silentLog,
  onChange: () => {},
});
const { signal } = new AbortController();
/** Resident memory that is not a view of the index's file, which the kernel takes back at will. */
function ownBytes(): number {
  const status = Deno.readTextFileSync("/proc/self/status");
  return Number(/RssAnon:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
}

const peak = { rss: 0, own: 0, heap: 0, stallMs: 0 };
let before = performance.now();
const timer = setInterval(() => {
  const now = performance.now();
  peak.stallMs = Math.max(peak.stallMs, now - before - 20);
  before = now;
  const { rss, heapUsed } = Deno.memoryUsage();
  peak.rss = Math.max(peak.rss, rss);
  peak.heap = Math.max(peak.heap, heapUsed);
  peak.own = Math.max(peak.own, ownBytes());
}, 20);
const startRss = Deno.memoryUsage().rss;
const start = performance.now();
const scan = library.scan({ signal });
let walkSeconds = 0;
if (walk === "walk") {
  let seen = 0;
  const visit = async (folder: number): Promise<void> => {
    if (!library.namespace.entry(folder)?.listed) await library.ensureListed(folder, { signal });
    const below: number[] = [];
    for (const { id, kind } of library.namespace.children(folder, 0)) {
      seen += 1;
      if (kind === "folder") below.push(id);
    }
    for (const id of below) await visit(id);
  };
  await visit(ROOT_ID);
  walkSeconds = (performance.now() - start) / 1000;
  if (seen !== tree.folders * (tree.files + 1)) throw new Error(`The walk saw ${seen} names`);
}
const report = await scan;
const seconds = (performance.now() - start) / 1000;
let again = 0;
if (walk === "again") {
  const start = performance.now();
  await library.scan({ signal });
  again = (performance.now() - start) / 1000;
}
clearInterval(timer);
const MiB = 2 ** 20;
const line = JSON.stringify({
  files: report.files,
  folders: report.folders,
  totals: library.namespace.totals(),
  seconds,
  walkSeconds,
  again,
  commits: index.generation(),
  commitMs,
  lists: origin.lists,
  pages: origin.pages,
  runningMax: origin.runningMax,
  startRssMiB: startRss / MiB,
  peakRssMiB: peak.rss / MiB,
  peakOwnMiB: peak.own / MiB,
  peakHeapMiB: peak.heap / MiB,
  stallMs: peak.stallMs,
  indexMiB: index.diskBytes() / MiB,
  rootMtimeNs: String(library.namespace.entry(ROOT_ID)?.mtimeNs),
});
Deno.stdout.writeSync(new TextEncoder().encode(line + "\n"));
