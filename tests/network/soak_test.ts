/** Faults at random, one after another, under readers whose cache is too small: nobody notices. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { startDaemon } from "../support/daemon.ts";
import { noise } from "../support/flac_file.ts";
import { type Link, startLink } from "../support/link_proxy.ts";
import { testWith } from "../support/requirements.ts";
import { rounds, seed } from "../support/scale.ts";
import { tempDir } from "../support/temp_dir.ts";
import { writeTracks } from "./library.ts";
import { readBeside, type Remote, REMOTE_KINDS, REMOTE_NEEDS, startRemote } from "./remote.ts";

const READERS = 6;
const TRACKS = 30;
const TRACK_BYTES = 1_500_000;

const FAULTS = rounds({ ci: 4, long: 120 });

/** Longest that a fault lasts, in ms; several in a row stay below the read time limit of 30 s. */
const FAULT_MS_MAX = 2_500;

/** Time between two faults, in which readers get on, in ms. */
const CALM_MS = 1_000;

interface Scene {
  remote: Remote;
  link: Link;
}

/** Each begins a fault, and gives what ends it. */
const FAULT_KINDS: readonly ((scene: Scene) => Promise<() => Promise<void>>)[] = [
  async ({ link }) => {
    await link.cut();
    return () => link.restore();
  },
  async ({ link }) => {
    await link.drop();
    return () => link.restore();
  },
  async ({ remote }) => {
    await remote.kill();
    return () => remote.start();
  },
  ({ remote }) => {
    remote.freeze();
    return Promise.resolve(() => Promise.resolve(remote.thaw()));
  },
];

for (const kind of REMOTE_KINDS) {
  testWith(
    REMOTE_NEEDS[kind],
    `${FAULTS} faults at random under ${READERS} readers over ${kind}: every byte right, no error`,
    async () => {
      const bits = noise(seed());
      const random = (): number => (bits() >>> 0) / 2 ** 32;
      await using dir = await tempDir(`soak-${kind}`);
      const copy = join(dir.path, "copy");
      const tracks = await writeTracks(copy, { count: TRACKS, bytes: TRACK_BYTES });
      await using remote = await startRemote(kind, copy);
      await using link = await startLink(remote.port, { delayMs: 3, mbit: 200 });
      await using daemon = await startDaemon({
        dir: dir.path,
        origins: [remote.url(link.port)],
        env: remote.env,
        args: ["--max-size", "16M"],
      });
      let isOver = false;
      let read = 0;
      const readOn = async (): Promise<void> => {
        while (!isOver) {
          const track = tracks[Math.floor(random() * tracks.length)] ?? "";
          const reading = await readBeside(join(daemon.mountpoint, track), join(copy, track));
          assert.equal(reading.code, 0, `${track}: ${reading.stderr}${daemon.log.slice(-4_000)}`);
          read += 1;
        }
      };
      const readers = Promise.all(Array.from({ length: READERS }, readOn));
      readers.catch(() => isOver = true);
      for (let i = 0; i < FAULTS && !isOver; i += 1) {
        await passes(CALM_MS);
        const begin = FAULT_KINDS[Math.floor(random() * FAULT_KINDS.length)];
        const end = await begin?.({ remote, link });
        await passes(random() * FAULT_MS_MAX);
        await end?.();
      }
      isOver = true;
      await readers;
      assert.ok(read > FAULTS, `${read} tracks were read`);
      assert.ok(!/unhandled|in a way nobody planned for/i.test(daemon.log), daemon.log);
      assert.equal(await daemon.stop(), 0, daemon.log);
    },
  );
}

/** A fault lasts, whatever else happens: this is no waiting for something. */
function passes(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
