/** The files that are read. */

import { join } from "node:path";
import { output } from "../support/process.ts";

/** A fresh folder in `parent`, removed at the end of its scope. */
export async function tempDirIn(parent: string): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir({ dir: parent, prefix: "musicfs-bench-" });
  return {
    path,
    // Not into other filesystems: what is left mounted there is an error, not a deletion. Again
    // if a program of a run that was broken off still wrote into it.
    async [Symbol.asyncDispose](): Promise<void> {
      const remove = `for i in 1 2 3 4 5; do rm -rf --one-file-system -- "$0" && exit; sleep 1; done
        exit 1`;
      await output("bash", ["-c", remove, path], { limitMs: 600_000 });
    },
  };
}

/** Writes `mebibytes` of random bytes: nothing in them is the same twice, so every chunk is stored. */
export async function writeRandom(path: string, mebibytes: number): Promise<void> {
  const command = `head -c ${mebibytes}M /dev/urandom > "$0"`;
  await output("bash", ["-c", command, path]);
}

const LETTERS = 10;
const ALBUMS = 10;
const TRACKS = 20;

/** The least that `writeTree` makes, and what it makes a multiple of. */
export const TREE_FILES_STEP = LETTERS * ALBUMS * TRACKS;

/** A folder two levels below the root of every tree, for the first `ls`. */
export const TREE_ALBUM = "C/Artist 0/Album 4";

/**
 * Makes a tree of `files` empty tracks: letter, artist, album, track. The root has ten folders
 * however many files there are, so that a listing of it costs the same.
 */
export function writeTree(root: string, files: number): void {
  const artists = files / TREE_FILES_STEP;
  for (let letter = 0; letter < LETTERS; letter += 1) {
    for (let artist = 0; artist < artists; artist += 1) {
      for (let album = 0; album < ALBUMS; album += 1) {
        const letterName = String.fromCharCode(0x41 + letter);
        const folder = join(root, letterName, `Artist ${artist}`, `Album ${album}`);
        Deno.mkdirSync(folder, { recursive: true });
        for (let track = 0; track < TRACKS; track += 1) {
          const name = `${String(track + 1).padStart(2, "0")} Track.flac`;
          Deno.openSync(`${folder}/${name}`, { write: true, create: true }).close();
        }
      }
    }
  }
}
