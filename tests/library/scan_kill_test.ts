import assert from "node:assert/strict";
import { tempDir } from "../support/temp_dir.ts";

const CHILD = new URL("scan_child.ts", import.meta.url).pathname;
const CONFIG = new URL("../../deno.json", import.meta.url).pathname;

interface Report {
  counts: { added: number; changed: number; gone: number; files: number; folders: number };
  resumed: boolean;
  paths: string[];
  totals: { files: number; folders: number; bytes: number };
  records: number;
}

/** Scans in a process of its own; undefined if that was killed. */
async function scan(index: string, folder: string, failpoints = ""): Promise<Report | undefined> {
  const { code, signal, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--config", CONFIG, CHILD, index, folder],
    env: { MUSICFS_FAILPOINTS: failpoints },
  }).output();
  if (signal === "SIGKILL") return undefined;
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

Deno.test("Library.scan() killed at every failpoint resumes and counts each file once", async () => {
  await using dir = await tempDir("scan-kill");
  const [index, music] = [`${dir.path}/index`, `${dir.path}/music`];
  await Deno.mkdir(index);
  for (let i = 0; i < 12; i += 1) {
    await Deno.mkdir(`${music}/a${i}/deep`, { recursive: true });
    await Deno.writeTextFile(`${music}/a${i}/song`, "x");
    await Deno.writeTextFile(`${music}/a${i}/deep/song`, "xy");
  }
  // Each round gets a little further: the root, some folders, all but the last few.
  for (const skipped of [0, 3, 9]) {
    const spec = `scan.after_folder_commit=${skipped}*off->kill`;
    assert.equal(await scan(index, music, spec), undefined, "it was not killed");
  }
  const all = await scan(index, music);
  assert.deepEqual(all?.counts, { added: 24, changed: 0, gone: 0, files: 24, folders: 24 });
  assert.equal(all?.resumed, true);
  assert.deepEqual([all?.totals, all?.records], [{ files: 24, folders: 24, bytes: 36 }, 49]);

  for (let i = 0; i < 4; i += 1) await Deno.remove(`${music}/a${i}`, { recursive: true });
  await Deno.writeTextFile(`${music}/a9/song`, "longer");
  assert.equal(await scan(index, music, "scan.before_deletions=kill"), undefined);
  const less = await scan(index, music);
  assert.deepEqual(less?.counts, { added: 0, changed: 1, gone: 8, files: 16, folders: 16 });
  assert.deepEqual([less?.totals, less?.records], [{ files: 16, folders: 16, bytes: 29 }, 33]);
  assert.deepEqual(less?.paths.filter((path) => !path.includes("/")).length, 8);
});
