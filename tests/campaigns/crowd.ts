/** Everybody who reads while the daemon is killed, and what they heard. */

import { join } from "node:path";
import { cProgram } from "../support/c_program.ts";
import { output, run } from "../support/process.ts";
import type { Faults } from "./campaign.ts";
import { Looped, TimedReader, type Timing } from "./clients.ts";
import type { Host } from "./host.ts";
import type { Stage } from "./stage.ts";
import { soundMd5, sumsOf, type Track, TRACK_BYTES_PER_SECOND } from "./tracks.ts";

/** Between two runs of a program that is run in a loop, in ms. */
const PAUSE_MS = 50;

/** Tracks that `sha256sum -c` runs over at once; half of them cold, if there are cold ones. */
const SUMS_TRACKS = 8;

/** A program is given this long, in ms: on a busy machine 27 MB from a bucket took over a minute. */
const PROGRAM_MS_MAX = 240_000;

const FAST = 20;

export interface CrowdReport {
  /** Times that each program ran to its end and said that all is right. */
  ffmpeg: number;
  sha256sum: number;
  player: Timing;
  fastReader: Timing;
  longestReadMs: number;
}

export interface Crowd extends AsyncDisposable {
  stop(): Promise<CrowdReport>;
}

/** Starts them all; faults are what any of them has to complain about. */
export async function startCrowd(
  stage: Stage,
  { seed, faults }: { seed: number; faults: Faults },
): Promise<Crowd> {
  const { host: { mountpoint, prefix }, copy, hot, cold } = stage;
  const programs = new Programs(stage.host, await cProgram("forget_pages"));
  const turn = turns(stage);
  const names = [...hot, ...cold].map(({ name }) => name);
  await using stack = new AsyncDisposableStack();
  const reader = async (speed: number): Promise<TimedReader> => {
    const bytesPerSecond = speed * TRACK_BYTES_PER_SECOND;
    const options = { prefix, mountpoint, copy, names, bytesPerSecond, seed: seed + speed };
    return stack.use(await TimedReader.start(options));
  };
  const player = await reader(1);
  const fastReader = await reader(FAST);
  const complain = (name: string) => (error: unknown) =>
    faults.add(`${name}: ${error instanceof Error ? error.message : error}`);
  const ffmpeg = new Looped("ffmpeg", {
    pauseMs: PAUSE_MS,
    onError: complain("ffmpeg"),
    once: async () => {
      const [track] = turn(1);
      if (track) await programs.decode(track);
    },
  });
  const sha256sum = new Looped("sha256sum", {
    pauseMs: PAUSE_MS,
    onError: complain("sha256sum"),
    once: () => programs.checkSums(turn(SUMS_TRACKS)),
  });
  const endLoops = async (): Promise<void> => {
    await Promise.all([ffmpeg.stop(), sha256sum.stop()]);
  };
  stack.defer(endLoops);
  const all = stack.move();
  return {
    stop: async (): Promise<CrowdReport> => {
      await endLoops();
      const heard = { player: await player.stop(), fastReader: await fastReader.stop() };
      for (const [name, { lines, ...timing }] of Object.entries(heard)) {
        for (const line of lines) faults.add(`${name}: ${line}`);
        if (timing.reads === 0) faults.add(`${name} has read nothing`);
      }
      const { player: { lines: _, ...ofPlayer }, fastReader: { lines: __, ...ofFast } } = heard;
      const longest = [ofPlayer, ofFast].flatMap((t) => [t.longestReadMs, t.longestOpenMs]);
      return {
        ffmpeg: ffmpeg.rounds,
        sha256sum: sha256sum.rounds,
        player: ofPlayer,
        fastReader: ofFast,
        longestReadMs: Math.max(...longest),
      };
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** Whose turn it is: hot tracks and cold ones by turns, each kind around its circle. */
function turns({ hot, cold }: Stage): (count: number) => Track[] {
  let next = 0;
  return (count) =>
    Array.from({ length: count }, () => {
      const turn = next++;
      const kind = cold.length > 0 && turn % 2 === 1 ? cold : hot;
      const at = cold.length > 0 ? turn >> 1 : turn;
      return kind[at % kind.length];
    }).filter((track) => track !== undefined);
}

/** Programs that read tracks through the mount. */
class Programs {
  readonly #host: Host;
  /** Path of `programs/forget_pages.c`. */
  readonly #forgetPages: string;

  constructor(host: Host, forgetPages: string) {
    this.#host = host;
    this.#forgetPages = forgetPages;
  }

  async decode(track: Track): Promise<void> {
    await this.#forget([track]);
    const md5 = await soundMd5(join(this.#host.mountpoint, track.name), this.#host.prefix);
    if (md5 !== track.soundMd5) throw new Error(`${track.name}: ${md5}, not ${track.soundMd5}`);
  }

  async checkSums(tracks: readonly Track[]): Promise<void> {
    await this.#forget(tracks);
    const { mountpoint, prefix } = this.#host;
    const [program = "", ...words] = [...prefix, "sha256sum", "--check", "--quiet", "-"];
    const { code, stdout, stderr } = await run(program, words, {
      input: sumsOf(mountpoint, tracks),
      limitMs: PROGRAM_MS_MAX,
    });
    if (code !== 0) throw new Error(`exit code ${code}: ${stdout} ${stderr}`);
  }

  async #forget(tracks: readonly Track[]): Promise<void> {
    const { mountpoint, prefix } = this.#host;
    const paths = tracks.map(({ name }) => join(mountpoint, name));
    const [program = "", ...words] = [...prefix, this.#forgetPages, ...paths];
    await output(program, words, { limitMs: PROGRAM_MS_MAX });
  }
}
