/** What child processes of the library's tests share: a real index, and failpoints that kill. */

import assert from "node:assert/strict";
import { enableFailpoints } from "../../src/base/failpoint.ts";
import { openXxh64 } from "../../src/chunking/xxh64.ts";
import { openEnvironment } from "../../src/store/lmdb.ts";

const CONFIG = new URL("../../deno.json", import.meta.url).pathname;

/** In the child: opens the index in a folder, with the failpoints that `runChild` was given. */
export async function openChildIndex(dir: string): Promise<ReturnType<typeof openEnvironment>> {
  enableFailpoints(Deno.env.get("MUSICFS_FAILPOINTS") ?? "", { random: () => 0, print: () => {} });
  return openEnvironment({
    dir,
    shared: new SharedArrayBuffer(4),
    hash: await openXxh64(),
    writable: true,
    newEpoch: "ab".repeat(16),
  });
}

/** In the child: its report. */
export function printReport(report: unknown): void {
  Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(report)));
}

/** Runs a child, a file beside this one, and gives its report; undefined if it was killed. */
export async function runChild<Report>(
  file: string,
  args: readonly string[],
  { failpoints = "" }: { failpoints?: string } = {},
): Promise<Report | undefined> {
  const child = new URL(file, import.meta.url).pathname;
  const { code, signal, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--config", CONFIG, child, ...args],
    env: { MUSICFS_FAILPOINTS: failpoints },
  }).output();
  if (signal === "SIGKILL") return undefined;
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}
