/** What a link does to its origin's health, and where reads then go. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type Daemon, startDaemon } from "../support/daemon.ts";
import { startLink } from "../support/link_proxy.ts";
import { eventually } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { startToxiproxy } from "../support/servers/toxiproxy.ts";
import { tempDir } from "../support/temp_dir.ts";
import { writeTracks } from "./library.ts";
import { proven } from "./proven.ts";
import { readBeside, REMOTE_NEEDS, startBucket, startRemote } from "./remote.ts";
import { originIs, originOf, statusOf } from "./status.ts";

const TRACK_BYTES = 600_000;

/** Each in a folder of its own: of the others in a folder, heads may come before they are read. */
const TRACKS = 48;

/** An origin that was offline for 5 s is scanned when it is back, in ms; polls are 5 min apart. */
const AWAY_MS = 5_500;

/** Above the 250 ms from which an origin can be slow, and far above the backup's. */
const SLOW_MS = 400;

testWith(
  [...REMOTE_NEEDS.s3, ...REMOTE_NEEDS.sftp, "toxiproxy"],
  "a link that closes late, is parted, is slow: the state it shows, and who is read from",
  async (context) => {
    await using dir = await tempDir("toxic-health");
    const copy = join(dir.path, "copy");
    for (let i = 0; i < TRACKS; i += 1) {
      await writeTracks(join(copy, `${i}`), { count: 1, bytes: TRACK_BYTES });
    }
    await using primary = await startBucket(copy);
    await using backup = await startRemote("sftp", copy);
    await using toxiproxy = await startToxiproxy();
    await using proxy = await toxiproxy.proxyTo(primary.port);
    await using backupLink = await startLink(backup.port, { delayMs: 1 });
    const config = join(dir.path, "config.toml");
    await Deno.writeTextFile(
      config,
      [["primary", primary.url(proxy.port)], ["backup", backup.url(backupLink.port)]]
        .map(([name, url], priority) =>
          `[[origin]]\nname = "${name}"\nurl = ${JSON.stringify(url)}\npriority = ${priority}\n`
        ).join("\n"),
    );
    await using daemon = await startDaemon({
      dir: dir.path,
      origins: [],
      env: primary.env,
      args: ["--config", config],
    });
    await proven(backupLink, TRACKS);
    const added = join(daemon.mountpoint, "new/Track 00.flac");
    let next = 0;
    const readNext = (): Promise<Served> => readTrack(daemon, { copy, folder: `${next++}` });

    await context.step("closes that come late change nothing", async () => {
      await proxy.add("slow_close", { delay: 1_000 });
      for (let i = 0; i < 3; i += 1) assert.equal((await readNext()).by, "primary", daemon.log);
      assert.equal((await originOf(daemon, "primary")).state, "online");
      await proxy.clear();
    });

    await context.step("a partition is an outage: the backup, then the primary again", async () => {
      await proxy.disable();
      const parted = await readNext();
      assert.equal(parted.by, "backup");
      assert.ok(parted.ms < 3_000, `${parted.ms} ms`);
      await originIs(daemon, { name: "primary", states: ["offline"], ms: 60_000 });
      await primary.minio.put("music", "new/Track 00.flac", "new");
      // It was away long enough to have missed something.
      await new Promise((resolve) => setTimeout(resolve, AWAY_MS));
      await proxy.enable();
      await originIs(daemon, { name: "primary", states: ["online"], ms: 60_000 });
      assert.equal((await readNext()).by, "primary");
      await eventually(async () => (await Deno.readTextFile(added).catch(() => "")) === "new", {
        ms: 60_000,
        what: `what came meanwhile: it is looked for at once, and not at the next poll`,
      });
    });

    await context.step("a slow link makes it degraded, and the backup is asked first", async () => {
      await proxy.add("latency", { latency: SLOW_MS, jitter: 50 });
      // Half of the last 15 calls must have been slow.
      for (let i = 0; i < 30; i += 1) {
        await readNext();
        if ((await originOf(daemon, "primary")).state === "degraded") break;
      }
      assert.equal((await originOf(daemon, "primary")).state, "degraded", daemon.log);
      const { by, ms } = await readNext();
      assert.equal(by, "backup");
      assert.ok(ms < 3_000, `${ms} ms`);
    });
  },
);

/** Who gave most of a track's bytes, and how long that took. */
interface Served {
  by: string | undefined;
  ms: number;
}

async function readTrack(
  daemon: Daemon,
  { copy, folder }: { copy: string; folder: string },
): Promise<Served> {
  const track = join(folder, "Track 00.flac");
  const before = (await statusOf(daemon)).origins;
  const { code, stderr, ms } = await readBeside(join(daemon.mountpoint, track), join(copy, track));
  assert.equal(code, 0, `${stderr}${daemon.log.slice(-4_000)}`);
  const after = (await statusOf(daemon)).origins;
  const most = after.find(({ bytes_read }, i) =>
    bytes_read - (before[i]?.bytes_read ?? 0) > TRACK_BYTES / 2
  );
  return { by: most?.name, ms };
}
