/** What polling a remote origin costs it, counted in listings, at real servers. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { type GuardedOrigin, guardOrigin } from "../../src/origins/guarded.ts";
import { HealthMonitor } from "../../src/origins/health_monitor.ts";
import { openOrigin } from "../../src/origins/open.ts";
import type { Origin } from "../../src/origins/origin.ts";
import { never, openLibrary, treeOf } from "../library/library_fixture.ts";
import { output } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { rounds } from "../support/scale.ts";
import { startMinio } from "../support/servers/minio.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { REMOTE_NEEDS } from "./remote.ts";
import { sftpRig } from "./sftp_rig.ts";

/** Not a multiple of 1,000: MinIO then says that there is more, and gives an empty page. */
const KEYS = rounds({ ci: 1_990, long: 9_990 });
const FOLDERS = rounds({ ci: 100, long: 500 });
const PAGES = Math.ceil(KEYS / 1_000);

function guarded(origin: Origin): GuardedOrigin {
  const health = new HealthMonitor({ clock: systemClock, log: silentLog, random: () => 0.5 });
  return guardOrigin(origin, { kind: "remote", clock: systemClock, health });
}

testWith(
  REMOTE_NEEDS.s3,
  `a scan of ${KEYS} keys in ${FOLDERS} folders takes a LIST for 1,000 keys, the first one, too`,
  async () => {
    await using minio = await startMinio({ buckets: ["music"] });
    const keys = Array.from({ length: KEYS }, (_, i) => `${i % FOLDERS}/${i}.flac`);
    await minio.putCopies("music", keys, "music");
    const { env } = minio;
    const address = { name: "bucket", url: minio.url("music") };
    const options = { log: silentLog, clock: systemClock, env: (name: string) => env[name] };
    await using opened = await openOrigin(address, options);
    const origin = guarded(opened);
    const { library } = openLibrary([origin], { clock: new VirtualClock(Date.now()) });
    const lists = async (): Promise<number> => {
      const before = origin.counters.lists + origin.counters.stats;
      const { files, folders, errors } = await library.scan(never());
      assert.deepEqual([files, folders, errors], [KEYS, FOLDERS, []]);
      return origin.counters.lists + origin.counters.stats - before;
    };
    assert.deepEqual([await lists(), await lists()], [PAGES, PAGES]);
    await minio.put("music", "7/new.flac", "new");
    await minio.remove("music", "7/7.flac");
    const { added, gone } = await library.scan(never());
    assert.deepEqual([added, gone], [1, 1]);
  },
);

testWith(
  REMOTE_NEEDS.sftp,
  "a poll of an SFTP server lists only folders whose names changed",
  async () => {
    await using rig = await sftpRig();
    const script =
      `cd "$0" && for i in $(seq 20); do mkdir -p "$((i % 4))/$i" && echo x >"$((i % 4))/$i/song"
      done; find . -type d -exec touch -d 2020-01-01 {} +`;
    await output("bash", ["-c", script, rig.root]);
    const origin = guarded(rig.open());
    const { library } = openLibrary([origin], { clock: new VirtualClock(Date.now()) });
    const poll = async (): Promise<{ lists: number; stats: number }> => {
      const { lists, stats } = origin.counters;
      const { errors, files } = await library.scan({ skipUnchanged: ["nas"], ...never() });
      const expected = (await output("find", [rig.root, "-mindepth", "1"])).trim().split("\n");
      assert.deepEqual(errors, []);
      assert.equal(treeOf(library).length, expected.length);
      assert.equal(files, expected.filter((path) => /\/[^/]*[a-z][^/]*$/.test(path)).length);
      return { lists: origin.counters.lists - lists, stats: origin.counters.stats - stats };
    };
    assert.equal((await poll()).lists, 25);
    assert.deepEqual(await poll(), { lists: 0, stats: 25 });
    await Deno.writeTextFile(join(rig.root, "1/5/new"), "new");
    await output("touch", ["-d", "2020-01-02", join(rig.root, "1/5")]);
    assert.equal((await poll()).lists, 1);
    await Deno.remove(join(rig.root, "2/6/song"));
    // The root, too: before anything goes it must still show something.
    assert.equal((await poll()).lists, 2);
    // Its time is that of this second: it is listed until that is long over.
    assert.equal((await poll()).lists, 1);
  },
);
