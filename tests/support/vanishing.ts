/** An origin that loses what it had: what a library must live through, wherever the origin is. */

import assert from "node:assert/strict";
import { musicfs, musicfsCommand, musicfsEnv, startDaemon } from "./daemon.ts";
import { treeInFolder, treeInIndex } from "./index_tree.ts";
import { type Finished, output, run } from "./process.ts";
import { writeNoise } from "./sample_library.ts";

const ALBUMS = 6;
const TRACKS = 4;
const TRACK_BYTES = 40_000;

/** How long a scan stands still until it is stopped, in ms. */
const PAUSE_MS = 1_000;

/**
 * What is to come of it: `held` until it is accepted, `confirmed` by a second scan, or `down`: the
 * origin is not well, and nothing at all is concluded.
 */
export type Outcome = "held" | "confirmed" | "down";

/** One loss. */
export interface Vanishing {
  /** The test's own folder. */
  dir: string;
  /** The origin's URL, and what it takes to reach it. */
  origin: string;
  env?: Record<string, string>;
  /** A folder with what the origin had. */
  copy: string;
  vanish: () => Promise<void>;
  outcome: Outcome;
  /** Whether it happens under a scan, and not before it. */
  isDuring?: boolean;
}

/** Writes 24 tracks in 6 albums, more than may go without a question. */
export async function writeAlbums(folder: string, firstSeed = 0): Promise<void> {
  for (let i = 0; i < ALBUMS * TRACKS; i += 1) {
    const path = `${folder}/Album ${Math.floor(i / TRACKS)}/${i % TRACKS}.flac`;
    await writeNoise(path, { bytes: TRACK_BYTES + i, seed: firstSeed + i });
  }
  await output("chmod", ["-R", "a+rX", folder]);
}

/** Half of the albums and one more: as many as are held until a second scan agrees. */
export function mostAlbums(): string[] {
  return Array.from({ length: ALBUMS / 2 + 1 }, (_none, i) => `Album ${i}`);
}

/**
 * Mounts the origin, reads all of it, lets it vanish, and scans: names stay and cached files are
 * read. Then what is held goes when the user says so, or when a second scan agrees.
 */
export async function assertSurvives(loss: Vanishing): Promise<void> {
  const { dir, copy, outcome, vanish } = loss;
  const cache = `${dir}/cache`;
  await cacheAll(loss);
  const before = namesOf(await treeInIndex(cache));
  assert.equal(before.length, ALBUMS * (TRACKS + 1));

  const codeUnder = loss.isDuring ? await scanUnder(loss) : undefined;
  if (codeUnder === undefined) {
    await vanish();
    assertUnwell(await scan(loss), outcome);
  }
  await assertHasAll(cache, before);
  if (outcome === "confirmed") {
    // It may have seen everything before that was gone.
    if (codeUnder === 0) assertUnwell(await scan(loss), outcome);
    await assertHasAll(cache, before);
    assert.equal((await scan(loss)).code, 0, "a second scan that agrees");
    const left = before.filter((path) => !mostAlbums().includes(path.split("/")[0] ?? ""));
    assert.deepEqual(namesOf(await treeInIndex(cache)), left);
    return;
  }
  for (let i = 0; i < 2; i += 1) assertUnwell(await scan(loss), outcome);
  await assertHasAll(cache, before);
  await assertPlays(loss);
  await assertHasAll(cache, before);

  const accepted = await scan(loss, "--accept-deletions");
  if (outcome === "down") {
    assert.equal(accepted.code, 1, "nobody can say what an origin has that is down");
    return await assertHasAll(cache, before);
  }
  assert.equal(accepted.code, 0, accepted.stderr);
  const now = namesOf(await treeInIndex(cache));
  assert.deepEqual(now.filter((path) => before.includes(path)), []);
  const { length: files } = (await treeInFolder(copy)).filter((line) => line.startsWith("file"));
  assert.match(accepted.stdout, new RegExp(`\\b${files} gone\\b`));
}

/** Reads every file through a mount, so that all of it is cached. */
async function cacheAll({ dir, origin, env = {}, copy }: Vanishing): Promise<void> {
  await using daemon = await startDaemon({ dir, origins: [origin], env });
  await output("diff", ["-r", copy, daemon.mountpoint]);
  const scanned = await musicfs(["scan", "--cache-dir", daemon.cacheDir]);
  assert.equal(scanned.code, 0, scanned.stderr);
  assert.equal(await daemon.stop(), 0, daemon.log);
}

/** A process of its own, which has never seen the origin well. */
async function scan(
  { dir, origin, env = {} }: Vanishing,
  ...words: string[]
): Promise<Finished> {
  return await musicfs(["scan", "--origin", origin, "--cache-dir", `${dir}/cache`, ...words], {
    env,
  });
}

/** Scans, and lets the origin vanish when the root has been listed; the exit code. */
async function scanUnder({ dir, origin, env = {}, vanish }: Vanishing): Promise<number> {
  const [program, ...words] = musicfsCommand();
  words.push("scan", "--origin", origin, "--cache-dir", `${dir}/cache`);
  const failpoints = `scan.after_listing=1*print->1*sleep(${PAUSE_MS})`;
  const child = new Deno.Command(program, {
    args: words,
    clearEnv: true,
    env: { ...musicfsEnv("/nonexistent"), ...env, MUSICFS_FAILPOINTS: failpoints },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  let stderr = "";
  let done: Promise<void> | undefined;
  for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
    stderr += text;
    if (done || !stderr.includes("scan.after_listing reached")) continue;
    child.kill("SIGSTOP");
    done = vanish().finally(() => child.kill("SIGCONT"));
    done.catch(() => {/* Awaited below. */});
  }
  const { code } = await child.status;
  assert(done, `the scan never came so far:\n${stderr}`);
  await done;
  return code;
}

function assertUnwell({ code, stderr }: Finished, outcome: Outcome): void {
  assert.equal(code, 1, "a scan that is held or has failed is no success");
  assert.equal(/--accept-deletions/.test(stderr), outcome !== "down", stderr);
}

async function assertHasAll(cache: string, names: readonly string[]): Promise<void> {
  const now = new Set(namesOf(await treeInIndex(cache)));
  assert.deepEqual(names.filter((name) => !now.has(name)), [], "lost");
}

/** Every file, read through a new mount, is what it was. */
async function assertPlays({ dir, origin, env = {}, copy }: Vanishing): Promise<void> {
  await using daemon = await startDaemon({ dir, origins: [origin], env });
  for (const path of namesOf(await treeInFolder(copy))) {
    if (!path.includes("/")) continue;
    const { code, stderr } = await run("cmp", [`${copy}/${path}`, `${daemon.mountpoint}/${path}`]);
    assert.equal(code, 0, `${path}: ${stderr}\n${daemon.log}`);
  }
  assert.equal(await daemon.stop(), 0, daemon.log);
}

/** The paths of a tree's lines. */
function namesOf(lines: readonly string[]): string[] {
  return lines.map((line) => line.split(" ").slice(3).join(" ")).sort();
}
