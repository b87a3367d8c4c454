import assert from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { probeHere } from "../../src/store/index_probe.ts";
import { openIndex } from "../../src/store/safe_open.ts";
import { lastCommit, OPENER } from "../support/index_opener.ts";
import { tempDir } from "../support/temp_dir.ts";

const ROUNDS = Number(Deno.env.get("MUSICFS_KILL_ROUNDS") ?? "4");

/** Lets `write` commit until it has told of `commits`, kills it; the last number it told. */
async function writeAndKill(dir: string, commits: number): Promise<number> {
  const [program, ...args] = OPENER;
  const child = new Deno.Command(program, {
    args: [...args, "write", dir],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let text = "";
  let left = commits;
  const decoder = new TextDecoder();
  for await (const bytes of child.stdout) {
    const lines = decoder.decode(bytes);
    text += lines;
    left -= lines.split("\n").length - 1;
    if (left > 0) continue;
    if (left > -1e6) child.kill("SIGKILL");
    left = -1e9;
  }
  await child.status;
  return Number(text.split("\n").at(-2));
}

Deno.test(`Index survives ${ROUNDS} kills in the midst of commits, each one whole or not there`, async () => {
  await using dir = await tempDir("kill");
  const index = `${dir.path}/index`;
  for (let round = 1; round <= ROUNDS; round += 1) {
    const told = await writeAndKill(index, round * 7);

    assert.equal(await probeHere(index), "ok");
    const probe = () => Promise.resolve("ok" as const);
    const newEpoch = "1".repeat(32);
    const options = { dir: index, clock: systemClock, log: silentLog, probe, newEpoch };
    const opened = await openIndex(options);
    await using _ = opened.index;
    assert.equal(opened.setAside, undefined);
    const last = lastCommit(opened.index);
    assert(last >= told, `commit ${told} was told of, and ${last} is the last`);
  }
});
