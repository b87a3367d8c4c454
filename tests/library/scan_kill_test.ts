import assert from "node:assert/strict";
import { tempDir } from "../support/temp_dir.ts";
import { runChild } from "./child_index.ts";

interface Report {
  counts: Record<"added" | "changed" | "moved" | "gone" | "files" | "folders", number>;
  resumed: boolean;
  paths: string[];
  totals: { files: number; folders: number; bytes: number };
  records: number;
}

/** Scans in a process of its own; undefined if that was killed. */
function scan(index: string, folder: string, failpoints = ""): Promise<Report | undefined> {
  return runChild("scan_child.ts", [index, folder], { failpoints });
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
  assert.deepEqual(all?.counts, {
    ...{ added: 24, changed: 0, moved: 0, gone: 0 },
    ...{ files: 24, folders: 24 },
  });
  assert.equal(all?.resumed, true);
  assert.deepEqual([all?.totals, all?.records], [{ files: 24, folders: 24, bytes: 36 }, 49]);

  for (let i = 0; i < 4; i += 1) await Deno.remove(`${music}/a${i}`, { recursive: true });
  await Deno.writeTextFile(`${music}/a9/song`, "longer");
  assert.equal(await scan(index, music, "scan.before_deletions=kill"), undefined);
  const less = await scan(index, music);
  assert.deepEqual(less?.counts, {
    ...{ added: 0, changed: 1, moved: 0, gone: 8 },
    ...{ files: 16, folders: 16 },
  });
  assert.deepEqual([less?.totals, less?.records], [{ files: 16, folders: 16, bytes: 29 }, 33]);
  assert.deepEqual(less?.paths.filter((path) => !path.includes("/")).length, 8);
});

Deno.test("Library.scan() killed after any of its commits resumes and counts each file once", async () => {
  await using dir = await tempDir("scan-kill-commits");
  const [index, music] = [`${dir.path}/index`, `${dir.path}/music`];
  await Deno.mkdir(index);
  for (const path of ["a/1", "b/2", "c/3"]) {
    await Deno.mkdir(`${music}/${path.slice(0, 1)}`, { recursive: true });
    await Deno.writeTextFile(`${music}/${path}`, path);
  }
  await scan(index, music);
  await Deno.rename(`${music}/a`, `${music}/d`);
  await Deno.remove(`${music}/b/2`);
  await Deno.writeTextFile(`${music}/c/4`, "new");
  let [killed, ended] = [0, 0];
  for (let isKilled = true; isKilled; killed += 1) {
    const copy = `${dir.path}/index-${killed}`;
    await new Deno.Command("cp", { args: ["-a", index, copy] }).output();
    const first = await scan(copy, music, `index.commit.after=${killed}*off->kill`);
    isKilled = first === undefined;
    const last = first ?? await scan(copy, music);
    assert.deepEqual(last?.paths, ["b", "c", "c/3", "c/4", "d", "d/1"], `commit ${killed}`);
    const { added, changed, moved, gone } = last.counts;
    // After the last commit the scan has ended, and was reported to nobody.
    const isOver = isKilled && last.resumed === false && added + moved + gone === 0;
    if (isOver) ended += 1;
    else assert.deepEqual([added, changed, moved, gone], [1, 0, 1, 1], `commit ${killed}`);
  }
  assert(killed > 5 && ended === 1, `${killed} commits`);
});
