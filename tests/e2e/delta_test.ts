/** What is here already is not fetched again: real FLAC files behind a real mount, bytes counted. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type Daemon, musicfs, startDaemon } from "../support/daemon.ts";
import { output, shell } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { isLong, rounds } from "../support/scale.ts";
import { tempDir } from "../support/temp_dir.ts";

const NEEDS = ["fuse", "fusermount3", "flac", "diff"] as const;
const TRACKS = rounds({ ci: 20, long: 200 });
const KiB = 1024;

/** Seconds of a track; noise takes 172 KB a second, however it is compressed. */
const SECONDS = isLong() ? 20 : 8;

testWith(NEEDS, "FLAC files edited in place are fetched anew, every byte", async () => {
  await using dir = await tempDir("delta-edited");
  const origin = join(dir.path, "origin");
  const files = await makeAlbum(join(origin, "Album"), TRACKS);
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  await readsEqual(daemon, origin);
  let bytes = 0;
  for (const path of files) {
    const { size } = await Deno.stat(path);
    using file = await Deno.open(path, { read: true, write: true });
    await file.seek(Math.floor(size / 2), Deno.SeekMode.Start);
    await file.write(crypto.getRandomValues(new Uint8Array(100)));
    bytes += size;
  }
  const fetched = await fetchedBy(daemon, async () => {
    await scanned(daemon);
    await readsEqual(daemon, origin);
  });
  report("edited in place, without an index", { files: files.length, bytes, fetched });
  assert(fetched >= bytes, `${fetched} of ${bytes}`);
});

testWith(NEEDS, "FLAC files with longer tags cost their metadata and 160 KiB each", async () => {
  await using dir = await tempDir("delta-tags");
  const origin = join(dir.path, "origin");
  const files = await makeAlbum(join(origin, "Album"), TRACKS);
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
  await readsEqual(daemon, origin);
  await Deno.writeTextFile(join(dir.path, "words"), "word ".repeat(8_000));
  let allowed = 0;
  let bytes = 0;
  for (const path of files) {
    const before = await Deno.stat(path);
    await output("metaflac", [`--set-tag-from-file=LYRICS=${join(dir.path, "words")}`, path]);
    const { size } = await Deno.stat(path);
    assert(size > before.size, "the header did not grow");
    allowed += await metadataBytes(path) + 160 * KiB;
    bytes += size;
  }
  const fetched = await fetchedBy(daemon, async () => {
    await scanned(daemon);
    await readsEqual(daemon, origin);
  });
  report("retagged", { files: files.length, bytes, allowed, fetched });
  assert(fetched <= allowed, `${fetched} bytes were fetched, ${allowed} are allowed`);
});

testWith(
  NEEDS,
  "an album that is moved and renamed costs no audio, whoever is up meanwhile",
  async () => {
    await using dir = await tempDir("delta-moved");
    const origin = join(dir.path, "origin");
    const files = await makeAlbum(join(origin, "Album"), TRACKS);
    const isMetadata = await Promise.all(files.map(metadataBytes));
    const metadata = isMetadata.reduce((sum, each) => sum + each, 0);
    const mount = { dir: dir.path, origins: [origin] };
    const rename = async (from: string, to: string): Promise<void> => {
      await Deno.mkdir(join(origin, "Artist"), { recursive: true });
      await shell(`mv "${from}" "${to}" && cd "${to}" && for f in *; do mv "$f" "x$f"; done`, {
        cwd: origin,
      });
    };
    {
      await using daemon = await startDaemon(mount);
      await readsEqual(daemon, origin);
      const fetched = await fetchedBy(daemon, async () => {
        await rename("Album", "Artist/1999 Album");
        await scanned(daemon);
        await readsEqual(daemon, origin);
      });
      report("moved under a mount", { files: files.length, metadata, fetched });
      assert(fetched <= metadata, `${fetched} bytes were fetched, the metadata has ${metadata}`);
      await rename("Artist/1999 Album", "Artist/2000 Album");
      await scanned(daemon);
      assert.equal(await daemon.stop(), 0);
    }
    // The next mount, and the one after that, find it under no name that they know.
    for (let mounts = 0; mounts < 2; mounts += 1) {
      await using daemon = await startDaemon(mount);
      assert.equal(await daemon.stop(), 0);
    }
    await using daemon = await startDaemon(mount);
    const fetched = await fetchedBy(daemon, () => readsEqual(daemon, origin));
    report("moved before earlier mounts", { files: files.length, metadata, fetched });
    assert(fetched <= metadata, `${fetched} bytes were fetched, the metadata has ${metadata}`);
  },
);

testWith(NEEDS, "a daemon that dies while it takes a file over leaves nothing wrong", async (t) => {
  await using dir = await tempDir("delta-kill");
  const origin = join(dir.path, "origin");
  const [path = ""] = await makeAlbum(join(origin, "Album"), 1);
  const mount = { dir: dir.path, origins: [origin] };
  for (const [number, point] of ["after_put", "before_commit", "after_commit"].entries()) {
    await t.step(point, async () => {
      {
        await using daemon = await startDaemon(mount);
        await scanned(daemon);
        await readsEqual(daemon, origin);
      }
      await output("metaflac", [`--set-tag=COMMENT=${"x".repeat(9_000 * (number + 1))}`, path]);
      {
        const env = { MUSICFS_FAILPOINTS: `delta.${point}=kill` };
        await using daemon = await startDaemon({ ...mount, env });
        await scanned(daemon);
        const read = output("cat", [join(daemon.mountpoint, "Album/1 Track.flac")]);
        await assert.rejects(read);
        await daemon.exitCode();
      }
      await using daemon = await startDaemon(mount);
      const fetched = await fetchedBy(daemon, () => readsEqual(daemon, origin));
      const allowed = await metadataBytes(path) + 160 * KiB;
      assert(fetched <= allowed, `${fetched} bytes were fetched, ${allowed} are allowed`);
    });
  }
});

testWith(NEEDS, "names that went do not come back with an index that is made anew", async () => {
  await using dir = await tempDir("delta-rebuild");
  const origin = join(dir.path, "origin");
  const [first = "", second = ""] = await makeAlbum(join(origin, "Album"), 3);
  const mount = { dir: dir.path, origins: [origin] };
  {
    await using daemon = await startDaemon(mount);
    await readsEqual(daemon, origin);
    await Deno.remove(first);
    await Deno.rename(second, join(origin, "moved.flac"));
    await scanned(daemon);
  }
  {
    await using daemon = await startDaemon(mount);
    await output("cat", [join(daemon.mountpoint, "moved.flac")]);
  }
  await Deno.remove(join(dir.path, "cache/index"), { recursive: true });
  await Deno.rename(origin, `${origin}-away`);
  await using daemon = await startDaemon(mount);
  const names = await output("find", [daemon.mountpoint, "-type", "f", "-printf", "%P\n"]);
  assert.deepEqual(names.trim().split("\n").sort(), ["Album/3 Track.flac", "moved.flac"]);
});

/** Real FLAC files of noise, which differ; their paths. */
async function makeAlbum(folder: string, tracks: number): Promise<string[]> {
  await Deno.mkdir(folder, { recursive: true });
  const paths: string[] = [];
  for (let number = 1; number <= tracks; number += 1) {
    const path = join(folder, `${number} Track.flac`);
    const raw = "--force-raw-format --endian=little --sign=signed --channels=2 --bps=16 " +
      "--sample-rate=44100";
    await shell(
      `head -c ${SECONDS * 44_100 * 4} /dev/urandom | flac -s -0 ${raw} --padding=1024 ` +
        `-T "TITLE=Track ${number}" -T ALBUM=Noise -o "${path}" -`,
    );
    paths.push(path);
  }
  return paths;
}

/** Bytes before the first frame: mark, block headers and blocks. */
async function metadataBytes(path: string): Promise<number> {
  const lengths = await output("metaflac", ["--list", path]);
  const blocks = [...lengths.matchAll(/^ {2}length: (\d+)$/gm)].map(([, length]) => Number(length));
  return blocks.reduce((sum, length) => sum + 4 + length, 4);
}

async function readsEqual(daemon: Daemon, origin: string): Promise<void> {
  await output("diff", ["-r", origin, daemon.mountpoint]);
}

async function scanned(daemon: Daemon): Promise<void> {
  const { code, stderr } = await musicfs(["scan", "--cache-dir", daemon.cacheDir]);
  assert.equal(code, 0, stderr);
}

/** Bytes that origins gave while `action` ran. */
async function fetchedBy(daemon: Daemon, action: () => Promise<void>): Promise<number> {
  const before = await bytesRead(daemon);
  await action();
  return await bytesRead(daemon) - before;
}

async function bytesRead(daemon: Daemon): Promise<number> {
  const { code, stdout, stderr } = await musicfs([
    "status",
    "--json",
    "--cache-dir",
    daemon.cacheDir,
  ]);
  assert.equal(code, 0, stderr);
  const { origins }: { origins: { bytes_read: number }[] } = JSON.parse(stdout);
  return origins.reduce((sum, { bytes_read }) => sum + bytes_read, 0);
}

function report(what: string, figures: Record<string, number>): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${what}: ${JSON.stringify(figures)}\n`));
}
