/** What was renamed at the origin is told as moved, is nothing that vanished, and plays. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type Daemon, musicfs, startDaemon } from "../support/daemon.ts";
import { eventually, output, shell } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise, writeSampleLibrary } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";

const NEEDS = ["fuse", "fusermount3", "diff", "find"] as const;

const ALBUMS = 1_000;

/** What `scan --json` says. */
interface Scanned {
  added: number;
  changed: number;
  moved: number;
  gone: number;
  held_deletions: number;
  changes: { kind: string; path: string; from?: string }[];
}

async function scan(cacheDir: string, ...words: string[]): Promise<Scanned> {
  const { code, stdout, stderr } = await musicfs([
    ...["scan", "--json", "--cache-dir", cacheDir, ...words],
  ]);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

function countsOf({ added, changed, moved, gone, held_deletions }: Scanned): number[] {
  return [added, changed, moved, gone, held_deletions];
}

async function makeAlbums(origin: string): Promise<void> {
  await shell(
    `for i in $(seq ${ALBUMS}); do mkdir -p all/$i && echo $i >all/$i/1 && echo $i >all/$i/2; done`,
    { cwd: origin },
  );
}

testWith(
  ["find"],
  `a folder of ${ALBUMS} albums that was renamed goes through in one scan`,
  async () => {
    await using dir = await tempDir("moved");
    const origin = join(dir.path, "origin");
    await Deno.mkdir(origin);
    await makeAlbums(origin);
    const cache = join(dir.path, "cache");
    const words = ["--origin", origin];
    assert.deepEqual(countsOf(await scan(cache, ...words)), [2 * ALBUMS, 0, 0, 0, 0]);
    await Deno.rename(join(origin, "all"), join(origin, "everything"));
    const found = await scan(cache, ...words);
    assert.deepEqual(countsOf(found), [0, 0, 2 * ALBUMS, 0, 0]);
    assert.equal(found.changes.length, 2 * ALBUMS);
    for (const { kind, path, from } of found.changes) {
      assert.deepEqual([kind, path], ["moved", from?.replace(/^all/, "everything")]);
    }
    assert.deepEqual(countsOf(await scan(cache, ...words)), [0, 0, 0, 0, 0]);
  },
);

testWith(
  NEEDS,
  `a folder of ${ALBUMS} albums that was renamed under a mount is seen so`,
  async () => {
    await using dir = await tempDir("moved-watched");
    const origin = join(dir.path, "origin");
    await Deno.mkdir(origin);
    await makeAlbums(origin);
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
    assert.equal((await scan(daemon.cacheDir)).held_deletions, 0);
    await Deno.rename(join(origin, "all"), join(origin, "everything"));
    await eventually(async () => await isSame(origin, daemon), {
      ms: 30_000,
      what: "the mount shows the folder under its new name, and not under the old",
    });
    assert.deepEqual(countsOf(await scan(daemon.cacheDir)), [0, 0, 0, 0, 0]);
    assert.doesNotMatch(daemon.log, /seems to be gone|accept-deletions/);
  },
);

testWith(NEEDS, "scan --checksum counts what moved and what was edited, each once", async () => {
  await using dir = await tempDir("moved-checksum");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  await writeNoise(join(origin, "edited.flac"), { bytes: 700_000, seed: 3 });
  const args = ["--cache", "on", "--no-watch"];
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin], args });
  await output("diff", ["-r", origin, daemon.mountpoint]);
  await shell(
    `mv "Ana Vidal" "Vidal, Ana"
     touch -r edited.flac ../time
     printf X | dd of=edited.flac bs=1 seek=300000 conv=notrunc status=none
     touch -r ../time edited.flac`,
    { cwd: origin },
  );
  const found = await scan(daemon.cacheDir, "--checksum");
  assert.deepEqual(countsOf(found), [0, 1, 5, 0, 0]);
  assert.deepEqual(found.changes.map(({ kind }) => kind).sort(), [
    "changed",
    ...Array.from({ length: 5 }, () => "moved"),
  ]);
  await output("diff", ["-r", origin, daemon.mountpoint]);
  assert.deepEqual(countsOf(await scan(daemon.cacheDir, "--checksum")), [0, 0, 0, 0, 0]);
});

async function isSame(origin: string, { mountpoint }: Daemon): Promise<boolean> {
  const list = async (folder: string): Promise<string> =>
    await output("find", [folder, "-printf", "%y %P\n"]).then(
      (text) => text.split("\n").sort().join("\n"),
      // A name that goes while it is listed.
      () => "",
    );
  return await list(mountpoint) === await list(origin);
}
