/** Programs that use a mount as music programs do: a tag scan, and a player at the speed of music. */

import { cProgram } from "./c_program.ts";
import { output, within } from "./process.ts";

/** What `programs/tag_scan.c` measured. */
export interface TagScan {
  files: number;
  /** Files that could not be read in full. */
  errors: number;
  wallMs: number;
  medianMs: number;
  longestMs: number;
}

/** Reads head (64 KiB) and tail (128 KiB) of every file below `folder`. Needs gcc. */
export async function tagScan(
  folder: string,
  options: { threads?: number; headBytes?: number; tailBytes?: number; limitMs?: number } = {},
): Promise<TagScan> {
  const { threads = 4, headBytes = 65_536, tailBytes = 131_072, limitMs = 600_000 } = options;
  const words = [folder, `${threads}`, `${headBytes}`, `${tailBytes}`];
  return JSON.parse(await output(await cProgram("tag_scan"), words, { limitMs }));
}

/** What `programs/player.c` heard. */
export interface Played {
  /** Times the buffer ran empty after sound had started. */
  stalls: number;
  stalledMs: number;
  /** When the last stall began, from the first sound on; 0 for none. */
  lastStallMs: number;
  /** From `open` to sound. */
  startMs: number;
  playedBytes: number;
  lowestBufferBytes: number;
  /** Of the read that failed, or 0. */
  errno: number;
  /** Whether a byte was not the copy's. */
  differs: boolean;
}

export interface PlayOptions {
  bytesPerSecond: number;
  bufferSeconds: number;
  /** Seconds of music to play; default all. */
  seconds?: number;
  /** A file to compare every byte with. */
  copy?: string;
}

/** Ten million bits a second: more than any lossless track of CD quality. */
export const MUSIC_BYTES_PER_SECOND = 1_250_000;

/** A player that has begun: `playing` resolves when its buffer is full, `ended` with what it heard. */
export interface Player extends AsyncDisposable {
  readonly playing: Promise<void>;
  readonly ended: Promise<Played>;
}

/** Starts to play a file. Needs gcc. */
export async function play(file: string, options: PlayOptions): Promise<Player> {
  const { bytesPerSecond, bufferSeconds, seconds = 1e9, copy } = options;
  const words = [file, `${bytesPerSecond}`, `${bufferSeconds}`, `${seconds}`];
  const child = new Deno.Command(await cProgram("player"), {
    args: copy === undefined ? words : [...words, copy],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const playing = Promise.withResolvers<void>();
  const read = async (): Promise<Played> => {
    let text = "";
    for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) {
      text += part;
      if (text.startsWith("playing\n")) playing.resolve();
    }
    const { code } = await child.status;
    playing.reject(new Error(`The player of ${file} ended with ${code}`));
    return JSON.parse(text.slice("playing\n".length));
  };
  const ended = read();
  // Whoever is interested awaits them; a player that is killed by its scope tells nobody.
  playing.promise.catch(() => {});
  ended.catch(() => {});
  return {
    playing: playing.promise,
    ended,
    async [Symbol.asyncDispose](): Promise<void> {
      const gone = within(child.status, { ms: 1, what: "end of the player" });
      await gone.catch(() => child.kill("SIGKILL"));
      await child.status;
      await ended.catch(() => {});
    },
  };
}
