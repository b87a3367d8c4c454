/** The campaigns, short: that they run, and that nothing is found in a few seconds (docs/reliability.md). */

import assert from "node:assert/strict";
import { kill9 } from "../campaigns/kill9.ts";
import { killRounds } from "../campaigns/kill_rounds.ts";
import { soak } from "../campaigns/soak.ts";
import { testWith } from "../support/requirements.ts";
import { seed } from "../support/scale.ts";

/** Nobody interrupts a test. */
const NEVER = new AbortController().signal;

testWith(
  ["root", "fuse", "ffmpeg", "gcc"],
  "kill9: ffmpeg, sha256sum and players notice nothing of six deaths, an upgrade and a lost parent",
  async () => {
    const report = await kill9({
      rounds: 6,
      under: "supervisor",
      origin: "local",
      cache: "on",
      upgrades: 1,
      parentKills: 1,
      hotTracks: 3,
      trackSeconds: 8,
      // A successor must live for 2 s, or the fifth in a row gives up.
      betweenMs: { least: 2_400, most: 2_800 },
      // How long they take is measured on a machine that does nothing else.
      readMsMax: 30_000,
      seed: seed(),
    }, NEVER);
    assert.equal(report.faults, 0);
    assert.deepEqual(report.counts, { kill: 6, upgrade: 1, "kill parent": 1 });
    const { ffmpeg, sha256sum } = report.crowd;
    assert.ok(ffmpeg > 0 && sha256sum > 0, JSON.stringify(report));
  },
);

testWith(
  ["root", "fuse", "gcc", "setpriv"],
  "kill-rounds: who dies at any point of its work leaves nothing wrong, and nothing to be cleared",
  async () => {
    const options = { rounds: 10, places: 2, isMixed: true, seed: seed() };
    const report = await killRounds(options, NEVER);
    assert.equal(report.faults, 0);
    assert.equal(report.rounds, options.rounds);
    assert.ok(report.readBytes > 0 && report.checkedChunks > 0, JSON.stringify(report));
  },
);

testWith(
  ["root", "fuse", "gcc", "find"],
  "soak: after a mixed load and a hand-over as few descriptors are open as before",
  async () => {
    const options = { minutes: 0.13, sampleMs: 500, isSupervised: true, seed: seed() };
    const report = await soak(options, NEVER);
    assert.equal(report.faults, 0);
    assert.ok(report.handOvers.length > 0);
    const { samples, counts } = report;
    assert.ok(samples.length > 2 && counts.edits > 0 && counts.finds > 0, JSON.stringify(counts));
    assert.ok(samples.every(({ rss, threads }) => rss > 0 && threads > 0));
  },
);
