import { dirname, join } from "node:path";
import { flacFile, noise } from "./flac_file.ts";

const ALBUMS = [
  { artist: "Ana Vidal", album: "Salt Roads", tracks: ["Harbour", "Low Water", "Lighthouse"] },
  { artist: "Ana Vidal", album: "Field Notes", tracks: ["Furrow", "Barn Owl"] },
  { artist: "The Öresund Trio", album: "Bron", tracks: ["Första", "Andra", "Tredje — live"] },
] as const;

const SECONDS = 4;
const SAMPLE_RATE = 44_100;

/**
 * Writes a small tagged library of true FLAC files, without any program: eight tracks of four
 * seconds, about 5.5 MiB. The same bytes each time.
 */
export async function writeSampleLibrary(folder: string): Promise<void> {
  let seed = 1;
  for (const { artist, album, tracks } of ALBUMS) {
    const into = join(folder, artist, album);
    await Deno.mkdir(into, { recursive: true });
    for (const [index, title] of tracks.entries()) {
      const number = String(index + 1).padStart(2, "0");
      const tags = { ARTIST: artist, ALBUM: album, TITLE: title, TRACKNUMBER: number };
      const bytes = flacFile({ samples: SECONDS * SAMPLE_RATE, seed: seed++, tags });
      await Deno.writeFile(join(into, `${number} ${title}.flac`), bytes);
    }
  }
}

/** Writes `bytes` random bytes, the same for the same seed; makes the folders it needs. */
export async function writeNoise(
  path: string,
  { bytes, seed }: { bytes: number; seed: number },
): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true });
  await Deno.writeFile(path, randomBytes(bytes, seed));
}

/** `length` random bytes, the same for the same seed. */
export function randomBytes(length: number, seed: number): Uint8Array<ArrayBuffer> {
  const random = noise(seed);
  const words = new Int32Array(Math.ceil(length / 4));
  for (let i = 0; i < words.length; i += 1) words[i] = random();
  return new Uint8Array(words.buffer, 0, length);
}
