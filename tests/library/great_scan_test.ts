import assert from "node:assert/strict";
import { tempDir } from "../support/temp_dir.ts";

/** Runs `great_scan_child.ts` on a new index; what it measured. */
async function measured(dir: string, args: readonly number[]): Promise<Record<string, unknown>> {
  const child = new URL("great_scan_child.ts", import.meta.url).pathname;
  const config = new URL("../../deno.json", import.meta.url).pathname;
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--config", config, child, dir, ...args.map(String), "walk"],
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

Deno.test("A walk beside a scan of a far origin lists each folder once, 16 at a time", async () => {
  await using dir = await tempDir("great-scan");
  const { files, folders, lists, runningMax, seconds, commits, rootMtimeNs } = await measured(
    dir.path,
    [120, 20, 60],
  );
  assert.deepEqual([files, folders], [2_400, 120]);
  // The root may be listed for the reader first, and again by the scan.
  assert(Number(lists) <= 122, `${lists} listings`);
  assert(Number(runningMax) >= 16);
  // One after the other they would take 7.2 s.
  assert(Number(seconds) < 4, `${seconds} s`);
  assert(Number(commits) < 100, `${commits} commits`);
  assert.notEqual(rootMtimeNs, "0");
});
