/** Commits to the index in a folder until it is killed: `index_committer.ts DIR`. Says "ready" once. */

import { openXxh64 } from "../../src/chunking/xxh64.ts";
import { openEnvironment } from "../../src/store/lmdb.ts";
import { writeSample } from "./index_opener.ts";

const [dir = ""] = Deno.args;
const hash = await openXxh64();
const shared = new SharedArrayBuffer(4);
await using index = openEnvironment({
  dir,
  shared,
  hash,
  writable: true,
  newEpoch: "0".repeat(32),
});
writeSample(index, 600);
Deno.stdout.writeSync(new TextEncoder().encode("ready"));
for (let round = 0;; round += 1) writeSample(index, 300 + (round % 300));
