/** Libraries for servers: what S3 can hold, too. */

import { join } from "node:path";
import { copyMusicLibrary } from "../support/music_library.ts";
import { output, shell } from "../support/process.ts";
import { REAL_MUSIC_DIR } from "../support/requirements.ts";
import { writeNoise } from "../support/sample_library.ts";
import { rounds } from "../support/scale.ts";

/** Real tracks that are taken besides the generated ones. */
const REAL_TRACKS = 6;

/** More tracks, so that `deno task test:long` has the 1,000. */
const NOISE_TRACKS = { ci: 40, long: 950 };

/**
 * Writes about 35 MB of generated and real tracks with odd names to `folder`: regular files in
 * folders that are not empty, which is all that a bucket can hold. Needs ffmpeg, flac and warzone.
 */
export async function writeRemoteLibrary(folder: string): Promise<void> {
  await copyMusicLibrary(folder);
  await shell(
    `find . -type l -delete
     find . -type d -empty -delete
     mkdir real && find ${REAL_MUSIC_DIR} -name '*.opus' | sort | head -n ${REAL_TRACKS} |
       xargs -d '\\n' cp -t real`,
    { cwd: folder },
  );
  const count = rounds(NOISE_TRACKS);
  for (let i = 0; i < count; i += 1) {
    const path = join(folder, `noise/Album ${Math.floor(i / 12)}/${i % 12}.flac`);
    await writeNoise(path, { bytes: 50_000 + (i * 7919) % 300_000, seed: i });
  }
}

/** Writes `count` files of `bytes` random bytes, in one folder; their names. */
export async function writeTracks(
  folder: string,
  { count, bytes }: { count: number; bytes: number },
): Promise<string[]> {
  await Deno.mkdir(folder, { recursive: true });
  const names = Array.from({ length: count }, (_, i) => `Track ${String(i).padStart(2, "0")}.flac`);
  for (const name of names) {
    const script = 'head -c "$0" /dev/urandom > "$1"';
    await output("bash", ["-c", script, `${bytes}`, join(folder, name)]);
  }
  await output("chmod", ["-R", "a+rX", folder]);
  return names;
}

/** Every file below `folder`, relative, sorted. */
export async function filesIn(folder: string): Promise<string[]> {
  const listed = await output("find", [folder, "-type", "f", "-printf", "%P\\0"]);
  return listed.split("\0").filter((path) => path !== "").sort();
}
