/**
 * `deno task demo [FOLDER]`: mounts a folder of music (or a small one of its own), lists it and plays
 * it through; mounts it again and plays it again, its own library with the origin taken away; and
 * shows each time what came from the origin and what from the cache.
 */

import { join } from "node:path";
import { type Daemon, musicfs, startDaemon } from "../support/daemon.ts";
import { unmet } from "../support/requirements.ts";
import { writeSampleLibrary } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";

/** Names shown of a listing; a large library would hide the rest. */
const NAMES_MAX = 20;

/** Most of a given folder that is played, in bytes: the demo should end while one watches. */
const PLAYED_BYTES_MAX = 512 * 1024 * 1024;

const MIB = 1024 * 1024;

/** One file of the mount. */
interface Track {
  path: string;
  bytes: number;
}

if (import.meta.main) Deno.exit(await main());

async function main(): Promise<number> {
  const missing = unmet(Deno.uid() === 0 ? ["fuse"] : ["fuse", "fusermount3"]);
  if (missing.includes("fuse")) return fail("/dev/fuse is missing: load the fuse module.");
  if (missing.includes("fusermount3")) {
    return fail("fusermount3 is missing. Run as root, or: sudo apt-get install fuse3");
  }
  await using dir = await tempDir("demo");
  const given = Deno.args[0];
  const origin = await originFolder(dir.path, given);
  await mounted(dir.path, { origin, title: "First" });
  if (given === undefined) {
    await Deno.rename(origin, `${origin} (away)`);
    say(`\nThe origin is gone now: renamed away.\n`);
  }
  await mounted(dir.path, { origin, title: "Again" });
  return 0;
}

/** Mounts, lists, plays and unmounts. */
async function mounted(
  dir: string,
  { origin, title }: { origin: string; title: string },
): Promise<void> {
  await using daemon = await startDaemon({ dir, origins: [origin] });
  say(`${title}: ${origin}\n  mounted at ${daemon.mountpoint}, with --cache on\n\n`);
  const tracks = await listed(daemon.mountpoint);
  await played(daemon, tracks);
  say(`  unmounted, exit code ${await daemon.stop()}\n`);
}

async function originFolder(dir: string, given: string | undefined): Promise<string> {
  if (given !== undefined) return await Deno.realPath(given);
  const folder = join(dir, "origin");
  await writeSampleLibrary(folder);
  return folder;
}

/** Prints what a player sees; every file, in the order of names. */
async function listed(mountpoint: string): Promise<Track[]> {
  const tracks = (await Array.fromAsync(filesBelow(mountpoint)))
    .sort((a, b) => a.path < b.path ? -1 : 1);
  for (const { path, bytes } of tracks.slice(0, NAMES_MAX)) {
    const name = JSON.stringify(path.slice(mountpoint.length + 1)).slice(1, -1);
    say(`  ${String(bytes).padStart(11)}  ${name}\n`);
  }
  if (tracks.length > NAMES_MAX) say(`  … and ${tracks.length - NAMES_MAX} more\n`);
  return tracks;
}

async function* filesBelow(folder: string): AsyncGenerator<Track> {
  for await (const entry of Deno.readDir(folder)) {
    const path = join(folder, entry.name);
    if (entry.isDirectory) yield* filesBelow(path);
    if (entry.isFile) yield { path, bytes: (await Deno.stat(path)).size };
  }
}

/** Reads every byte, as a player does, and prints where they came from. */
async function played(daemon: Daemon, tracks: readonly Track[]): Promise<void> {
  const before = await reads(daemon);
  const start = performance.now();
  let bytes = 0;
  for (const { path } of tracks) {
    if (bytes >= PLAYED_BYTES_MAX) break;
    bytes += await playedThrough(path);
  }
  const seconds = (performance.now() - start) / 1000;
  const after = await reads(daemon);
  say(`\n  played ${mib(bytes)} in ${seconds.toFixed(2)} s\n`);
  say(`    from the origin ${mib(after.origin - before.origin)}\n`);
  say(`    from the cache  ${mib(after.cache - before.cache)}\n`);
}

/** Reads a file to its end; the bytes there were. */
async function playedThrough(path: string): Promise<number> {
  using file = await Deno.open(path);
  const buffer = new Uint8Array(MIB);
  let bytes = 0;
  for (let n = await file.read(buffer); n !== null; n = await file.read(buffer)) bytes += n;
  return bytes;
}

async function reads(daemon: Daemon): Promise<{ origin: number; cache: number }> {
  const { code, stdout, stderr } = await musicfs(["status", daemon.mountpoint, "--json"], {
    home: join(daemon.cacheDir, ".."),
  });
  if (code !== 0) throw new Error(`musicfs status: ${stderr}`);
  const { reads } = JSON.parse(stdout);
  return { origin: reads.from_origin_bytes, cache: reads.from_cache_bytes };
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(1).padStart(7)} MiB`;
}

function fail(text: string): number {
  Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
  return 1;
}

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}
