/** A bucket of very many keys: learnt within bounded memory, mounted at once. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type Daemon, startDaemon } from "../support/daemon.ts";
import { eventually, output } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { rounds } from "../support/scale.ts";
import { startMinio } from "../support/servers/minio.ts";
import { tempDir } from "../support/temp_dir.ts";
import { REMOTE_NEEDS } from "./remote.ts";
import { statusOf } from "./status.ts";

/** Of these 20 each are an album, and 20 of those an artist. */
const KEYS = rounds({ ci: 8_000, long: 1_000_000 });

/**
 * Most memory of its own that the daemon has during the scan, in MiB. Pages of the index, which is
 * mapped and grows with the library, are not in it: the kernel takes them back as it likes.
 */
const SCAN_MIB_MAX = 400;

/** Longest first scan, in ms. */
const SCAN_MS_MAX = rounds({ ci: 60_000, long: 1_800_000 });

/** From the start of the process to the first listing of a known library, in ms. */
const FIRST_LISTING_MS_MAX = 5_000;

testWith(
  [...REMOTE_NEEDS.s3, "find"],
  `a bucket of ${KEYS} keys is scanned within ${SCAN_MIB_MAX} MiB, and is there at once afterwards`,
  async () => {
    await using dir = await tempDir("great");
    await using minio = await startMinio({ buckets: ["music"], dir: join(dir.path, "data") });
    await minio.putCopies("music", keys(), "music");
    const mount = { dir: dir.path, origins: [minio.url("music")], env: minio.env };
    {
      await using daemon = await startDaemon(mount);
      let mebibytes = 0;
      await eventually(async () => {
        mebibytes = Math.max(mebibytes, await memoryOf(daemon, "RssAnon"));
        return / Scanned name=/.test(daemon.log);
      }, { ms: SCAN_MS_MAX, what: `a scan of ${KEYS} keys` });
      assert.equal((await statusOf(daemon)).library.files, KEYS, daemon.log);
      const withIndex = await memoryOf(daemon, "VmHWM");
      tell(
        `a scan of ${KEYS} keys took ${mebibytes.toFixed(0)} MiB of its own at most, and ` +
          `${withIndex.toFixed(0)} with the index and the program`,
      );
      assert.ok(mebibytes < SCAN_MIB_MAX, `${mebibytes} MiB`);
      assert.equal(await daemon.stop(), 0, daemon.log);
    }
    const start = performance.now();
    await using daemon = await startDaemon(mount);
    const album = join(daemon.mountpoint, "Artist 3/Album 1");
    const tracks = (await output("ls", [album])).trim().split("\n");
    const ms = performance.now() - start;
    tell(`mounted and listed after ${ms.toFixed(0)} ms`);
    assert.equal(tracks.length, 20);
    assert.ok(ms < FIRST_LISTING_MS_MAX, `${ms} ms`);
    assert.equal(await Deno.readTextFile(join(album, tracks[0] ?? "")), "music");
  },
);

function* keys(): Iterable<string> {
  for (let i = 0; i < KEYS; i += 1) {
    const album = Math.floor(i / 20) % 20;
    yield `Artist ${Math.floor(i / 400)}/Album ${album}/${i % 20} Track.flac`;
  }
}

/** A line of proc(5) `status`, in MiB. */
async function memoryOf(daemon: Daemon, line: "RssAnon" | "VmHWM"): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${await daemon.pid()}/status`);
  return Number(new RegExp(`^${line}:\\s+(\\d+) kB$`, "m").exec(status)?.[1]) / 1024;
}

function tell(line: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${line}\n`));
}
