import assert from "node:assert/strict";
import { tempDir } from "../support/temp_dir.ts";
import { runChild } from "./child_index.ts";

interface Report {
  asked: number;
  before: { files: number };
  counts: { added: number; changed: number; gone: number };
  totals: { files: number; folders: number; bytes: number };
  records: number;
  paths: string[];
}

/** Adopts and scans in a process of its own; undefined if that was killed. */
function adopt(index: string, folder: string, failpoints = ""): Promise<Report | undefined> {
  return runChild("adopt_child.ts", [index, folder], { failpoints });
}

Deno.test("Library.adoptPublished() killed after any commit goes on where it was, and only then", async () => {
  await using dir = await tempDir("adopt-kill");
  const [index, music] = [`${dir.path}/index`, `${dir.path}/music`];
  await Deno.mkdir(index);
  for (let i = 0; i < 40; i += 1) {
    await Deno.mkdir(`${music}/a${i}`, { recursive: true });
    for (let j = 0; j < 50; j += 1) await Deno.writeTextFile(`${music}/a${i}/${j}`, "x");
  }
  for (const skipped of [0, 2]) {
    const spec = `adopt.after_commit=${skipped}*off->kill`;
    assert.equal(await adopt(index, music, spec), undefined, "it was not killed");
  }
  const all = await adopt(index, music);
  const before = all?.before.files ?? 0;
  assert(before > 250 && before < 2_000, `${before} files were there when it went on`);
  assert.equal(all?.asked, 1);
  assert.deepEqual(all?.counts, { added: 0, changed: 0, gone: 0 });
  const totals = { files: 2_000, folders: 40, bytes: 2_000 };
  assert.deepEqual([all?.totals, all?.records, all?.paths.length], [totals, 2_041, 2_040]);
  assert.equal((await adopt(index, music))?.asked, 0);
});
