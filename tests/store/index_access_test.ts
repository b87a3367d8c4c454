import assert from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openIndex } from "../../src/store/safe_open.ts";
import { OPENER } from "../support/index_opener.ts";
import { output, quoted, run } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";

const NOBODY = 65534;

async function makeIndex(dir: string): Promise<string> {
  const probe = () => Promise.resolve("ok" as const);
  const newEpoch = "c".repeat(32);
  const { index } = await openIndex({ dir, clock: systemClock, log: silentLog, probe, newEpoch });
  await index[Symbol.asyncDispose]();
  return dir;
}

function opener(program: string): string[] {
  return [...OPENER.slice(0, -1), new URL(`../support/${program}`, import.meta.url).pathname];
}

testWith(["root"], "openIndex() without permission throws denied, whatever is closed", async () => {
  await using dir = await tempDir("access");
  const at = (name: string): string => `${dir.path}/${name}`;
  for (const name of ["own", "data", "lock", "folder"]) await makeIndex(at(name));
  await output("chown", ["-R", `${NOBODY}:${NOBODY}`, at("own"), at("data"), at("lock")]);
  await output("chown", ["0:0", `${at("data")}/data.mdb`, `${at("lock")}/lock.mdb`]);
  await output("chmod", ["644", `${at("data")}/data.mdb`, `${at("lock")}/lock.mdb`]);

  const [program = "", ...args] = opener("index_as_nobody.ts");
  const dirs = ["own", "data", "lock", "folder", "none/index"].map(at);
  const { code, stdout, stderr } = await run(program, [...args, ...dirs]);

  assert.equal(code, 0, stderr);
  assert.deepEqual(stdout.trim().split("\n"), ["opened", "denied", "denied", "denied", "denied"]);
});

testWith(
  ["root", "unshare", "mount"],
  "openIndex() on a disk that is read-only throws unavailable",
  async () => {
    await using dir = await tempDir("access");
    await makeIndex(`${dir.path}/index`);
    const folder = quoted(dir.path);
    const command = [...OPENER, "open", `${dir.path}/index`].map(quoted).join(" ");
    const script = `mount --bind ${folder} ${folder} && mount -o remount,ro,bind ${folder}` +
      ` && exec ${command}`;

    const { code, stderr } = await run("unshare", ["-m", "bash", "-c", script]);

    assert.equal(code, 1, stderr);
    assert.match(stderr, /MusicfsError: Cannot open .*[Rr]ead-only file system/);
  },
);
