import assert from "node:assert/strict";
import { countDescriptors, descriptorLimit } from "../../src/base/descriptor_limit.ts";
import { silentLog } from "../../src/base/log.ts";
import { watchDescriptors } from "../../src/mount/descriptor_watch.ts";
import { tempDir } from "../support/temp_dir.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

Deno.test("watchDescriptors() warns once at 80 % of the limit, and again only after less than 70 %", async () => {
  const clock = new VirtualClock();
  const stop = new AbortController();
  const said: string[] = [];
  let open = 79;
  const watching = watchDescriptors({
    clock,
    log: {
      ...silentLog,
      warning: (_text, fields) => said.push(`short ${fields?.["open"]}`),
      info: () => said.push("enough"),
    },
    signal: stop.signal,
    count: () => Promise.resolve(open),
    limit: () => 100,
  });
  for (const now of [79, 80, 95, 75, 85, 69, 69, 81]) {
    open = now;
    await clock.advance(10_000);
  }
  stop.abort();
  await assert.rejects(watching, { name: "AbortError" });
  assert.deepEqual(said, ["short 80", "enough", "short 81"]);
});

Deno.test("countDescriptors() counts what is open, and descriptorLimit() is what the kernel says", async () => {
  await using dir = await tempDir("descriptors");
  const before = await countDescriptors();
  const files = Array.from(
    { length: 7 },
    (_none, i) => Deno.openSync(`${dir.path}/${i}`, { create: true, write: true }),
  );
  assert.equal(await countDescriptors(), before + 7);
  for (const file of files) file.close();
  const limits = await Deno.readTextFile("/proc/self/limits");
  assert.match(limits, new RegExp(`Max open files +${descriptorLimit()} `));
});
