/** FLAC tracks, with the sums of their bytes and of their sound. */

import { createHash } from "node:crypto";
import { join } from "node:path";
import { flacFile } from "../support/flac_file.ts";
import { output } from "../support/process.ts";

const SAMPLE_RATE = 44_100;

/** About what a second of such a track takes, in bytes: noise is not compressed. */
export const TRACK_BYTES_PER_SECOND = SAMPLE_RATE * 4;

export interface Track {
  /** Below the folder. */
  name: string;
  sha256: string;
  /** What `ffmpeg -f md5` says of its sound. */
  soundMd5: string;
}

/** Writes `count` tracks of noise to a folder, no two alike. Needs ffmpeg. */
export async function writeTracks(
  folder: string,
  { count, seconds, seed }: { count: number; seconds: number; seed: number },
): Promise<Track[]> {
  await Deno.mkdir(folder, { recursive: true });
  const tracks: Track[] = [];
  for (let i = 0; i < count; i += 1) {
    const name = `${String(i).padStart(2, "0")}.flac`;
    const tags = { ARTIST: "Noise", ALBUM: `${seed}`, TITLE: `${i}` };
    const bytes = flacFile({ samples: seconds * SAMPLE_RATE, seed: seed * 1_000 + i, tags });
    await Deno.writeFile(join(folder, name), bytes);
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    tracks.push({ name, sha256, soundMd5: await soundMd5(join(folder, name)) });
  }
  return tracks;
}

/** Decodes a file to its end; fails for anything that ffmpeg has to say about it. */
export async function soundMd5(path: string, prefix: readonly string[] = []): Promise<string> {
  const [program = "", ...words] = [...prefix, "ffmpeg", "-nostdin", "-v", "error", "-xerror"];
  return (await output(program, [...words, "-i", path, "-f", "md5", "-"])).trim();
}

/** Lines for `sha256sum -c`, with whole paths: a reader's working folder would keep a mount busy. */
export function sumsOf(mountpoint: string, tracks: readonly Track[]): string {
  return tracks.map(({ name, sha256 }) => `${sha256}  ${join(mountpoint, name)}\n`).join("");
}
