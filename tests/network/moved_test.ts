/** What was renamed in a bucket or on a server is told as moved. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { musicfs } from "../support/daemon.ts";
import { testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";
import { writeAlbums } from "../support/vanishing.ts";
import { filesIn } from "./library.ts";
import { REMOTE_NEEDS, startBucket, startFolder } from "./remote.ts";

/** Scans, moves, scans again: all files must have moved, and nothing else been seen. */
async function assertMoved(
  { dir, origin, env = {}, files, move }: {
    dir: string;
    origin: string;
    env?: Record<string, string>;
    files: readonly string[];
    move: () => Promise<void>;
  },
): Promise<void> {
  const scan = async (): Promise<Record<string, unknown>> => {
    const words = ["scan", "--json", "--origin", origin, "--cache-dir", join(dir, "cache")];
    const { code, stdout, stderr } = await musicfs(words, { env });
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout);
  };
  assert.equal((await scan())["added"], files.length);
  await move();
  const found = await scan();
  const { added, changed, moved, gone, changes } = found;
  assert.deepEqual([added, changed, moved, gone], [0, 0, files.length, 0]);
  assert.deepEqual(
    (changes as { from: string; path: string }[]).map(({ from, path }) => `${from} > ${path}`)
      .sort(),
    files.map((file) => `${file} > Moved/${file}`).sort(),
  );
}

testWith(
  [...REMOTE_NEEDS.s3],
  "objects that were copied under other keys, and removed, have moved",
  async () => {
    await using dir = await tempDir("moved-s3");
    const copy = join(dir.path, "copy");
    await writeAlbums(copy);
    const files = await filesIn(copy);
    await using bucket = await startBucket(copy);
    const { env, minio } = bucket;
    const move = async (): Promise<void> => {
      await minio.putFolder("music", copy, { prefix: "Moved/" });
      for (const file of files) await minio.remove("music", file);
    };
    await assertMoved({ dir: dir.path, origin: bucket.url(), env, files, move });
  },
);

testWith([...REMOTE_NEEDS.sftp], "folders that were renamed over SFTP have moved", async () => {
  await using dir = await tempDir("moved-sftp");
  const folder = join(dir.path, "folder");
  await writeAlbums(folder);
  const files = await filesIn(folder);
  await using server = await startFolder(folder);
  const move = async (): Promise<void> => {
    await Deno.mkdir(join(folder, "Moved"));
    for (const album of new Set(files.map((file) => file.split("/")[0] ?? ""))) {
      await Deno.rename(join(folder, album), join(folder, "Moved", album));
    }
  };
  await assertMoved({ dir: dir.path, origin: server.url(), files, move });
});
