import assert from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openIndex } from "../../src/store/safe_open.ts";
import { indexDamages, WHOLE_FILE } from "../support/index_damage.ts";
import { type Opened, OPENER, writeSample } from "../support/index_opener.ts";
import { run } from "../support/process.ts";
import { tempDir } from "../support/temp_dir.ts";

/** Of the sizes in libraries.md, section 3: its suite has 192 cases. */
const CASES = Number(Deno.env.get("MUSICFS_DAMAGE_CASES") ?? "24");
const SEED = Number(Deno.env.get("MUSICFS_DAMAGE_SEED") ?? "1");
const RECORDS = 2_000;
async function makeSample(dir: string): Promise<void> {
  const probe = () => Promise.resolve("ok" as const);
  const newEpoch = "a".repeat(32);
  const opened = await openIndex({ dir, clock: systemClock, log: silentLog, probe, newEpoch });
  await using index = opened.index;
  writeSample(index, RECORDS);
}

async function openAll(dirs: readonly string[]): Promise<Opened[]> {
  const [program, ...args] = OPENER;
  const { code, stdout, stderr } = await run(program, [...args, "open", ...dirs]);
  const lines = stdout.trim().split("\n").filter((line) => line !== "");
  assert.equal(code, 0, `ended with ${code} at ${dirs[lines.length]}: ${stderr.slice(-500)}`);
  return lines.map((line) => JSON.parse(line));
}

Deno.test(`openIndex() lives through ${CASES} damaged files, seed ${SEED}, and gives no wrong record`, async () => {
  await using dir = await tempDir("damage");
  const sound = `${dir.path}/sound`;
  await makeSample(sound);
  const dirs: string[] = [sound];
  for (const [number, { name, apply }] of indexDamages(CASES, SEED).entries()) {
    const copy = `${dir.path}/${number} ${name}`;
    await Deno.mkdir(copy);
    for await (const { name } of Deno.readDir(sound)) {
      if (name !== "ballast") await Deno.copyFile(`${sound}/${name}`, `${copy}/${name}`);
    }
    const file = await Deno.readFile(`${sound}/data.mdb`);
    await Deno.writeFile(`${copy}/data.mdb`, apply(file));
    dirs.push(copy);
  }

  const half = Math.ceil(dirs.length / 2);
  const parts = await Promise.all([openAll(dirs.slice(0, half)), openAll(dirs.slice(half))]);
  const opened = parts.flat();

  assert.equal(opened.length, dirs.length);
  const all = { right: 3 * RECORDS, wrong: 0 };
  for (const [number, { right, wrong, writable, ...rest }] of opened.entries()) {
    const what = dirs[number];
    assert.equal(writable, true, what);
    assert.deepEqual({ right, wrong }, rest.setAside ? { right: 0, wrong: 0 } : all, what);
    assert.equal(rest.created, rest.setAside, what);
    const wholeFile = number >= 1 && number <= Object.keys(WHOLE_FILE).length;
    if (number === 0) assert.equal(rest.setAside, false, what);
    if (wholeFile) assert.equal(rest.setAside, true, what);
  }
  const found = opened.filter(({ setAside }) => setAside).length;
  assert(found > Object.keys(WHOLE_FILE).length, "damage within the file was never found");
});
