/**
 * Adopts the names of a folder into a real index, in a process that a test kills:
 * `adopt_child.ts INDEX FOLDER`. Prints what is there then as JSON.
 */

import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { Library } from "../../src/library/library.ts";
import { LocalOrigin } from "../../src/origins/local.ts";
import { openChildIndex, printReport } from "./child_index.ts";
import { treeOf } from "./library_fixture.ts";
import { namesOf } from "./published_names_fixture.ts";

const [dir = "", folder = ""] = Deno.args;
await using index = await openChildIndex(dir);
await using origin = await LocalOrigin.open("local", folder, { log: silentLog });
const names = await namesOf(origin);
let asked = 0;
await using library = new Library({
  index,
  origins: [origin],
  exclude: [],
  clock: systemClock,
  log: silentLog,
  onChange: () => {},
  published: () => {
    asked += 1;
    return Promise.resolve(names);
  },
});
const before = library.namespace.totals();
library.adoptPublished();
const { signal } = new AbortController();
const first = await library.scan({ signal });
printReport({
  asked,
  before,
  counts: { added: first.added, changed: first.changed, gone: first.gone },
  totals: library.namespace.totals(),
  records: index.table("entries").count(),
  paths: treeOf(library),
});
