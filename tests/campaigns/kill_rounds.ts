/**
 * `deno task campaign:kill-rounds`: daemons killed at random points while they are read from, scan,
 * evict and write to their cache, at a random time or at a failpoint of the code; the next one must
 * serve right bytes without any help.
 *
 * Several places die side by side, each in a folder of its own.
 */

import { randomNumbers } from "../support/churn.ts";
import { tempDir } from "../support/temp_dir.ts";
import { campaignOptions, Faults, interruption, load, say, wholeNumber } from "./campaign.ts";
import { KillPlace, noRounds, type RoundCounts } from "./kill_round.ts";
import { errorsIn, leftIn } from "./leaks.ts";

/** Rounds in a row with, and then without, a supervising parent. */
const ROUNDS_IN_A_ROW = 8;

/** Between two lines on how far it is, in rounds. */
const SAY_EVERY = 50;

export interface KillRoundsOptions {
  rounds: number;
  /** Places side by side. */
  places: number;
  /** Whether some rounds have a supervising parent. */
  isMixed: boolean;
  seed: number;
}

export interface KillRoundsReport extends Omit<RoundCounts, "restartMs"> {
  rounds: number;
  restartMs: { median: number; longest: number };
  faults: number;
  seconds: number;
  /** Of the machine, before and after. */
  load: readonly [before: number, after: number];
}

/** Runs the campaign; what it found. Leaves nothing behind, also when it fails. */
export async function killRounds(
  options: KillRoundsOptions,
  signal: AbortSignal,
): Promise<KillRoundsReport> {
  const faults = new Faults();
  const counts = noRounds();
  const began = performance.now();
  const before = load();
  let done = 0;
  await using dir = await tempDir("campaign-kill-rounds");
  const die = async (number: number): Promise<void> => {
    const random = randomNumbers(options.seed + number);
    const place = await KillPlace.make({ dir: `${dir.path}/${number}`, random, faults, counts });
    await using _place = place;
    for (let round = 0; done < options.rounds && !signal.aborted; round += 1) {
      done += 1;
      if (done % SAY_EVERY === 0) say(`${done} rounds, ${faults.count} faults`);
      const isSupervised = options.isMixed &&
        Math.floor(round / ROUNDS_IN_A_ROW) % 2 === number % 2;
      try {
        await place.round(isSupervised);
      } catch (error) {
        faults.add(`place ${number}, round ${round}: ${error}`);
        break;
      }
    }
    await place.stop();
    for (const line of errorsIn(place.logFile)) {
      // Failpoints are told of where requests fail.
      if (!line.includes("Failpoint ")) faults.add(line);
    }
  };
  await Promise.all(Array.from({ length: options.places }, (_none, i) => die(i)));
  for (const line of await leftIn(dir.path)) faults.add(line);
  const times = counts.restartMs.toSorted((a, b) => a - b).map(Math.round);
  return {
    rounds: done,
    ...counts,
    restartMs: { median: times[times.length >> 1] ?? 0, longest: times.at(-1) ?? 0 },
    faults: faults.count,
    seconds: Math.round((performance.now() - began) / 1_000),
    load: [before, load()],
  };
}

async function main(): Promise<number> {
  const words = campaignOptions(Deno.args, { rounds: "1000", places: "2", supervised: "some" });
  using interrupted = interruption();
  const report = await killRounds({
    rounds: wholeNumber(words.rounds),
    places: wholeNumber(words.places),
    isMixed: words.supervised !== "none",
    seed: words.seed,
  }, interrupted.signal);
  say(JSON.stringify(report, undefined, 2));
  return report.faults === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main());
