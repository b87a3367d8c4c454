/** The published index at real servers: written to a bucket, read over S3 and SFTP. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { comparePaths } from "../../src/library/path_order.ts";
import { NAMES_PATH } from "../../src/library/published_format.ts";
import { PublishedIndex } from "../../src/library/published_index.ts";
import type { OriginPlace } from "../../src/origins/open.ts";
import { walkOrigin } from "../../src/library/scan_origin.ts";
import { type OpenedOrigin, openOrigin } from "../../src/origins/open.ts";
import type { OriginEntry } from "../../src/origins/origin.ts";
import { publish, type TreeEntry } from "../library/published_fixture.ts";
import { musicfs } from "../support/daemon.ts";
import { startLink } from "../support/link_proxy.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise } from "../support/sample_library.ts";
import { startMinio } from "../support/servers/minio.ts";
import { startSshd } from "../support/servers/sshd.ts";
import { tempDir } from "../support/temp_dir.ts";

const HIDDEN = new Set([".musicfs"]);

testWith(["minio"], "musicfs index of a bucket is what a mount of it lists and reads", async () => {
  await using minio = await startMinio();
  await using dir = await tempDir("index");
  const bucket = `index-${crypto.randomUUID()}`;
  await minio.makeBucket(bucket);
  const folder = join(dir.path, "music");
  await writeAlbum(folder);
  await minio.putFolder(bucket, folder, { prefix: "all/" });
  const url = minio.url(bucket, { prefix: "all" });
  const run = (): ReturnType<typeof musicfs> =>
    musicfs(["index", url, "--json"], { env: minio.env, cwd: dir.path });
  const first = await run();
  assert.equal(first.code, 0, first.stderr);
  assert.deepEqual(pick(JSON.parse(first.stdout)), { added: 4, moved: 0, indexed: 4 });
  await using origin = await openedAt(url, minio.env);
  await holds(origin, "s3");
  // A moved object has a new time, and the ETag of before.
  await minio.put(bucket, "all/b.flac", await Deno.readFile(join(folder, "Ana/2.flac")));
  await minio.remove(bucket, "all/Ana/2.flac");
  await minio.put(bucket, "all/c.flac", "not there before");
  const second = JSON.parse((await run()).stdout);
  assert.deepEqual(pick(second), { added: 1, moved: 1, indexed: 5 });
  assert.ok(second.read_bytes < 600_000, `${second.read_bytes} bytes were read`);
  await holds(origin, "s3");
  const keys = (await minio.keys(bucket)).filter((key) => key.includes(".musicfs/"));
  assert.equal(keys.length, 3, "names, and a part for each run");
});

testWith(["minio"], "musicfs index says what a bucket refuses, in one line", async () => {
  await using minio = await startMinio();
  await using dir = await tempDir("index");
  const url = minio.url("nobody-made-this-one");
  const { code, stderr } = await musicfs(["index", url], { env: minio.env, cwd: dir.path });
  assert.equal(code, 1);
  assert.match(stderr, /^musicfs: .*the bucket does not exist[^\n]*\n$/);
  const bucket = `index-${crypto.randomUUID()}`;
  await minio.makeBucket(bucket);
  await minio.put(bucket, "1.flac", "abc");
  await minio.allowAnonymous(bucket);
  const denied = await musicfs(["index", `${minio.url(bucket)}&anonymous=true`], { cwd: dir.path });
  assert.equal(denied.code, 1);
  assert.match(
    denied.stderr,
    /^musicfs: Cannot write "\.musicfs\/[^\n]* need s3:PutObject [^\n]*\n$/,
  );
});

testWith(
  ["sshd", "ssh-keygen", "minio"],
  "an index made of a folder holds for it over SFTP, and for a bucket that it is copied to",
  async () => {
    await using dir = await tempDir("index");
    const folder = join(dir.path, "music");
    await writeAlbum(folder);
    const { code, stderr } = await musicfs(["index", folder], { cwd: dir.path });
    assert.equal(code, 0, stderr);
    await using sshd = await startSshd();
    await using sftp = await openedAt(sshd.url(folder), {});
    await holds(sftp, "sftp");
    await using minio = await startMinio();
    const bucket = `index-${crypto.randomUUID()}`;
    await minio.makeBucket(bucket);
    await minio.putFolder(bucket, folder);
    await using s3 = await openedAt(minio.url(bucket), minio.env);
    await holds(s3, "s3", { sameTimes: false });
  },
);

testWith(
  ["sshd", "ssh-keygen"],
  "PublishedIndex.open() of 10,000 files takes 4 round trips of 30 ms over SFTP",
  async () => {
    await using dir = await tempDir("index");
    await Deno.mkdir(join(dir.path, ".musicfs"));
    const { index } = await publish(tenThousand());
    await Deno.writeFile(join(dir.path, NAMES_PATH), index);
    assert.ok(index.length < 500_000, `${index.length} bytes`);
    await using sshd = await startSshd();
    await using link = await startLink(sshd.port, { delayMs: 15, mbit: 100 });
    await using origin = await openedAt(sshd.url(dir.path, { port: link.port }), {});
    await origin.stat("", never()); // The connection is made by then, as at a mount.
    const before = await link.bytes();
    const began = performance.now();
    const found = await PublishedIndex.open(origin, {
      kind: "sftp",
      ...never(),
      log: silentLog,
    });
    assert.equal(found?.files, 10_000);
    const ms = performance.now() - began;
    const { down } = await link.bytes();
    assert.ok(down - before.down < 1.1 * index.length, "it is read once");
    assert.ok(ms < 3_000, `${ms} ms`);
  },
);

/** Holds an origin's index to the origin itself. */
async function holds(
  origin: OpenedOrigin,
  kind: OriginPlace,
  { sameTimes = true }: { sameTimes?: boolean } = {},
): Promise<void> {
  const index = await PublishedIndex.open(origin, { kind, ...never(), log: silentLog });
  assert.ok(index, "the index is used");
  const shown = (entries: readonly OriginEntry[]): OriginEntry[] =>
    entries.map((entry) => sameTimes ? entry : { ...entry, mtimeNs: 0n })
      .sort((a, b) => comparePaths(a.path, b.path));
  const named = [...index.folders()].map(({ path, entries }) => [path, shown(entries)]);
  const listed = await Array.fromAsync(walkOrigin(origin, { ...never(), hidden: HIDDEN }));
  assert.deepEqual(named, listed.map(({ path, entries }) => [path, shown(entries)]));
  for (const file of listed.flatMap(({ entries }) => entries)) {
    if (file.kind !== "file") continue;
    const regions = await index.chunks(file, { ...never(), hash: "xxh128" });
    let size = 0;
    for (const { chunks } of regions ?? []) for (const { length } of chunks) size += length;
    assert.equal(size, file.size, file.path);
  }
}

async function writeAlbum(folder: string): Promise<void> {
  for (let track = 1; track <= 3; track += 1) {
    const bytes = 1_000_000 + track;
    await writeNoise(join(folder, `Ana/${track}.flac`), { bytes, seed: track });
  }
  await writeNoise(join(folder, "Ana/Größe 100 %/4.flac"), { bytes: 50_000, seed: 4 });
}

function tenThousand(): TreeEntry[] {
  const tree: TreeEntry[] = [];
  for (let artist = 0; artist < 100; artist += 1) {
    const name = `Artist number ${artist}`;
    tree.push({ path: name, kind: "folder", mtimeNs: BigInt(artist) * 1_234_567_891n });
    for (let album = 0; album < 5; album += 1) {
      const path = `${name}/${1970 + artist % 50} - Album ${album}`;
      tree.push({ path, kind: "folder", mtimeNs: BigInt(album) });
      for (let track = 0; track < 20; track += 1) {
        const mtimeNs = 1_700_000_000_000_000_000n + BigInt(tree.length) * 987_654_321n;
        const size = 20_000_000 + tree.length * 7919 % 9_999_991;
        tree.push({ path: `${path}/${track} Song.flac`, kind: "file", size, mtimeNs });
      }
    }
  }
  return tree;
}

async function openedAt(url: string, env: Record<string, string>): Promise<OpenedOrigin> {
  const context = { log: silentLog, clock: systemClock, env: (name: string) => env[name] };
  return await openOrigin({ name: "music", url }, context);
}

function pick(
  { added, moved, indexed }: Record<string, number>,
): Record<string, number | undefined> {
  return { added, moved, indexed };
}

function never(): { signal: AbortSignal } {
  return { signal: new AbortController().signal };
}
