/** A library of real music files with every odd name and shape, made with ffmpeg and flac. */

import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { output, run } from "./process.ts";
import { writeNoise } from "./sample_library.ts";

/** One track: its path and the words that ffmpeg gets after its input. */
interface Track {
  path: string;
  seconds: number;
  encoder: readonly string[];
  title: string;
}

const FLAC = ["-c:a", "flac"];
const MP3 = ["-c:a", "libmp3lame", "-b:a", "192k", "-id3v2_version", "3", "-write_id3v1", "1"];
const OGG = ["-c:a", "libvorbis", "-q:a", "5"];
const OPUS = ["-c:a", "libopus", "-b:a", "128k"];
const M4A = ["-c:a", "aac", "-b:a", "192k"];
const M4A_FAST = [...M4A, "-movflags", "+faststart"];

const LONGEST_NAME = `${"ü".repeat(125)}.flac`; // 255 bytes

const TRACKS: readonly Track[] = [
  { path: "Artist/Album/01 Noise.flac", seconds: 30, encoder: FLAC, title: "Noise" },
  { path: "Artist/Album/02 Two.mp3", seconds: 20, encoder: MP3, title: "Two" },
  { path: "Artist/Album/03 Three.ogg", seconds: 20, encoder: OGG, title: "Three" },
  { path: "Artist/Album/04 Four.opus", seconds: 20, encoder: OPUS, title: "Four" },
  { path: "Artist/Album/05 Five.m4a", seconds: 20, encoder: M4A, title: "Five" },
  { path: "Artist/Album/06 Six.m4a", seconds: 20, encoder: M4A_FAST, title: "moov first" },
  { path: "odd/new\nline.flac", seconds: 2, encoder: FLAC, title: "new\nline" },
  { path: "odd/tab\there.mp3", seconds: 2, encoder: MP3, title: "tab" },
  { path: "odd/🎵 emoji 👩‍🎤.opus", seconds: 2, encoder: OPUS, title: "🎵" },
  { path: `odd/"quotes" and 'more'.ogg`, seconds: 2, encoder: OGG, title: `"` },
  { path: "odd/-leading dash.m4a", seconds: 2, encoder: M4A, title: "-" },
  { path: "odd/back\\slash.mp3", seconds: 2, encoder: MP3, title: "\\" },
  { path: "odd/percent%20and%00.mp3", seconds: 2, encoder: MP3, title: "%" },
  { path: "odd/star * question ? [x].flac", seconds: 2, encoder: FLAC, title: "*" },
  { path: "odd/ leading and trailing space .mp3", seconds: 2, encoder: MP3, title: " " },
  { path: "odd/日本語/العربية.opus", seconds: 2, encoder: OPUS, title: "日本語" },
  { path: "odd/\u00e9 precomposed.ogg", seconds: 2, encoder: OGG, title: "NFC" },
  { path: "odd/e\u0301 precomposed.ogg", seconds: 2, encoder: OGG, title: "NFD" },
  { path: "odd/Case.mp3", seconds: 2, encoder: MP3, title: "Case" },
  { path: "odd/case.mp3", seconds: 2, encoder: MP3, title: "case" },
  { path: "odd/.hidden.flac", seconds: 2, encoder: FLAC, title: "hidden" },
  { path: "odd/...mp3", seconds: 2, encoder: MP3, title: "dots" },
  { path: `odd/${LONGEST_NAME}`, seconds: 2, encoder: FLAC, title: "255 bytes" },
  { path: `${"deep/".repeat(40)}track.flac`, seconds: 2, encoder: FLAC, title: "deep" },
];

/** Sizes around every block, request and chunk bound. */
const SIZES = [1, 4095, 4096, 4097, 16383, 16384, 16385, 65536, 131071, 262143, 262144, 262145];

/** Changes whenever what is made below does. */
const RECIPE = JSON.stringify([TRACKS, SIZES, "recipe 4"]);

/**
 * Copies the library to `folder`, which must not exist; makes it first if this machine has none.
 *
 * About 20 MiB: tagged FLAC, MP3, Ogg Vorbis, Opus and M4A; odd, long and deep names; empty files
 * and folders; sizes around block bounds; a sparse file; hard links; symlinks that stay inside.
 * Needs ffmpeg and flac.
 */
export async function copyMusicLibrary(folder: string): Promise<void> {
  await output("cp", ["-a", "--", await cachedLibrary(), folder]);
}

/** Every music file of the library, relative to its root. */
export const MUSIC_FILES: readonly string[] = [
  ...TRACKS.map((track) => track.path),
  "Artist/Album/07 Seven.flac",
];

async function cachedLibrary(): Promise<string> {
  const digest = createHash("sha256").update(RECIPE).digest("hex").slice(0, 16);
  const path = join(Deno.env.get("TMPDIR") ?? "/tmp", `musicfs-library-${Deno.uid()}-${digest}`);
  if (await isFolder(path)) return path;
  const unfinished = await Deno.makeTempDir({ prefix: "musicfs-library-unfinished-" });
  await makeLibrary(unfinished);
  await Deno.chmod(unfinished, 0o755);
  try {
    await Deno.rename(unfinished, path);
  } catch (error) {
    // Another process was quicker; its library is the same.
    if (!(await isFolder(path))) throw error;
    await Deno.remove(unfinished, { recursive: true });
  }
  return path;
}

async function makeLibrary(root: string): Promise<void> {
  for (const [seed, track] of TRACKS.entries()) await encode(join(root, track.path), track, seed);
  await encodeWithFlac(join(root, "Artist/Album/07 Seven.flac"), root);
  for (const bytes of SIZES) {
    await writeNoise(join(root, `sizes/${bytes}.bin`), { bytes, seed: bytes });
  }
  await Deno.writeFile(join(root, "empty.mp3"), new Uint8Array());
  await Deno.mkdir(join(root, "empty folder/inside"), { recursive: true });
  await output("truncate", ["-s", "1500000", join(root, "sizes/sparse.bin")]);
  await Deno.link(join(root, "sizes/262145.bin"), join(root, "sizes/hard link.bin"));
  await Deno.symlink("Album", join(root, "Artist/Same Album"));
  await Deno.symlink("../Artist/Album/02 Two.mp3", join(root, "odd/link to two.mp3"));
  await output("chmod", ["-R", "a+rX", root]);
}

async function encode(path: string, track: Track, seed: number): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true });
  const input = `anoisesrc=d=${track.seconds}:c=pink:r=44100:seed=${seed}:a=0.4`;
  // Through a plain name: ffmpeg takes a colon or a dash at the start for something else.
  const plain = await Deno.makeTempFile({ suffix: path.slice(path.lastIndexOf(".")) });
  await output("ffmpeg", [
    ...["-hide_banner", "-loglevel", "error", "-y"],
    ...["-f", "lavfi", "-i", input, "-ac", "2"],
    ...["-metadata", `title=${track.title}`, "-metadata", "artist=Artist"],
    ...["-metadata", "album=Album", "-bitexact"],
    ...track.encoder,
    plain,
  ]);
  await output("mv", ["--", plain, path]);
}

/** FLAC's own encoder writes a seek table and padding, which ffmpeg does not. */
async function encodeWithFlac(path: string, root: string): Promise<void> {
  const wav = join(root, "input.wav");
  const input = "anoisesrc=d=20:c=brown:r=48000:seed=99";
  await output("ffmpeg", ["-loglevel", "error", "-f", "lavfi", "-i", input, wav]);
  await output("flac", ["--silent", "-8", "--tag=TITLE=Seven", "-o", path, wav]);
  await Deno.remove(wav);
}

async function isFolder(path: string): Promise<boolean> {
  return (await run("test", ["-d", path])).code === 0;
}
