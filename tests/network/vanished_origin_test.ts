/** A bucket or a folder on a server that is not what it was: nothing is lost by itself. */

import { join } from "node:path";
import { shell } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";
import {
  assertSurvives,
  mostAlbums,
  type Outcome,
  type Vanishing,
  writeAlbums,
} from "../support/vanishing.ts";
import { type Bucket, REMOTE_NEEDS, startBucket, startFolder } from "./remote.ts";

const BUCKET = "music";

const BUCKET_LOSSES: Record<string, [(bucket: Bucket) => Promise<void>, Outcome]> = {
  "is emptied": [(bucket) => removeKeys(bucket, ""), "held"],
  "is gone": [removeBucket, "down"],
  "has other objects": [
    async (bucket) => {
      await removeKeys(bucket, "");
      await bucket.minio.putAll(BUCKET, [["Other/1.flac", "1"], ["Other/2.flac", "2"]]);
    },
    "held",
  ],
  "loses most of its objects": [
    async (bucket) => {
      for (const album of mostAlbums()) await removeKeys(bucket, `${album}/`);
    },
    "confirmed",
  ],
};

const FOLDER_LOSSES: Record<string, [(folder: string) => Promise<unknown>, Outcome]> = {
  "is emptied": [(folder) => shell(`find '${folder}' -mindepth 1 -delete`), "held"],
  "is missing": [(folder) => shell(`mv '${folder}' '${folder}-away'`), "down"],
  "becomes an empty folder": [
    (folder) => shell(`mv '${folder}' '${folder}-away' && mkdir '${folder}'`),
    "held",
  ],
  "loses most of its folders": [
    (folder) => shell(mostAlbums().map((album) => `rm -r '${folder}/${album}'`).join(" && ")),
    "confirmed",
  ],
};

for (const isDuring of [false, true]) {
  const when = isDuring ? "during" : "before";
  for (const [what, [vanish, outcome]] of Object.entries(BUCKET_LOSSES)) {
    testWith(
      [...REMOTE_NEEDS.s3],
      `a bucket that ${what} ${when} a scan loses nothing by itself`,
      () =>
        withCopy(async (dir, copy) => {
          await using bucket = await startBucket(copy);
          const { env } = bucket;
          const loss = { vanish: () => vanish(bucket), outcome, isDuring };
          await assertSurvives({ dir, origin: bucket.url(), env, copy, ...loss });
        }),
    );
  }
  for (const [what, [vanish, outcome]] of Object.entries(FOLDER_LOSSES)) {
    testWith(
      [...REMOTE_NEEDS.sftp],
      `a folder over SFTP that ${what} ${when} a scan loses nothing by itself`,
      () =>
        withCopy(async (dir, copy) => {
          const folder = join(dir, "folder");
          await shell(`cp -a '${copy}' '${folder}'`);
          await using server = await startFolder(folder);
          const loss: Pick<Vanishing, "vanish" | "outcome" | "isDuring"> = {
            vanish: async () => void await vanish(folder),
            outcome,
            isDuring,
          };
          await assertSurvives({ dir, origin: server.url(), copy, ...loss });
        }),
    );
  }
}

async function withCopy(test: (dir: string, copy: string) => Promise<void>): Promise<void> {
  await using dir = await tempDir("vanished");
  const copy = join(dir.path, "copy");
  await writeAlbums(copy);
  await test(dir.path, copy);
}

async function removeKeys({ minio }: Bucket, prefix: string): Promise<void> {
  for (const key of await minio.keys(BUCKET)) {
    if (key.startsWith(prefix)) await minio.remove(BUCKET, key);
  }
}

async function removeBucket(bucket: Bucket): Promise<void> {
  await removeKeys(bucket, "");
  await bucket.minio.request({ method: "DELETE", path: `/${BUCKET}` });
}
