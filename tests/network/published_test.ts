/** What a mount makes of an index that lies beside the music, over S3 and SFTP. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type Daemon, musicfs, startDaemon } from "../support/daemon.ts";
import { flacFile } from "../support/flac_file.ts";
import { startLink } from "../support/link_proxy.ts";
import { eventually, output } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise } from "../support/sample_library.ts";
import { rounds } from "../support/scale.ts";
import { tempDir } from "../support/temp_dir.ts";
import { filesIn } from "./library.ts";
import { type Bucket, type Remote, REMOTE_KINDS, REMOTE_NEEDS, startRemote } from "./remote.ts";

/** A link so slow that what is asked for after the index is not answered before the link is cut. */
const SLOW_MS = 150;

const FOLDERS = 12;

/** Bytes of a chunk at most. */
const CHUNK_BYTES_MAX = 256 * 1024;

for (const kind of REMOTE_KINDS) {
  testWith(
    [...REMOTE_NEEDS[kind], "find"],
    `mount over ${kind} with an index shows all names before it has listed a folder, then every byte`,
    async () => {
      await using dir = await tempDir(`published-${kind}`);
      const copy = join(dir.path, "copy");
      await writeAlbums(copy);
      await using remote = await startRemote(kind, copy);
      await index(remote, copy);
      await using link = await startLink(remote.port, { delayMs: SLOW_MS });
      await using daemon = await startDaemon({
        dir: dir.path,
        origins: [remote.url(link.port)],
        env: remote.env,
      });
      await says(daemon, /Took the names from the index/);
      await link.cut();
      assert.deepEqual(await filesIn(daemon.mountpoint), await musicIn(copy));
      assert.doesNotMatch(daemon.log, /Scanned/);
      await link.shape({ delayMs: 0 });
      await link.restore();
      await says(daemon, /Scanned .*added=0 changed=0 moved=0 gone=0/);
      await output("diff", ["-r", "-x", ".musicfs", copy, daemon.mountpoint]);
      assert.equal(await daemon.stop(), 0, daemon.log);
    },
  );

  testWith(
    [...REMOTE_NEEDS[kind], "find"],
    `mount over ${kind} with a stale index becomes what the origin is`,
    async () => {
      await using dir = await tempDir(`published-stale-${kind}`);
      const copy = join(dir.path, "copy");
      await writeAlbums(copy);
      await using remote = await startRemote(kind, copy);
      await index(remote, copy);
      await output("rm", ["-r", ...[1, 2, 3, 4, 5, 6, 7].map((i) => join(copy, `Album ${i}`))]);
      await writeNoise(join(copy, "Album 8/1.flac"), { bytes: 77_777, seed: 1 });
      await writeNoise(join(copy, "Album 99/1.flac"), { bytes: 5_000, seed: 2 });
      if (kind === "s3") await replaceBucket(remote as Bucket, copy);
      await using daemon = await startDaemon({
        dir: dir.path,
        origins: [remote.url()],
        env: remote.env,
      });
      await says(daemon, /Scanned/);
      assert.match(daemon.log, /Took the names from the index/);
      await output("diff", ["-r", "-x", ".musicfs", copy, daemon.mountpoint]);
      assert.equal(await daemon.stop(), 0, daemon.log);
    },
  );

  testWith(
    [...REMOTE_NEEDS[kind]],
    `mount over ${kind} with an index stores true chunks from the first read in the middle of a file`,
    async () => {
      await using dir = await tempDir(`published-middle-${kind}`);
      const copy = join(dir.path, "copy");
      await writeNoise(join(copy, "song.flac"), { bytes: 8_000_000, seed: 3 });
      await using remote = await startRemote(kind, copy);
      await index(remote, copy);
      await using link = await startLink(remote.port);
      await using daemon = await startDaemon({
        dir: dir.path,
        origins: [remote.url(link.port)],
        env: remote.env,
      });
      await says(daemon, /Scanned/);
      const before = (await link.bytes()).down;
      using file = await Deno.open(join(daemon.mountpoint, "song.flac"));
      const wanted = new Uint8Array(4096);
      file.seekSync(4_000_000, Deno.SeekMode.Start);
      assert.equal(file.readSync(wanted), wanted.length);
      const bytes = await Deno.readFile(join(copy, "song.flac"));
      assert.deepEqual(wanted, bytes.subarray(4_000_000, 4_004_096));
      // The kernel asks for a little more than was read, which may lie in the next chunk.
      const down = (await link.bytes()).down - before;
      assert(down < 2 * CHUNK_BYTES_MAX + 64 * 1024, `${down} bytes came`);
      assert.equal(await output("find", [join(daemon.cacheDir, "extents"), "-type", "f"]), "");
      assert.notEqual(await output("find", [join(daemon.cacheDir, "chunks"), "-type", "f"]), "");
      assert.equal(await daemon.stop(), 0, daemon.log);
    },
  );

  const tracks = rounds({ ci: 20, long: 200 });
  testWith(
    [...REMOTE_NEEDS[kind]],
    `mount over ${kind} with an index fetches 1.5 chunks of each of ${tracks} tracks edited in place`,
    async () => {
      await using dir = await tempDir(`published-edits-${kind}`);
      const copy = join(dir.path, "copy");
      await Deno.mkdir(copy);
      const names = Array.from({ length: tracks }, (_, i) => `Track ${i}.flac`);
      let size = 0;
      for (const [i, name] of names.entries()) {
        const bytes = flacFile({ samples: 700_000, seed: i, tags: { TITLE: name } });
        size += bytes.length;
        await Deno.writeFile(join(copy, name), bytes);
      }
      await output("chmod", ["-R", "a+rX", dir.path]);
      await using remote = await startRemote(kind, copy);
      await index(remote, copy);
      await using link = await startLink(remote.port);
      const origins = [remote.url(link.port)];
      await using daemon = await startDaemon({ dir: dir.path, origins, env: remote.env });
      await output("diff", ["-r", "-x", ".musicfs", copy, daemon.mountpoint]);
      const mean = await meanChunkBytes(daemon);
      for (const [i, name] of names.entries()) await editInPlace(join(copy, name), i);
      if (kind === "s3") await (remote as Bucket).minio.putFolder("music", copy);
      await index(remote, copy);
      const scanned = await musicfs(["scan", "--cache-dir", daemon.cacheDir]);
      assert.equal(scanned.code, 0, scanned.stderr);
      const before = (await link.bytes()).down;
      await output("diff", ["-r", "-x", ".musicfs", copy, daemon.mountpoint]);
      const down = (await link.bytes()).down - before;
      const chunks = down / tracks / mean;
      const figures = `${Math.round(down / tracks)} bytes a file, ${chunks.toFixed(2)} chunks of ` +
        `${Math.round(mean)} bytes; ${(100 * (1 - down / size)).toFixed(1)} % saved`;
      tell(`${kind}: ${figures}`);
      assert(chunks <= 1.5, figures);
      assert(down < size / 10, figures);
      assert.equal(await daemon.stop(), 0, daemon.log);
    },
  );
}

/** Some albums of a few small tracks. */
async function writeAlbums(folder: string): Promise<void> {
  for (let i = 0; i < FOLDERS; i += 1) {
    for (let j = 0; j < 5; j += 1) {
      const path = join(folder, `Album ${i}/${j}.flac`);
      await writeNoise(path, { bytes: 20_000 + 7_919 * j, seed: 100 * i + j });
    }
  }
  await output("chmod", ["-R", "a+rX", folder]);
}

/** Makes the index where the music is: in the folder, or in the bucket. */
async function index(remote: Remote, folder: string): Promise<void> {
  const where = remote.kind === "s3" ? remote.url() : folder;
  const { code, stderr } = await musicfs(["index", where], { env: remote.env });
  assert.equal(code, 0, stderr);
}

/** Makes the bucket hold what the folder does, and its index. */
async function replaceBucket({ minio }: Bucket, folder: string): Promise<void> {
  const here = new Set(await filesIn(folder));
  for (const key of await minio.keys("music")) {
    if (!key.startsWith(".musicfs/") && !here.has(key)) await minio.remove("music", key);
  }
  await minio.putFolder("music", folder);
}

async function musicIn(folder: string): Promise<string[]> {
  return (await filesIn(folder)).filter((path) => !path.startsWith(".musicfs/"));
}

async function says(daemon: Daemon, pattern: RegExp): Promise<void> {
  await eventually(() => pattern.test(daemon.log), { ms: 60_000, what: `${pattern} in the log` });
}

/** Writes 100 other bytes in the middle of a file; its size stays, its time does not. */
async function editInPlace(path: string, seed: number): Promise<void> {
  const { size, mtime } = await Deno.stat(path);
  using file = await Deno.open(path, { write: true });
  // Somewhere in the middle half: edits at one place would all hit chunks of like size.
  file.seekSync(Math.floor(size / 4 + size / 2 * ((seed * 0.618) % 1)), Deno.SeekMode.Start);
  file.writeSync(Uint8Array.from({ length: 100 }, (_, i) => (seed + i * 7) & 0xff));
  const later = new Date((mtime?.getTime() ?? 0) + 60_000);
  await Deno.utime(path, later, later);
}

async function meanChunkBytes({ cacheDir }: Daemon): Promise<number> {
  const sizes = await output("find", [join(cacheDir, "chunks"), "-type", "f", "-printf", "%s\\n"]);
  const all = sizes.trim().split("\n").map(Number);
  return all.reduce((sum, bytes) => sum + bytes, 0) / all.length;
}

/** A figure for docs/performance.md. */
function tell(line: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`\n    ${line}\n`));
}
