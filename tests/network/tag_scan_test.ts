/** A tag reader that goes from file to file waits for no round trip a file. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { startDaemon } from "../support/daemon.ts";
import { startLink } from "../support/link_proxy.ts";
import { tagScan } from "../support/listening.ts";
import { testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";
import { writeTracks } from "./library.ts";
import { readBeside, REMOTE_KINDS, REMOTE_NEEDS, startRemote } from "./remote.ts";

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

testWith(
  [...REMOTE_NEEDS.sftp, "gcc"],
  "whoever reads files to their end beside a tag reader gets every byte, and no error",
  async () => {
    // What the kernel reads ahead of the tag reader is refused, and others may be waiting for it.
    await using dir = await tempDir("tag-scan-beside");
    const copy = join(dir.path, "copy");
    const tracks = await writeTracks(copy, { count: 40, bytes: 600_000 });
    await using remote = await startRemote("sftp", copy);
    await using link = await startLink(remote.port, { delayMs: 5, mbit: 100 });
    await using daemon = await startDaemon({ dir: dir.path, origins: [remote.url(link.port)] });
    const scan = (): Promise<{ errors: number }> => tagScan(daemon.mountpoint, { threads: 4 });
    const readAll = async (): Promise<void> => {
      for (const track of tracks) {
        const { code, stderr } = await readBeside(
          join(daemon.mountpoint, track),
          join(copy, track),
        );
        assert.equal(code, 0, stderr);
      }
    };
    const [first, second] = await Promise.all([scan(), scan(), readAll(), readAll()]);
    assert.deepEqual([first.errors, second.errors], [0, 0]);
  },
);
