/** The link or the server goes away under readers: what a Wi-Fi blip and a reboot look like. */

import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { type Daemon, startDaemon } from "../support/daemon.ts";
import { type Link, startLink } from "../support/link_proxy.ts";
import { eventually } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { rounds } from "../support/scale.ts";
import { tempDir } from "../support/temp_dir.ts";
import { writeTracks } from "./library.ts";
import { proven } from "./proven.ts";
import { readBeside, type Reading, REMOTE_KINDS, REMOTE_NEEDS, startRemote } from "./remote.ts";
import { originIs, originOf } from "./status.ts";

const READERS = 8;

/** What they read through, in 10^6 bits/s: slow enough that the outage is in the middle. */
const MBIT = 40;

const TRACK_BYTES = rounds({ ci: 2_000_000, long: 8_000_000 });

const OUTAGE_MS = rounds({ ci: 3_000, long: 10_000 });

const OUTAGES = {
  "cut, with nobody told": (link: Link) => link.cut(),
  "closed, and refused": (link: Link) => link.drop(),
} as const;

for (const kind of REMOTE_KINDS) {
  for (const [name, breakOff] of Object.entries(OUTAGES)) {
    testWith(
      [...REMOTE_NEEDS[kind]],
      `${READERS} readers over ${kind} wait out a link that is ${name}, and get no error`,
      async () => {
        await using dir = await tempDir(`outage-${kind}`);
        const copy = join(dir.path, "copy");
        const tracks = await writeTracks(copy, { count: READERS, bytes: TRACK_BYTES });
        await using remote = await startRemote(kind, copy);
        await using link = await startLink(remote.port, { delayMs: 5, mbit: MBIT });
        await using daemon = await startDaemon({
          dir: dir.path,
          origins: [remote.url(link.port)],
          env: remote.env,
        });
        const before = (await link.bytes()).down;
        const readings = readAll(daemon, { copy, tracks });
        await halfWay(link, { before, bytes: READERS * TRACK_BYTES });
        await breakOff(link);
        // The outage is what is tested: it lasts, whatever the readers do meanwhile.
        await new Promise((resolve) => setTimeout(resolve, OUTAGE_MS));
        await link.restore();
        assertWhole(await readings, daemon);
      },
    );
  }
}

testWith(
  [...REMOTE_NEEDS.s3, ...REMOTE_NEEDS.sftp],
  "the primary killed under readers: the backup serves them, and the primary again when it is back",
  async () => {
    await using dir = await tempDir("failover");
    const copy = join(dir.path, "copy");
    const tracks = await writeTracks(copy, { count: READERS, bytes: TRACK_BYTES });
    // Each in a folder of its own: the next track of an album may have been fetched long before.
    const later = ["later/1", "later/2", "later/3"].map((folder) => `${folder}/Track 00.flac`);
    for (const track of later) {
      await writeTracks(join(copy, dirname(track)), { count: 1, bytes: TRACK_BYTES });
    }
    await using primary = await startRemote("s3", copy);
    await using backup = await startRemote("sftp", copy);
    await using link = await startLink(primary.port, { delayMs: 5, mbit: MBIT });
    await using backupLink = await startLink(backup.port, { delayMs: 5 });
    const config = join(dir.path, "config.toml");
    await Deno.writeTextFile(
      config,
      `[[origin]]
name = "primary"
url = ${JSON.stringify(primary.url(link.port))}
priority = 0

[[origin]]
name = "backup"
url = ${JSON.stringify(backup.url(backupLink.port))}
priority = 1
`,
    );
    await using daemon = await startDaemon({
      dir: dir.path,
      origins: [],
      env: primary.env,
      args: ["--config", config],
    });
    await proven(backupLink, tracks.length + later.length);
    const before = (await link.bytes()).down;
    const readings = readAll(daemon, { copy, tracks });
    await halfWay(link, { before, bytes: READERS * TRACK_BYTES });
    await primary.kill();
    assertWhole(await readings, daemon);
    const next = await readTrack(daemon, { copy, track: later[0] ?? "" });
    assertWhole([next], daemon);
    assert.ok(next.ms < 3_000, `the next read took ${next.ms} ms`);

    await primary.start();
    await originIs(daemon, { name: "primary", states: ["online"], ms: 60_000 });
    const own = (await originOf(daemon, "primary")).bytes_read;
    const other = (await originOf(daemon, "backup")).bytes_read;
    const rest = later.slice(1);
    assertWhole(await readAll(daemon, { copy, tracks: rest }), daemon);
    const ownAfter = (await originOf(daemon, "primary")).bytes_read;
    const otherAfter = (await originOf(daemon, "backup")).bytes_read;
    // Heads and tails of these may have come ahead of the readers before.
    assert.ok(ownAfter - own > 0.7 * rest.length * TRACK_BYTES, `${ownAfter - own}\n${daemon.log}`);
    assert.equal(otherAfter - other, 0, daemon.log);
  },
);

interface Read {
  copy: string;
  track: string;
}

async function readTrack(daemon: Daemon, { copy, track }: Read): Promise<Reading> {
  return await readBeside(join(daemon.mountpoint, track), join(copy, track));
}

async function readAll(
  daemon: Daemon,
  { copy, tracks }: { copy: string; tracks: readonly string[] },
): Promise<Reading[]> {
  return await Promise.all(tracks.map((track) => readTrack(daemon, { copy, track })));
}

/** Waits until a third of what is read has come: the readers are in the middle of it. */
async function halfWay(
  link: Link,
  { before, bytes }: { before: number; bytes: number },
): Promise<void> {
  await eventually(async () => (await link.bytes()).down - before > bytes / 3, {
    ms: 30_000,
    what: "a third of the bytes",
  });
  const { down } = await link.bytes();
  assert.ok(down - before < bytes * 0.9, "the outage would come too late");
}

function assertWhole(readings: readonly Reading[], daemon: Daemon): void {
  for (const { code, stderr } of readings) {
    assert.equal(code, 0, `${stderr}${daemon.log.slice(-4_000)}`);
  }
}
