/** Music at its own speed, over a far link that goes away for a while: nobody hears it. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { startDaemon } from "../support/daemon.ts";
import { startLink } from "../support/link_proxy.ts";
import { MUSIC_BYTES_PER_SECOND, play } from "../support/listening.ts";
import { eventually } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { rounds } from "../support/scale.ts";
import { tempDir } from "../support/temp_dir.ts";
import { writeTracks } from "./library.ts";
import { REMOTE_KINDS, REMOTE_NEEDS, startRemote } from "./remote.ts";

/** 300 ms there and back, and up to 50 ms more. */
const LINK = { delayMs: 150, jitterMs: 25, mbit: 40 };

const OUTAGE_S = rounds({ ci: 4, long: 20 });

/**
 * What has come beyond the outage when it begins: for what has come of pieces that are not whole, and
 * for the round trips of a new connection after an outage that ends the old one.
 */
const SPARE_S = rounds({ ci: 5, long: 9 });

/** Long enough that most of what is played comes after the outage. */
const PLAY_S = rounds({ ci: 15, long: 60 });

/** The player's own buffer, in s: little, so that it is musicfs that buffers. */
const PLAYER_BUFFER_S = 1;

for (const kind of REMOTE_KINDS) {
  testWith(
    [...REMOTE_NEEDS[kind], "gcc"],
    `a player over ${kind} hears nothing of ${OUTAGE_S} s without a link`,
    async () => {
      await using dir = await tempDir(`player-${kind}`);
      const copy = join(dir.path, "copy");
      const bytes = (PLAY_S + 10) * MUSIC_BYTES_PER_SECOND;
      const [track = ""] = await writeTracks(copy, { count: 1, bytes });
      await using remote = await startRemote(kind, copy);
      await using link = await startLink(remote.port, LINK);
      await using daemon = await startDaemon({
        dir: dir.path,
        origins: [remote.url(link.port)],
        env: remote.env,
      });
      const before = (await link.bytes()).down;
      await using player = await play(join(daemon.mountpoint, track), {
        bytesPerSecond: MUSIC_BYTES_PER_SECOND,
        bufferSeconds: PLAYER_BUFFER_S,
        seconds: PLAY_S,
        copy: join(copy, track),
      });
      await player.playing;
      const started = performance.now();
      const fetched = async (): Promise<number> => (await link.bytes()).down - before;
      const playedBytes = (): number =>
        (performance.now() - started) / 1000 * MUSIC_BYTES_PER_SECOND;
      await eventually(async () => {
        const ahead = await fetched() - playedBytes();
        return ahead > (OUTAGE_S + SPARE_S) * MUSIC_BYTES_PER_SECOND;
      }, { ms: PLAY_S * 500, what: `${OUTAGE_S + SPARE_S} s of music ahead of the player` });
      const cutMs = performance.now() - started;
      await link.cut();
      const atCut = await fetched();
      assert.ok(atCut < PLAY_S * MUSIC_BYTES_PER_SECOND, "the outage would come too late");
      await new Promise((resolve) => setTimeout(resolve, OUTAGE_S * 1000));
      await link.restore();
      const { stalls, stalledMs, lastStallMs, errno, differs } = await player.ended;
      assert.deepEqual({ stalls, stalledMs, errno, differs }, {
        stalls: 0,
        stalledMs: 0,
        errno: 0,
        differs: false,
      }, `cut at ${cutMs}, last stall at ${lastStallMs} ms\n${daemon.log.slice(-2_000)}`);
    },
  );
}
