/**
 * The reference model: several processes do random things on the mount and on a plain copy, while
 * chunks are deleted and damaged and the cache is evicted underneath. The seed is the bug report:
 * `deno task test:long --seed N`.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { cProgram, namesForCompareReads } from "../support/c_program.ts";
import { type Daemon, musicfs, startDaemon } from "../support/daemon.ts";
import { noise } from "../support/flac_file.ts";
import { run } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise, writeSampleLibrary } from "../support/sample_library.ts";
import { Saboteur } from "../support/saboteur.ts";
import { rounds, seed } from "../support/scale.ts";
import { tempDir } from "../support/temp_dir.ts";

const READERS = 4;
const OPERATIONS = rounds({ ci: 12_000, long: 100_000 });

for (const maxSize of ["1G", "12M"]) {
  testWith(
    ["fuse", "fusermount3", "gcc", "find"],
    `0 wrong bytes in ${OPERATIONS} operations under sabotage, with --max-size ${maxSize}`,
    async () => {
      const start = seed();
      await using dir = await tempDir("model");
      const origin = join(dir.path, "origin");
      await writeTree(origin);
      const args = ["--cache", "on", "--max-size", maxSize];
      await using daemon = await startDaemon({ dir: dir.path, origins: [origin], args });
      const names = await namesForCompareReads(origin);
      const program = await cProgram("compare_reads");

      const readers = Promise.all(Array.from({ length: READERS }, async (_none, reader) => {
        const words = [daemon.mountpoint, origin, start + reader, OPERATIONS / READERS];
        return await run(program, words.map(String), { input: names, limitMs: 1_200_000 });
      }));
      const damages = await sabotageUntil(readers, { daemon, seed: start });

      for (const { code, stdout } of await readers) {
        assert.equal(code, 0, `seed ${start}: ${stdout || `ended by a signal, code ${code}`}`);
      }
      assert.ok(damages.total > 20, `only ${damages.total} times`);
      assert.ok(daemon.isRunning);
      assert.equal(await daemon.stop(), 0, daemon.log);
    },
  );
}

/** Sizes around block and chunk bounds, empty and large files, a folder of many. */
async function writeTree(origin: string): Promise<void> {
  await writeSampleLibrary(origin);
  const sizes = [0, 1, 4095, 4096, 4097, 16383, 16384, 65537, 262143, 262144, 262145, 5_000_000];
  for (const [i, bytes] of sizes.entries()) {
    await writeNoise(join(origin, "sizes", `${bytes}.bin`), { bytes, seed: i + 1 });
  }
  for (let i = 0; i < 300; i += 1) {
    await writeNoise(join(origin, "many", `track ${i}.bin`), { bytes: 100 + i * 37, seed: i });
  }
}

/** Damages the cache, and beside it runs `gc`, over and over, until the readers are done. */
async function sabotageUntil(
  readers: Promise<unknown>,
  { daemon, seed }: { daemon: Daemon; seed: number },
): Promise<Saboteur> {
  const saboteur = new Saboteur(daemon.cacheDir, noise(seed));
  let done = false;
  const end = readers.finally(() => (done = true)).catch(() => undefined);
  const striking = async (): Promise<void> => {
    while (!done) {
      await saboteur.strike();
      await Promise.race([end, new Promise((resolve) => setTimeout(resolve, 10))]);
    }
  };
  const evicting = async (): Promise<void> => {
    for (let turn = 0; !done; turn += 1) {
      const words = ["gc", "--cache-dir", daemon.cacheDir, "--max-size", `${4 + (turn % 3) * 4}M`];
      const { code, stderr } = await musicfs(words);
      assert.equal(code, 0, stderr);
    }
  };
  await Promise.all([striking(), evicting()]);
  return saboteur;
}
