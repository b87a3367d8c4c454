/**
 * `deno task test:damage`: a real daemon started on each of many damaged indexes, with its origin
 * gone. It must come up, play every cached track byte for byte, and end in order.
 */

import { join } from "node:path";
import { type Daemon, startDaemon } from "../support/daemon.ts";
import { indexDamages } from "../support/index_damage.ts";
import { eventually, output, run } from "../support/process.ts";
import { writeSampleLibrary } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";
import { campaignOptions, Faults, interruption, say, wholeNumber } from "./campaign.ts";

/** Names beside the cached tracks, so that the index has pages enough. */
const NAMES = 4_000;
const FOLDER_NAMES = 100;

export interface DamagedIndexReport {
  cases: number;
  /** Indexes that were found damaged, set aside and made again; the others' damage had no effect. */
  rebuilt: number;
  seconds: number;
  longestStartMs: number;
  faults: string[];
}

/** Tries `cases` damages, some side by side. */
export async function damagedIndexes(
  { cases, places, seed }: { cases: number; places: number; seed: number },
  signal: AbortSignal,
): Promise<DamagedIndexReport> {
  const began = performance.now();
  const faults = new Faults();
  await using dir = await tempDir("damaged-index");
  await cacheTracks(dir.path);
  const origin = join(dir.path, "origin");
  await Deno.rename(origin, `${origin}-away`);
  const damages = indexDamages(cases, seed).entries();
  let [rebuilt, done, longestStartMs] = [0, 0, 0];
  const work = async (): Promise<void> => {
    for (const [number, damage] of damages) {
      if (signal.aborted) return;
      const place = join(dir.path, `${number}`);
      try {
        const { isRebuilt, startMs } = await tryOne(dir.path, { place, ...damage });
        if (isRebuilt) rebuilt += 1;
        longestStartMs = Math.max(longestStartMs, startMs);
      } catch (error) {
        faults.add(`${number}, ${damage.name}: ${error instanceof Error ? error.message : error}`);
      }
      await output("rm", ["-rf", "--one-file-system", place]);
      done += 1;
      if (done % 16 === 0) {
        say(`${done} damaged indexes, ${rebuilt} rebuilt, ${faults.count} faults`);
      }
    }
  };
  await Promise.all(Array.from({ length: places }, work));
  const seconds = Math.round((performance.now() - began) / 1_000);
  return { cases: done, rebuilt, seconds, longestStartMs, faults: faults.lines };
}

/** A cache that holds a small library as a whole, and the names of a larger one. */
async function cacheTracks(dir: string): Promise<void> {
  const origin = join(dir, "origin");
  await writeSampleLibrary(origin);
  for (let i = 0; i < NAMES; i += FOLDER_NAMES) {
    const folder = join(origin, `names ${i}`);
    await Deno.mkdir(folder);
    const paths = Array.from({ length: FOLDER_NAMES }, (_none, at) => join(folder, `${at}.flac`));
    await output("touch", paths);
  }
  await using daemon = await startDaemon({ dir, origins: [origin] });
  await output("diff", ["-r", origin, daemon.mountpoint]);
  const stat = async (): Promise<boolean> => {
    const found = await output("find", [join(daemon.cacheDir, "extents"), "-type", "f"]);
    return found === "" && daemon.log.includes("Scanned");
  };
  await eventually(stat, { ms: 60_000, what: `all is in chunks:\n${daemon.log}` });
  const code = await daemon.stop();
  if (code !== 0) throw new Error(`The first daemon ended with ${code}:\n${daemon.log}`);
}

/** One damage; throws what is wrong with what came of it. */
async function tryOne(
  dir: string,
  { place, apply }: {
    place: string;
    apply: (file: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>;
  },
): Promise<{ isRebuilt: boolean; startMs: number }> {
  const cacheDir = join(place, "cache");
  await Deno.mkdir(place);
  await output("cp", ["-a", "--reflink=auto", join(dir, "cache"), cacheDir]);
  const path = join(cacheDir, "index", "data.mdb");
  await Deno.writeFile(path, apply(await Deno.readFile(path)));
  const began = performance.now();
  const away = `${join(dir, "origin")}-away`;
  await using daemon = await startDaemon({ dir: place, origins: [join(dir, "origin")] });
  const startMs = Math.round(performance.now() - began);
  await assertPlays(daemon, away);
  const code = await daemon.stop();
  if (code !== 0) throw new Error(`exit code ${code}:\n${daemon.log}`);
  return { isRebuilt: daemon.log.includes("was set aside"), startMs };
}

/** Every track that was cached, byte for byte. */
async function assertPlays(daemon: Daemon, away: string): Promise<void> {
  const found = await output("find", [away, "-type", "f", "-size", "+0", "-printf", "%P\\0"]);
  const tracks = found.split("\0").filter((name) => name !== "");
  if (tracks.length === 0) throw new Error("There is nothing to play");
  for (const track of tracks) {
    const { code, stdout, stderr } = await run("cmp", [
      join(away, track),
      join(daemon.mountpoint, track),
    ]);
    if (code !== 0) throw new Error(`${track}: ${stdout}${stderr}\n${daemon.log}`);
  }
}

async function main(): Promise<number> {
  const words = campaignOptions(Deno.args, { cases: "192", places: "2" });
  using interrupted = interruption();
  const report = await damagedIndexes({
    cases: wholeNumber(words.cases),
    places: wholeNumber(words.places),
    seed: words.seed,
  }, interrupted.signal);
  say(JSON.stringify(report, undefined, 2));
  return report.faults.length === 0 && report.cases === wholeNumber(words.cases) ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main());
