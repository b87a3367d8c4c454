/** A tag reader that goes from file to file waits for no round trip a file. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { startDaemon } from "../support/daemon.ts";
import { startLink } from "../support/link_proxy.ts";
import { tagScan } from "../support/listening.ts";
import { testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";
import { writeTracks } from "./library.ts";
import { REMOTE_KINDS, REMOTE_NEEDS, startRemote } from "./remote.ts";

const FILES = 60;
const FILE_BYTES = 1024 * 1024;

/** There and back. */
const ROUND_TRIP_MS = 200;

/** 64 KiB of head and 128 KiB of tail, and what the protocol adds. */
const BYTES_MAX = 200 * 1024;

for (const kind of REMOTE_KINDS) {
  testWith(
    [...REMOTE_NEEDS[kind], "gcc"],
    `a tag reader over ${kind} waits for less than a round trip a file, and fetches no more`,
    async () => {
      await using dir = await tempDir(`tag-scan-${kind}`);
      const copy = join(dir.path, "copy");
      await writeTracks(copy, { count: FILES, bytes: FILE_BYTES });
      await using remote = await startRemote(kind, copy);
      await using link = await startLink(remote.port, { delayMs: ROUND_TRIP_MS / 2 });
      await using daemon = await startDaemon({
        dir: dir.path,
        origins: [remote.url(link.port)],
        env: remote.env,
      });
      // The listing is no part of it.
      for await (const _ of Deno.readDir(daemon.mountpoint)) continue;
      const before = (await link.bytes()).down;
      const { files, errors, wallMs } = await tagScan(daemon.mountpoint, { threads: 1 });
      const bytes = (await link.bytes()).down - before;
      assert.deepEqual({ files, errors }, { files: FILES, errors: 0 });
      assert.ok(wallMs < 0.75 * FILES * ROUND_TRIP_MS, `${wallMs} ms`);
      assert.ok(bytes <= FILES * BYTES_MAX, `${bytes} bytes`);
    },
  );
}
