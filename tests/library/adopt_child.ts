/**
 * Adopts the names of a folder into a real index, in a process that a test kills:
 * `adopt_child.ts INDEX FOLDER`. Prints what is there then as JSON.
 */

import { systemClock } from "../../src/base/clock.ts";
import { enableFailpoints } from "../../src/base/failpoint.ts";
import { silentLog } from "../../src/base/log.ts";
import { openXxh64 } from "../../src/chunking/xxh64.ts";
import { Library } from "../../src/library/library.ts";
import { LocalOrigin } from "../../src/origins/local.ts";
import { openEnvironment } from "../../src/store/lmdb.ts";
import { treeOf } from "./library_fixture.ts";
import { namesOf } from "./published_names_fixture.ts";

const [dir = "", folder = ""] = Deno.args;
enableFailpoints(Deno.env.get("MUSICFS_FAILPOINTS") ?? "", { random: () => 0, print: () => {} });
await using index = openEnvironment({
  dir,
  shared: new SharedArrayBuffer(4),
  hash: await openXxh64(),
  writable: true,
  newEpoch: "ab".repeat(16),
});
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
const line = JSON.stringify({
  asked,
  before,
  counts: { added: first.added, changed: first.changed, gone: first.gone },
  totals: library.namespace.totals(),
  records: index.table("entries").count(),
  paths: treeOf(library),
});
Deno.stdout.writeSync(new TextEncoder().encode(line));
