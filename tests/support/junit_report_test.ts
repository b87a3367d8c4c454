import assert from "node:assert/strict";
import { join } from "node:path";
import { countReport } from "./junit_report.ts";
import { run } from "./process.ts";
import { tempDir } from "./temp_dir.ts";

const TESTS = `
Deno.test("passes & \\"more\\"", () => {});
Deno.test("has a step", async (t) => { await t.step("inner", () => {}); });
Deno.test({ name: "is <skipped> & told", ignore: true, fn() {} });
Deno.test("fails", () => { throw new Error("no"); });
`;

Deno.test("countReport() counts what this Deno reports", async () => {
  await using dir = await tempDir("report");
  await Deno.writeTextFile(join(dir.path, "a_test.ts"), TESTS);
  const { code } = await run(Deno.execPath(), ["test", "--junit-path=report.xml"], {
    cwd: dir.path,
    env: { NO_COLOR: "1" },
  });
  assert.notEqual(code, 0);
  const { failed, ...counts } = countReport(await Deno.readTextFile(join(dir.path, "report.xml")));
  assert.deepEqual(counts, { passed: 3, skipped: ["is <skipped> & told"] });
  assert.deepEqual(failed.map(({ name }) => name), ["fails"]);
  assert.match(failed[0]?.reason ?? "", /^Error: no/);
});

Deno.test("countReport() finds nothing in nothing", () => {
  assert.deepEqual(countReport(""), { passed: 0, failed: [], skipped: [] });
});
